"""What commands share: words to values, options that several take, and exit codes."""

import argparse
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gptfl_bench.core.errors import UsageError, unknown

if TYPE_CHECKING:
    from gptfl_bench.data.access import Access
    from gptfl_bench.runs.launchers import Launcher

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
PRESETS_HELP = (
    "quick, default, cpu or paper; auto (default) takes default where there is a GPU or the data "
    "are small, else cpu"
)


def names(text: str) -> list[str]:
    """Return names that commas part."""
    return [name.strip() for name in text.split(",") if name.strip()]


def some_names(text: str) -> list[str]:
    """Return names that commas part.

    Raises:
        ArgumentTypeError: If there is none, as in a variable that is not set: where a missing
            option stands for everything, an empty one must not.
    """
    if found := names(text):
        return found
    raise argparse.ArgumentTypeError(f"{text!r} names nothing")


def arrange_seeds(parser: argparse.ArgumentParser) -> None:
    """Add the option of seeds."""
    parser.add_argument(
        "--seeds", default="0,1,2", metavar="S,..", help="seeds with commas (default: 0,1,2)"
    )


def seeds_of(options: argparse.Namespace) -> list[int]:
    """Return the seeds.

    Raises:
        UsageError: If one is no whole number.
    """
    try:
        return [int(seed) for seed in names(options.seeds)]
    except ValueError as error:
        raise UsageError(
            f"--seeds {options.seeds!r} must be whole numbers with commas, such as "
            f"{_listed(options.seeds)}."
        ) from error


def _listed(text: str) -> str:
    """Return the seeds that a range such as ``0-4`` may mean; an example for all else."""
    ends = re.fullmatch(r"\s*(\d{1,3})\s*(?:-|\.\.|:)\s*(\d{1,3})\s*", text)
    first, last = (int(ends[1]), int(ends[2])) if ends else (0, 2)
    return ",".join(map(str, range(first, last + 1))) if 0 <= last - first < 20 else "0,1,2"


def expanded(text: str) -> Path:
    """Return a path with ``~`` expanded, which shells leave alone in ``--out=~/runs``.

    Raises:
        ArgumentTypeError: If it is empty, as a variable that is not set, for that would be the
            current folder.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError(f"{text!r} names no file or folder")
    return Path(os.path.expanduser(text))  # noqa: PTH111 - Path("./~") would be the home


def arrange_launcher(parser: argparse.ArgumentParser) -> None:
    """Add the option of where cells run."""
    add = parser.add_argument
    add("--launcher", default="basic", help="basic (default), joblib, dask or submitit")
    add(
        "--processes", metavar="N",
        help="cells at once with joblib and dask (default: by cores, on a GPU by its memory)",
    )  # fmt: skip


def launcher_of(options: argparse.Namespace) -> "Launcher":
    """Return where cells run.

    Raises:
        UsageError: If there is no such launcher.
    """
    from gptfl_bench.runs.launchers import LAUNCHERS

    for name in LAUNCHERS:
        if name == options.launcher:
            return name
    raise unknown("launcher", options.launcher, LAUNCHERS)


def launching_of(
    options: argparse.Namespace, overrides: list[str]
) -> tuple[dict[str, str], list[str]]:
    """Return what the launcher is told, ``launcher.key=value``, and all other settings.

    Raises:
        UsageError: If there is no such launcher or setting, or a value does not fit.
    """
    from gptfl_bench.clusters.settings import parted

    return parted(launcher_of(options), overrides)


def processes_of(options: argparse.Namespace) -> int:
    """Return how many cells are to run at once; 0 for what fits the machine.

    Raises:
        UsageError: If it is no number of 1 or more, or the launcher makes no processes here.
    """
    from gptfl_bench.runs.processes import asked_for

    return asked_for(options.processes, launcher_of(options))


def arrange_access(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where data lie."""
    parser.add_argument(
        "--data",
        type=expanded,
        metavar="DIR",
        help="folder in which data sets are looked for and into which they are downloaded "
        "(default: $GPTFL_BENCH_DATA, else the user's data folder)",
    )
    parser.add_argument("--no-download", action="store_true", help="never download a data set")
    parser.add_argument(
        "--cache",
        type=expanded,
        metavar="DIR",
        help="folder of prepared and synthetic data and pre-trained models that runs share "
        "(default: $GPTFL_BENCH_CACHE, else the user's cache folder)",
    )


def access_of(options: argparse.Namespace) -> "Access":
    """Return what those options say."""
    from gptfl_bench.data import access

    return access.Access(
        options.data or access.default_data(),
        options.cache or access.default_cache(),
        download=not options.no_download,
    )


def warn(error: UsageError) -> None:
    """Say on standard error what is wrong with one of several cells; the command goes on."""
    print(f"gptfl-bench: {error}", file=sys.stderr)


def command_line() -> str:
    """Return the words of this command, for records."""
    return " ".join(["gptfl-bench", *sys.argv[1:]])
