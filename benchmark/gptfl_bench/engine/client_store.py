"""What clients keep between rounds, on disk; a file carries the round that wrote it."""

from dataclasses import dataclass, field
from pathlib import Path

import safetensors

from gptfl_bench.core import groups as g
from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.groups import Groups
from gptfl_reports.records.files import sync_file, write_atomically


@dataclass
class ClientStore:
    """Client states on disk, so that memory does not grow with the population.

    Attributes:
        folder: Where they lie; made when first needed.
        versions: Round that wrote each client's state.
    """

    folder: Path
    versions: dict[int, int] = field(default_factory=dict)
    _unsynced: set[int] = field(default_factory=set)

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
        self._unsynced.add(client)

    def sync(self) -> None:
        """Bring all states to the disk, so that a checkpoint may count on them."""
        for client in self._unsynced:
            sync_file(self._path(client, self.versions[client]))
        if self._unsynced:
            sync_file(self.folder)
        self._unsynced.clear()

    def whole(self) -> bool:
        """Return whether all files are there at their full length; what they hold is not read."""
        try:
            for client, version in self.versions.items():
                with safetensors.safe_open(self._path(client, version), framework="pt"):
                    pass
        except (OSError, safetensors.SafetensorError):
            return False
        return True

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
