"""Where data sets may be looked for, and whether what is missing may be downloaded."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import platformdirs

from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.progress import say

DATA_VARIABLE = "GPTFL_BENCH_DATA"
CACHE_VARIABLE = "GPTFL_BENCH_CACHE"


class DataMissing(UsageError):  # noqa: N818 - files to fetch, no fault
    """A data set's files are not there; the sentence says which, how large, and from where."""


def default_data() -> Path:
    """Return the folder of data sets if no other is named."""
    return Path(os.environ.get(DATA_VARIABLE) or platformdirs.user_data_dir("gptfl-bench"))


def default_cache() -> Path:
    """Return the folder of shared results if no other is named."""
    return Path(os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir("gptfl-bench"))


def check_folder(folder: Path) -> None:
    """Refuse a folder that can't be one.

    Raises:
        UsageError: If it or a folder above it is a file, or a link that leads nowhere.
    """
    for place in (folder, *folder.parents):
        # Not the methods of a path, which fail where one may not look.
        if os.path.exists(place) and not os.path.isdir(place):  # noqa: PTH110, PTH112
            raise UsageError(f"{str(folder)!r} can't be a folder: {str(place)!r} is a file.")
        if os.path.islink(place) and not os.path.exists(place):  # noqa: PTH110, PTH114
            raise UsageError(
                f"{str(folder)!r} can't be a folder: {str(place)!r} is a link that leads nowhere; "
                "remove it, or name another folder."
            )


def check_writable(folder: Path, option: str) -> None:
    """Refuse a folder that can't be written to, or can't be made; nothing is written.

    Args:
        folder: The folder.
        option: What names another one, for the sentence.

    Raises:
        UsageError: If it can't be written to, or if it or a folder above it is a file.
    """
    check_folder(folder)
    there = next(p for p in (folder, *folder.parents) if os.path.exists(p))  # noqa: PTH110
    if not os.access(there, os.W_OK | os.X_OK):
        within = "" if there == folder else f", for {str(there.absolute())!r} can't be"
        raise UsageError(
            f"{str(folder)!r} can't be written to{within}; choose another folder with {option}."
        )


@dataclass(frozen=True)
class Access:
    """What a loader may use; it changes no result.

    Attributes:
        data: Folder in which data sets are looked for, and into which they are downloaded.
        cache: Folder of what is computed once, such as decoded images and audio features.
        download: Whether what is not there may be downloaded.
        ahead: Whether it is only to be said what would be downloaded.
        anew: Whether to decode files again that were decoded before.
    """

    data: Path = field(default_factory=default_data)
    cache: Path = field(default_factory=default_cache)
    download: bool = True
    ahead: bool = False
    anew: bool = False

    def __post_init__(self) -> None:
        """Refuse files where folders are needed.

        Raises:
            UsageError: Naming the file.
        """
        check_folder(self.data)
        check_folder(self.cache)

    def announce(self, line: str) -> None:
        """Tell the user about work that takes long, on standard error."""
        say(line)
