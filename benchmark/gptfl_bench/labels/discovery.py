"""Private label discovery: a counted message of round 0 that tells the server label names.

Every client sends a sketch of its distinct label names, and the server reads only the sum (GPT-FL,
section 3.2). On request it forgets names that few clients hold, or learns noisy counts alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from gptfl_bench.core.errors import Refusal, RoundAbandoned
from gptfl_bench.core.groups import Groups
from gptfl_bench.labels.sketch import FIELD, Shape, Sketch
from gptfl_reports.records.events import Event, LabelsDiscovered

if TYPE_CHECKING:
    from gptfl_bench.engine.client import Client
    from gptfl_bench.engine.federation import Federation

ATTEMPTS = 6
"""How often the table is doubled when names stay unread."""


@dataclass(frozen=True)
class LabelSettings(Shape):
    """Size of the first sketch, and what the server may learn from the sum.

    Attributes:
        k_anonymity: Names held by fewer clients are withheld from the method and the log. The
            server decodes them all the same: this is its policy, no cryptography.
        epsilon: If set, counts are epsilon-differentially private for clients (pure, discrete
            Laplace): each client adds a share of the noise before it sends, and hides its exact
            part by a random factor. Names themselves are not protected, and each attempt that a
            full table needs costs epsilon anew.
        most_labels: Names a client tells at most where ``epsilon`` is set, which bounds its part.
    """

    k_anonymity: int = 1
    epsilon: float | None = None
    most_labels: int = 10

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        super().__post_init__()
        if self.k_anonymity < 1 or self.most_labels < 1:
            raise ValueError(
                f"k_anonymity={self.k_anonymity} and most_labels={self.most_labels} must be "
                "1 or more"
            )
        if self.epsilon is not None and not 0 < self.epsilon <= 1000:
            raise ValueError(f"epsilon={self.epsilon} must be above 0 and at most 1000, or null")


def discover_labels(
    federation: "Federation", settings: LabelSettings, log: Callable[[Event], None]
) -> list[str]:
    """Return the union of all clients' label names as the task writes them, in order.

    Each attempt is a counted exchange of round 0 with all clients; a table that can't be read
    whole is doubled and sent again with other hash functions.

    Args:
        federation: The clients, behind the channel.
        settings: Size of the first sketch, and what the server may learn.
        log: Takes an event for each attempt.

    Raises:
        Refusal: If names stay unread after the last attempt, a label is too long, or two labels
            are the same but for case, blanks and underscores.
    """
    known = _by_plain_name(federation.label_names)
    for attempt in range(ATTEMPTS):
        summed = _exchange(federation, settings, attempt, log)
        decoded = summed.decode()
        counts = summed.counted(decoded.counts) if settings.epsilon else decoded.counts
        told = {name: n for name, n in counts.items() if n >= settings.k_anonymity}
        log(
            LabelsDiscovered(
                len(federation.clients),
                told,
                decoded.not_decoded,
                len(counts) - len(told),
                settings.epsilon,
            )
        )
        if decoded.not_decoded == 0:
            return sorted(known[name] for name in told if name in known)
        settings = replace(settings, capacity=2 * settings.capacity, seed=settings.seed + 1)
    raise Refusal(
        f"label discovery left names unread with a capacity of {settings.capacity // 2}; "
        "set labels.capacity higher."
    )


def _exchange(
    federation: "Federation",
    settings: LabelSettings,
    attempt: int,
    log: Callable[[Event], None],
) -> Sketch:
    """Return the sum of all clients' sketches.

    Raises:
        Refusal: If a label is too long, or too few clients stay under secure aggregation.
    """
    everyone = range(len(federation.clients))

    def sketch(received: Groups, client: "Client") -> Groups:
        names = [plain(name) for name in client.label_names]
        made = _told(names, settings, len(everyone), _rng(client, attempt))
        # Entries are below 2**31, so 32 bits hold them.
        table, values = torch.from_numpy(made.table), torch.from_numpy(made.values)
        return {"labels": {"table": table.int(), "values": values.int()}}

    try:
        cohort = federation.exchange(0, everyone, lambda client_id: {}, sketch, modulus=FIELD)
    except ValueError as error:
        raise Refusal(f"{error}; set labels.max_bytes.") from error
    except RoundAbandoned as error:
        raise Refusal(f"label discovery: {error}") from error
    if cohort.sealed:
        log(cohort.sealed)
    total = cohort.sum("labels")
    return Sketch(settings, total["table"].numpy(), total["values"].numpy())


def plain(name: str) -> str:
    """Return a label name as clients tell it, so that one name is not told in several ways.

    >>> plain("Hard-leaved_pocket  Orchid ")
    'hard-leaved pocket orchid'
    """
    return " ".join(name.replace("_", " ").casefold().split())


def _by_plain_name(names: Sequence[str]) -> dict[str, str]:
    known: dict[str, str] = {}
    for name in names:
        other = known.setdefault(plain(name), name)
        if other != name:
            raise Refusal(
                f"the labels {other!r} and {name!r} are the same but for case, blanks and "
                "underscores; rename one."
            )
    return known


def _rng(client: "Client", attempt: int) -> np.random.Generator:
    seed = torch.randint(2**62, (), generator=client.rng("labels", attempt))
    return np.random.default_rng(int(seed))


def _told(
    names: list[str], settings: LabelSettings, clients: int, rng: np.random.Generator
) -> Sketch:
    """Return what a client sends: its names' sketch, hidden and with its share of noise if asked.

    The sum of all shares is discrete Laplace noise exactly: a geometric variable is a sum of
    negative binomial ones. A deployment would need a sampler that is exact in floating point, too.
    """
    if settings.epsilon is None:
        return Sketch.of(names, settings)
    if len(names) > settings.most_labels:
        names = list(rng.choice(sorted(names), settings.most_labels, replace=False))
    made = Sketch.of(names, settings, factor=lambda: int(rng.integers(1, FIELD)))
    # A client changes each of its names' cells by one.
    sensitivity = settings.most_labels * settings.repetitions
    success = -np.expm1(-settings.epsilon / sensitivity)
    noise: NDArray[np.int64] = rng.negative_binomial(
        1 / clients, success, made.values.shape
    ) - rng.negative_binomial(1 / clients, success, made.values.shape)
    return replace(made, values=(made.values + noise) % FIELD)
