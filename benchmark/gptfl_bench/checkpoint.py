"""What survives a kill: a cell's state after each round, and what its clients keep.

Both are replaced atomically. A client's file carries the round that wrote it; the checkpoint
lists which files belong to it, so a kill between the two leaves the older, whole set in force.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import safetensors
import torch

from gptfl_bench import groups as g
from gptfl_bench.errors import UsageError
from gptfl_bench.groups import Groups


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    part.replace(path)


@dataclass
class ClientStore:
    """Client states on disk, so that memory does not grow with the population.

    Attributes:
        folder: Where they lie; made when first needed.
        versions: Round that wrote each client's state.
    """

    folder: Path
    versions: dict[int, int] = field(default_factory=dict)

    def _path(self, client: int, version: int) -> Path:
        return self.folder / f"client-{client}-round-{version}.safetensors"

    def read(self, client: int) -> Groups:
        """Return a client's state; empty before its first visit.

        Raises:
            UsageError: If the file is damaged.
        """
        if client not in self.versions:
            return {}
        path = self._path(client, self.versions[client])
        try:
            return g.decode(path.read_bytes())
        except (OSError, safetensors.SafetensorError) as error:
            raise UsageError(
                f"the client state {path} is damaged ({error}); run the cell again with --force."
            ) from error

    def write(self, client: int, state: Groups, round: int) -> None:
        """Keep a client's state; the version before it stays until :meth:`prune`."""
        write_atomically(self._path(client, round), g.encode(state))
        self.versions[client] = round

    def prune(self) -> None:
        """Remove files that no checkpoint refers to any more."""
        current = {self._path(client, version).name for client, version in self.versions.items()}
        for path in self.folder.glob("client-*"):
            if path.name not in current:
                path.unlink()

    @property
    def nbytes(self) -> int:
        """Size of all current files in bytes."""
        return sum(self._path(c, version).stat().st_size for c, version in self.versions.items())


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
        """Write the checkpoint whole or not at all."""
        about = asdict(self)
        del about["state"]
        note = torch.tensor(list(json.dumps(about).encode()), dtype=torch.uint8)
        write_atomically(path, g.encode({**self.state, "checkpoint": {"about": note}}))

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
                f"the checkpoint {path} is damaged ({error}); run the cell again with --force."
            ) from error
