"""Results that several cells share, on disk under the hash of what determines them."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from gptfl_bench.core import groups as g
from gptfl_bench.core import sealed
from gptfl_bench.core.groups import Groups
from gptfl_bench.core.progress import say
from gptfl_reports.records.files import storing, write_atomically

CACHE_REMEDY = "choose another folder with --cache or GPTFL_BENCH_CACHE"


def digest(values: Mapping[str, object]) -> str:
    """Return a hex hash of plain values; the order of keys does not matter."""
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Artifacts:
    """A folder of shared results.

    Attributes:
        folder: Where they lie; made when first needed.
    """

    folder: Path

    def place(self, kind: str, key: str) -> Path:
        """Return the folder of one result, which need not be there."""
        return self.folder / kind / key[:24]

    @contextmanager
    def claim(self, kind: str, key: str) -> Iterator[Path]:
        """Yield the folder of one result, held against other processes making the same.

        Raises:
            StorageError: If the folder can't be written to.
        """
        place = self.place(kind, key)
        lock = FileLock(place / ".lock")
        with storing(place, CACHE_REMEDY):
            place.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        try:
            yield place
        finally:
            lock.release()

    def groups(
        self, kind: str, values: Mapping[str, object], make: Callable[[], Groups]
    ) -> tuple[Groups, bool]:
        """Return groups made earlier from the same ``values``, or make and keep them.

        Args:
            kind: What they are; a subfolder.
            values: Everything that determines them.
            make: Makes the groups.

        Returns:
            The groups, and whether they were there already.
        """
        with self.claim(kind, digest(values)) as place:
            path = place / "groups.safetensors"
            if path.exists():
                try:
                    return sealed.decode(path.read_bytes()), True
                except ValueError as error:
                    say(f"{str(path)!r} is damaged ({error}) and is made anew.")
            data = b"".join(sealed.pieces(make()))
            write_atomically(place / "made-from.json", json.dumps(values, default=str).encode())
            write_atomically(path, data, synced=True)
            return g.decode(data), False
