"""What survives a kill: a cell's state after a round, replaced atomically when it is due.

It lists which files of :mod:`gptfl_bench.engine.client_store` belong to it, so a kill between the
two leaves the older, whole set in force.
"""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from gptfl_bench.core import sealed
from gptfl_bench.core.errors import DamageError
from gptfl_bench.core.groups import Groups
from gptfl_bench.engine.client_store import ClientStore
from gptfl_reports.records import checksums
from gptfl_reports.records.cells import EVENTS, RECORD
from gptfl_reports.records.events import EventLog, holds
from gptfl_reports.records.files import write_atomically

CHECKPOINT = Path("state") / "checkpoint.safetensors"
"""Where a cell's checkpoint lies in its folder."""
CHECKPOINT_SHARE = 0.03
"""Part of a cell's time that its checkpoints may take; infinite for one after each round."""
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
        log: CRC-32 of those bytes of the log; empty if it is not known, as in older files.
    """

    round: int
    state: Groups
    events: int
    clients: dict[int, int]
    log: str = ""

    def write(self, path: Path) -> None:
        """Write the checkpoint whole or not at all, and bring it to the disk.

        What it counts on must be there already: see :meth:`EventLog.sync` and
        :meth:`ClientStore.sync`.
        """
        about = {
            "round": self.round,
            "events": self.events,
            "clients": self.clients,
            "log": self.log,
            # A file is sorted by name, and a method's sums over names depend on their order.
            "order": {group: list(tree) for group, tree in self.state.items()},
        }
        note = torch.tensor(list(json.dumps(about).encode()), dtype=torch.uint8)
        whole = {**self.state, "checkpoint": {"about": note}}
        write_atomically(path, sealed.pieces(whole), synced=True)

    def lacks(self, folder: Path) -> str:
        """Return which of the files it counts on is not as it was; empty if all are.

        Args:
            folder: The cell's folder.
        """
        if not checksums.whole(folder / RECORD):
            return "the record"
        if not holds(folder / EVENTS, self.events, self.log):
            return "the event log"
        if not ClientStore(folder / CLIENTS, self.clients).whole():
            return "the state of a client"
        return ""

    @classmethod
    def read(cls, path: Path) -> "Checkpoint | None":
        """Return the checkpoint at ``path``, or None if there is none.

        Raises:
            DamageError: If the file is damaged.
        """
        if not path.exists():
            return None
        try:
            groups = sealed.decode(path.read_bytes())
            about = json.loads(bytes(groups.pop("checkpoint")["about"].tolist()))
            clients = {int(client): int(round) for client, round in about["clients"].items()}
            order = about.get("order", groups)
            state = {group: {name: groups[group][name] for name in order[group]} for group in order}
            log = str(about.get("log", ""))
            return cls(int(about["round"]), state, int(about["events"]), clients, log)
        except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise DamageError(f"the checkpoint {str(path)!r} is damaged ({error})") from error


@dataclass
class Keeper:
    """Keeps the last finished round, on disk where that costs little beside the work it saves.

    Attributes:
        path: Where the checkpoint lies.
        store: What clients keep.
        log: The cell's events.
        written: What the checkpoint on disk refers to of it.
    """

    path: Path
    store: ClientStore
    log: EventLog
    written: dict[int, int] = field(default_factory=dict)
    _latest: Checkpoint | None = None
    _touched: list[int] = field(default_factory=list)
    _cost: float = 0.0
    _since: float = 0.0

    def keep(self, checkpoint: Checkpoint, last: bool) -> None:
        """Take a finished round in, and write it if it is the last or the last write was long ago.

        What a checkpoint costs is measured: it is due once that is a small share of the time since
        the last one.
        """
        self._latest, self._touched = checkpoint, _changes(checkpoint.state)
        if last or self._cost <= CHECKPOINT_SHARE * (time.perf_counter() - self._since):
            self.write()
        self.store.prune(self.written)

    def write(self) -> None:
        """Write the last finished round, if it is not on disk and nothing has changed it since."""
        latest, self._latest = self._latest, None
        if latest is None or _changes(latest.state) != self._touched:
            return
        began = time.perf_counter()
        # What a checkpoint counts on is on the disk before it.
        self.store.save(latest.clients)
        self.store.sync()
        self.log.sync()
        latest.write(self.path)
        # For readers; not before, for a log is cut back to what the checkpoint covers.
        self.log.seal()
        self.written = latest.clients
        self._since = time.perf_counter()
        self._cost = self._since - began


def _changes(state: Groups) -> list[int]:
    """Return how often each tensor of a state was changed in place."""
    return [
        # Tensors of inference mode can't be changed outside of it, and don't count.
        -1 if tensor.is_inference() else tensor._version
        for tree in state.values()
        for tensor in tree.values()
    ]
