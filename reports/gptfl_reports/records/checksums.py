"""What files hold, kept beside them in ``checksums.json``, so that no flipped bit is read as data.

``{"events.jsonl": {"nbytes": 812, "crc32": "1f0e2d3c"}}`` says what the first 812 bytes are. A file
without an entry, such as an older version's, is read as it is. CRC-32 takes 40 ms for 100 MB, half
of SHA-256 and a quarter of BLAKE2; it guards against disks and copies, not against people.
"""

import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from gptfl_reports.records.files import write_atomically

CHECKSUMS = "checksums.json"
_BLOCK = 2**20


@dataclass(frozen=True)
class Checksum:
    """What a file holds: the CRC-32, in hex, of its first ``nbytes`` bytes."""

    nbytes: int
    crc32: str

    @classmethod
    def of(cls, pieces: Iterable[bytes | memoryview]) -> "Checksum":
        """Return the checksum of bytes that follow on each other."""
        length = value = 0
        for piece in pieces:
            length += len(piece)
            value = zlib.crc32(piece, value)
        return cls(length, f"{value:08x}")

    @classmethod
    def of_file(cls, path: Path) -> "Checksum":
        """Return the checksum of a file, which need not fit into memory."""
        return cls.of(_blocks(path))

    def fits(self, data: bytes, *, begins: bool = False) -> bool:
        """Return whether bytes, or the beginning of a log that goes on, are as they were."""
        if len(data) < self.nbytes or (len(data) > self.nbytes and not begins):
            return False
        return self == Checksum.of([memoryview(data)[: self.nbytes]])


def known(folder: Path) -> dict[str, Checksum]:
    """Return what is known of a folder's files, by name.

    Raises:
        ValueError: If the file of checksums is damaged.
    """
    path = folder / CHECKSUMS
    try:
        found = json.loads(path.read_bytes())
        return {
            str(name): Checksum(int(entry["nbytes"]), str(entry["crc32"]))
            for name, entry in found.items()
        }
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{CHECKSUMS} is damaged") from error


def note(path: Path, checksum: Checksum | None, *, synced: bool = False) -> None:
    """Keep the checksum of a file. One process at a time may work in a folder.

    Args:
        path: The file.
        checksum: What it holds; None to forget that.
        synced: Whether it must be on the disk, too, before this returns.

    Raises:
        StorageError: If it can't be written.
    """
    try:
        there = known(path.parent)
    except ValueError:
        there = {}
    now = {name: entry for name, entry in there.items() if name != path.name}
    if checksum is not None:
        now[path.name] = checksum
    if now != there:
        text = json.dumps({name: asdict(entry) for name, entry in sorted(now.items())})
        write_atomically(path.parent / CHECKSUMS, f"{text}\n".encode(), synced=synced)


def note_all(folder: Path) -> None:
    """Keep the checksums of all files in a folder."""
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name != CHECKSUMS:
            note(path, Checksum.of_file(path))


def write(path: Path, data: bytes, *, synced: bool = False) -> None:
    """Write a file whole or not at all, and its checksum; arguments as in `write_atomically`.

    A kill leaves the file before, or either without a checksum.
    """
    note(path, None, synced=synced)
    write_atomically(path, data, synced=synced)
    note(path, Checksum.of([data]), synced=synced)


def move(part: Path, path: Path) -> None:
    """Put a file that was written beside its place there, with its checksum."""
    checksum = Checksum.of_file(part)
    note(path, None)
    part.replace(path)
    note(path, checksum)


def read(
    path: Path, content: Callable[[Path], bytes] = Path.read_bytes, *, begins: bool = False
) -> bytes:
    """Return what a file holds, also while another process replaces it.

    Args:
        path: The file.
        content: Reads it.
        begins: Whether it is a log, whose beginning alone may be known.

    Raises:
        ValueError: If it is not what it was, or the file of checksums is damaged.
        OSError: If it can't be read.
    """
    expected = known(path.parent).get(path.name)
    while True:
        data = content(path)
        if expected is None or expected.fits(data, begins=begins):
            return data
        # It may have been written anew in between.
        before, expected = expected, known(path.parent).get(path.name)
        if before == expected:
            raise ValueError(f"{path.name} does not fit its checksum")


def whole(path: Path) -> bool:
    """Return whether a file is there, and as it was as far as that is known."""
    try:
        expected = known(path.parent).get(path.name)
        return path.is_file() and expected in (None, Checksum.of_file(path))
    except (OSError, ValueError):
        return False


def damaged(folder: Path) -> str:
    """Return the name of a file in a folder that is not as it was; empty if all are."""
    try:
        return next((name for name in known(folder) if not whole(folder / name)), "")
    except ValueError:
        return CHECKSUMS


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block
