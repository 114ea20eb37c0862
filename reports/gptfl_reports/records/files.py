"""Writing files: each is whole or as it was before, and those of a report are all made first."""

import errno
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from gptfl_reports.records.errors import StorageError

CANT_WRITE = frozenset(
    {
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
        *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENAMETOOLONG),
        *(errno.ELOOP, errno.ESTALE),
    }
)
"""What the system says where a place can't be written to; anything else is a fault of ours."""
ROOM = "make room or choose a folder that can be written to, and give the same command again"


def cant_write(error: OSError, place: Path | None = None, remedy: str = ROOM) -> str:
    """Return the sentence for an error of the system while something was written."""
    where = error.filename or place or "standard output"
    return f"{str(where)!r} can't be written to ({error.strerror or error}); {remedy}."


@contextmanager
def storing(place: Path, remedy: str = ROOM) -> Iterator[None]:
    """Say in a sentence, and what to do, why ``place`` can't be written to.

    Raises:
        StorageError: In place of the system's error.
    """
    try:
        yield
    except OSError as error:
        # A folder that somebody removed meanwhile.
        if error.errno not in CANT_WRITE | {errno.ENOENT}:
            raise
        raise StorageError(cant_write(error, place, remedy)) from error


def write_atomically(
    path: Path,
    data: bytes | Iterable[bytes | memoryview],
    *,
    synced: bool = False,
    shared: bool = False,
) -> None:
    """Write a file whole or not at all; its folder is made if missing.

    Args:
        path: The file.
        data: Its content, whole or piece by piece.
        synced: Whether it must be on the disk, too, before this returns: a loss of power may
            otherwise leave a later file without it.
        shared: Whether another process may write the same file at the same moment.

    Raises:
        StorageError: If it can't be written; what was there is left as it was.
    """
    # A kill leaves a part, which the next write takes the place of if its name is the same.
    mine = f".{os.getpid()}-{threading.get_ident()}" if shared else ""
    part = path.with_name(f"{path.name}{mine}.part")
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            first, *rest = [data] if isinstance(data, bytes) else data
            part.write_bytes(first)
            if rest:
                with part.open("ab") as file:
                    file.writelines(rest)
            if synced:
                sync_file(part)
        except OSError:
            # A part would keep a full disk full.
            part.unlink(missing_ok=True)
            raise
        part.replace(path)
        if synced:
            sync_file(path.parent)


def sync_file(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk, where the system can."""
    if os.name == "posix":
        with storing(path):
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def write_files(out: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write files and return their paths, by name.

    Args:
        out: The folder they go to; made if missing.
        files: Content by name, or by path within the folder; an older file of a name without
            content is removed, for it must not stand beside newer ones.

    Raises:
        UsageError: If the folder can't be written to.
    """
    with storing(out, "give a folder that can be written to with --out"):
        out.mkdir(parents=True, exist_ok=True)
        for name in [name for name, content in files.items() if not content]:
            (out / name).unlink(missing_ok=True)
    written = [(out / name, content) for name, content in sorted(files.items()) if content]
    for path, content in written:
        write_atomically(path, content, shared=True)
    return [path for path, _ in written]
