"""What clients keep between rounds: in memory while it fits, on disk beyond and for checkpoints.

A state carries the round that wrote it, so that an abandoned round or a kill leaves the one before
in force.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gptfl_bench.core import groups as g
from gptfl_bench.core import sealed
from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.groups import Groups
from gptfl_reports.records.files import sync_file, write_atomically

MEMORY = 256 * 2**20
"""Bytes of states that are held in memory; others go to disk at once."""

_NAME = re.compile(r"client-(\d+)-round-(\d+)\.safetensors")


@dataclass
class ClientStore:
    """Client states, in memory that does not grow with the population.

    Attributes:
        folder: Where files lie; made when first needed.
        versions: Round that wrote each client's state.
        memory: Bytes of states that may be held.
    """

    folder: Path
    versions: dict[int, int] = field(default_factory=dict)
    memory: int = MEMORY
    _held: dict[tuple[int, int], Groups] = field(default_factory=dict)
    _sizes: dict[tuple[int, int], int] = field(default_factory=dict)
    _files: set[tuple[int, int]] = field(default_factory=set)
    _used: int = 0
    _swept: bool = False
    _unsynced: set[tuple[int, int]] = field(default_factory=set)
    _replaced: set[tuple[int, int]] = field(default_factory=set)
    _counted: dict[int, int] | None = None
    _total: int = 0

    def _path(self, client: int, version: int) -> Path:
        return self.folder / f"client-{client}-round-{version}.safetensors"

    def read(self, client: int) -> Groups:
        """Return a client's state, its own to change; empty before its first visit.

        Raises:
            UsageError: If the file is damaged.
        """
        if client not in self.versions:
            return {}
        address = (client, self.versions[client])
        if address in self._held:
            return g.copied(self._held[address])
        path = self._path(*address)
        try:
            return sealed.decode(path.read_bytes())
        except (OSError, ValueError) as error:
            raise UsageError(
                f"the client state {path} is damaged ({error}); run the cell again with --force "
                f"{self.folder.parents[1].name}."
            ) from error

    def write(self, client: int, state: Groups, round: int) -> None:
        """Keep a client's state; the version before it stays until :meth:`prune`."""
        self._count()
        address, size = (client, round), g.layout(state).size
        if client in self.versions:
            before = (client, self.versions[client])
            self._total -= self._sizes[before]
            self._replaced.add(before)
        self._replaced.discard(address)
        self._total += size
        if self._held.pop(address, None) is not None:
            self._used -= self._sizes[address]
        self._sizes[address] = size
        # A checkpoint may refer to the file of a round that is run again.
        if address not in self._files and self._used + size <= self.memory:
            self._held[address] = g.copied(state)
            self._used += size
        else:
            self._to_disk(address, state)
        self.versions[client] = round

    def sync(self) -> None:
        """Bring all files to the disk, so that a checkpoint may count on them."""
        for address in self._unsynced & self._files:
            sync_file(self._path(*address))
        if self._unsynced:
            sync_file(self.folder)
        self._unsynced.clear()

    def whole(self) -> bool:
        """Return whether all files are there and hold what was written."""
        try:
            for client, version in self.versions.items():
                sealed.decode(self._path(client, version).read_bytes())
        except (OSError, ValueError):
            return False
        return True

    def save(self, versions: Mapping[int, int]) -> None:
        """Write the files of ``versions`` that are not on disk, for a checkpoint to refer to."""
        for address in versions.items():
            if address in self._held and address not in self._files:
                self._to_disk(address, self._held[address])

    def prune(self, saved: Mapping[int, int]) -> None:
        """Forget all versions but the latest ones and those that the checkpoint refers to.

        Args:
            saved: What the last checkpoint refers to.
        """
        self._count()
        for client, version in list(self._replaced):
            if saved.get(client) != version:
                self._drop((client, version))
                del self._sizes[client, version]
                self._replaced.discard((client, version))

    @property
    def nbytes(self) -> int:
        """Size of all current states in bytes, as messages have it.

        Raises:
            UsageError: If a file is not there.
        """
        self._count()
        return self._total

    def _count(self) -> None:
        """Look at all states, unless each change since the last look came through this store."""
        if self._counted is self.versions:
            return
        if not self._swept:
            self._sweep()
        for address in self.versions.items() - self._sizes.keys():
            raise UsageError(
                f"the client state {self._path(*address)} is missing; run the cell again with "
                f"--force {self.folder.parents[1].name}."
            )
        self._total = sum(map(self._sizes.__getitem__, self.versions.items()))
        self._replaced = self._sizes.keys() - self.versions.items()
        self._counted = self.versions

    def _sweep(self) -> None:
        """Take in what an earlier process left, some of which no checkpoint may know."""
        for path in self.folder.glob("client-*"):
            found = _NAME.fullmatch(path.name)
            if found is None:
                # Half of a file, from a kill while it was written.
                path.unlink()
                continue
            address = (int(found[1]), int(found[2]))
            self._files.add(address)
            self._sizes.setdefault(address, sealed.size(path))
        self._swept = True

    def _to_disk(self, address: tuple[int, int], state: Groups) -> None:
        write_atomically(self._path(*address), sealed.pieces(state))
        self._files.add(address)
        self._unsynced.add(address)

    def _drop(self, address: tuple[int, int]) -> None:
        if self._held.pop(address, None) is not None:
            self._used -= self._sizes[address]
        if address in self._files:
            self._path(*address).unlink(missing_ok=True)
            self._files.discard(address)
