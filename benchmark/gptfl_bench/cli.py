"""The command line: ``gptfl-bench COMMAND ...``.

Heavy packages are imported inside commands, after the thread policy is set and the words are
checked, so that help and mistakes are answered at once.
"""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType, ModuleType
from typing import NoReturn

from gptfl_bench.commands import (
    check,
    data,
    doctor,
    generate,
    labels,
    listing,
    report,
    reproduce,
    results,
    run,
    search,
)
from gptfl_bench.commands.federation import federate
from gptfl_bench.commands.options import INTERRUPTED, OK, USAGE
from gptfl_bench.core import streams
from gptfl_bench.core.errors import UsageError, unknown
from gptfl_bench.core.memory import keep_freed_memory
from gptfl_reports.records.files import CANT_WRITE, cant_write

EPILOG = """\
examples:
  gptfl-bench run                                      all methods on the embedded digits
  gptfl-bench run --methods fedavg,gptfl --seeds 0,1   two methods, two seeds
  gptfl-bench run --methods gptfl+fedopt plan.lr=0.05  a warm start of FedOpt, another step size
  gptfl-bench report runs                              tables and a page from what ran
"""


@dataclass(frozen=True)
class Command:
    """A command of the command line.

    Attributes:
        about: What it does, in a line.
        arrange: Adds its options to a parser.
        run: Does it, and returns the exit code.
    """

    about: str
    arrange: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence."""

    def error(self, message: str) -> NoReturn:
        """Raise a usage error, with the nearest option if one was mistyped."""
        _, found, rest = message.partition("unrecognized arguments: ")
        if found and rest.startswith("-"):
            options = [option for option in self._option_string_actions if len(option) > 2]
            raise unknown("option", rest.split()[0].split("=")[0], options)
        sentence = message.removeprefix("argument ").rstrip(".")
        sentence = sentence.replace("ignored explicit argument", "takes no value such as")
        sentence = sentence.replace("expected one argument", "takes a value")
        raise UsageError(f"{sentence}; {self.prog} --help shows what is allowed.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    # Idle OpenMP threads spin otherwise; it counts only if it is set before PyTorch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    with _terminable(), streams.any_text():
        try:
            keep_freed_memory()
            code = _run(list(sys.argv[1:] if arguments is None else arguments))
            # A full disk and a reader that has left are noticed here, or after the exit code.
            sys.stdout.flush()
            return code
        except UsageError as error:
            print(f"gptfl-bench: {error}", file=sys.stderr)
            return USAGE
        except KeyboardInterrupt as why:
            reason = str(why) or "interrupted"
            print(f"gptfl-bench: {reason}; the same command goes on from here.", file=sys.stderr)
            return INTERRUPTED
        except BrokenPipeError:
            # The reader of a pipe, such as head, has seen enough.
            streams.discard(sys.stdout)
            return OK
        except OSError as error:
            if error.errno not in CANT_WRITE:
                raise
            print(f"gptfl-bench: {cant_write(error)}", file=sys.stderr)
            return USAGE


def _run(words: list[str]) -> int:
    """Answer in one process; of those that torchrun started, one answers and the others serve."""
    if "TORCHELASTIC_RUN_ID" not in os.environ or os.environ["WORLD_SIZE"] == "1":
        return _answer(words)
    from gptfl_bench.cells.assemble import federation_here
    from gptfl_bench.workers import ranks

    with ranks.together() as rank:
        if rank == 0:
            return _answer(words)
        ranks.serve(federation_here)
        return OK


def _answer(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(_overview())
        return OK
    if words[0] == "--version":
        # Slow to load, for a word that is seldom asked for.
        from importlib.metadata import version

        print(f"gptfl-bench {version('gptfl-bench')}")
        return OK
    if words[0] not in COMMANDS:
        raise unknown("command", words[0], COMMANDS)
    command = COMMANDS[words[0]]
    parser = Parser(
        prog=f"gptfl-bench {words[0]}",
        description=command.about,
        allow_abbrev=False,
        epilog=EPILOG if words[0] == "run" else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.arrange(parser)
    return command.run(parser.parse_intermixed_args(words[1:]))


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM interrupt as Ctrl-C does; no thread but the main one may ask for it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        # None: set by other than Python, which can't be set again.
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _overview() -> str:
    lines = [f"  {name:<10}{command.about}" for name, command in COMMANDS.items()]
    return (
        "usage: gptfl-bench COMMAND ...\n\n"
        "Compares GPT-FL with other federated learning methods.\n\ncommands:\n"
        + "\n".join(lines)
        + f"\n\n{EPILOG}\ngptfl-bench COMMAND --help shows a command's options."
    )


def _command(about: str, module: ModuleType) -> Command:
    return Command(about, module.arrange, module.run)


COMMANDS = {
    "run": _command("run every missing cell and print the leaderboard", run),
    "results": _command("one row a cell, also while a run is going", results),
    "report": _command("tables, curves and a page from the records alone", report),
    "reproduce": _command("a table or figure of the paper measured", reproduce),
    "check": _command("compare results with accuracy targets", check),
    "list": _command("what there is: " + ", ".join(listing.LISTS), listing),
    "data": _command("where a data set is looked for and whether it is whole", data),
    "generate": _command("make a synthetic data set as a folder", generate),
    "labels": _command("discover clients' label names, privately", labels),
    "search": _command("search rates by equal budgets on held-out data", search),
    "federate": _command("one cell by a server and clients as real processes", federate),
    "doctor": _command("what works here and what to install for the rest", doctor),
}
"""The commands by name, in the order of the overview."""
