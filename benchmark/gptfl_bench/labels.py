"""Private label discovery: a counted message of round 0 that tells the server label names.

Every client sends a sketch of its distinct label names; the server reads only the sum.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from gptfl_bench.errors import Refusal
from gptfl_bench.events import Event, LabelsDiscovered
from gptfl_bench.groups import Groups
from gptfl_bench.iblt import Shape, Sketch

if TYPE_CHECKING:
    from gptfl_bench.federation import Client, Federation

ATTEMPTS = 6
"""How often the table is doubled when names stay unread."""


def discover_labels(
    federation: "Federation", shape: Shape, log: Callable[[Event], None]
) -> list[str]:
    """Return the sorted union of all clients' label names.

    Each attempt is a counted exchange of round 0 with all clients; a table that can't be read
    whole is doubled and sent again with other hash functions.

    Args:
        federation: The clients, behind the channel.
        shape: Size of the first sketch.
        log: Takes an event for each attempt.

    Raises:
        Refusal: If names stay unread after the last attempt, or a label is too long.
    """
    everyone = range(len(federation.clients))
    for _ in range(ATTEMPTS):

        def sketch(received: Groups, client: "Client", shape: Shape = shape) -> Groups:
            made = Sketch.of(client.label_names, shape)
            # Entries are below 2**31, so 32 bits hold them.
            table, values = torch.from_numpy(made.table), torch.from_numpy(made.values)
            return {"labels": {"table": table.int(), "values": values.int()}}

        try:
            cohort = federation.exchange(0, everyone, lambda client_id: {}, sketch)
        except ValueError as error:
            raise Refusal(f"{error}; set labels.max_bytes.") from error
        total = cohort.sum("labels")
        decoded = Sketch(shape, total["table"].numpy(), total["values"].numpy()).decode()
        log(LabelsDiscovered(len(everyone), decoded.counts, decoded.not_decoded))
        if decoded.not_decoded == 0:
            return sorted(decoded.counts)
        shape = replace(shape, capacity=2 * shape.capacity, seed=shape.seed + 1)
    raise Refusal(
        f"label discovery left names unread with a capacity of {shape.capacity // 2}; "
        "set labels.capacity higher."
    )
