"""Writing files: each is whole or as it was before, and those of a report are all made first."""

from collections.abc import Mapping
from pathlib import Path

from gptfl_reports.records.errors import UsageError


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; its folder is made if missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    part.replace(path)


def write_files(out: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write files and return their paths, by name.

    Args:
        out: The folder they go to; made if missing.
        files: Content by name, or by path within the folder; an older file of a name without
            content is removed, for it must not stand beside newer ones.

    Raises:
        UsageError: If the folder can't be written to.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in [name for name, content in files.items() if not content]:
            (out / name).unlink(missing_ok=True)
        written = [(out / name, content) for name, content in sorted(files.items()) if content]
        for path, content in written:
            write_atomically(path, content)
        return [path for path, _ in written]
    except OSError as error:
        raise UsageError(
            f"{str(out)!r} can't be written to ({error.strerror}); give a folder that can be "
            "written to with --out."
        ) from error
