"""What survives a kill: a cell's state after a round, replaced atomically.

It lists which files of :mod:`gptfl_bench.engine.client_store` belong to it, so a kill between the
two leaves the older, whole set in force.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import safetensors
import torch

from gptfl_bench.core import groups as g
from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.groups import Groups
from gptfl_bench.engine.client_store import ClientStore
from gptfl_reports.records.cells import EVENTS, RECORD
from gptfl_reports.records.events import holds
from gptfl_reports.records.files import write_atomically

CLIENTS = Path("state") / "clients"
"""Where the states of clients lie in a cell's folder."""


@dataclass(frozen=True)
class Checkpoint:
    """A cell after a finished round.

    Attributes:
        round: The round; 0 after preparation.
        state: The method's state.
        events: Length in bytes of the event log that belongs to it.
        clients: Round that wrote each client's state.
    """

    round: int
    state: Groups
    events: int
    clients: dict[int, int]

    def write(self, path: Path) -> None:
        """Write the checkpoint whole or not at all, and bring it to the disk.

        What it counts on must be there already: see :meth:`EventLog.sync` and
        :meth:`ClientStore.sync`.
        """
        about = asdict(self)
        del about["state"]
        note = torch.tensor(list(json.dumps(about).encode()), dtype=torch.uint8)
        data = g.encode({**self.state, "checkpoint": {"about": note}})
        write_atomically(path, data, synced=True)

    def lacks(self, folder: Path) -> str:
        """Return which of the files it counts on is not as it was; empty if all are.

        Args:
            folder: The cell's folder.
        """
        if not (folder / RECORD).exists():
            return "the record"
        if not holds(folder / EVENTS, self.events):
            return "the event log"
        if not ClientStore(folder / CLIENTS, self.clients).whole():
            return "the state of a client"
        return ""

    @classmethod
    def read(cls, path: Path) -> "Checkpoint | None":
        """Return the checkpoint at ``path``, or None if there is none.

        Raises:
            UsageError: If the file is damaged.
        """
        if not path.exists():
            return None
        try:
            groups = g.decode(path.read_bytes())
            about = json.loads(bytes(groups.pop("checkpoint")["about"].tolist()))
            clients = {int(client): int(round) for client, round in about["clients"].items()}
            return cls(int(about["round"]), groups, int(about["events"]), clients)
        except (OSError, KeyError, ValueError, safetensors.SafetensorError) as error:
            raise UsageError(
                f"the checkpoint {path} is damaged ({error}); run the cell again with --force "
                f"{path.parents[1].name}."
            ) from error
