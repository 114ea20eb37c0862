"""The command line: ``gptfl-bench COMMAND ...``.

Heavy packages are imported inside commands, after the thread policy is set and the words are
checked, so that help and mistakes are answered at once.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from gptfl_bench import __version__
from gptfl_bench.commands.check import arrange_check, check
from gptfl_bench.commands.data import (
    access_of,
    arrange_access,
    arrange_data,
    arrange_generate,
    data,
    generate,
)
from gptfl_bench.commands.labels import arrange_labels, labels
from gptfl_bench.commands.reproduce import arrange_reproduce, reproduce
from gptfl_bench.commands.results import arrange_results, results
from gptfl_bench.core.errors import UsageError, unknown

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

EPILOG = """\
examples:
  gptfl-bench run                                      all methods on the embedded digits
  gptfl-bench run --methods fedavg,gptfl --seeds 0,1   two methods, two seeds
  gptfl-bench run --methods gptfl+fedopt plan.lr=0.05  a warm start of FedOpt, another step size
  gptfl-bench report runs                              tables and a page from what ran
"""


METHODS_HELP = (
    "names with commas: all (default), gptfl+X warm-starts X, X-ablated leaves out what sets X "
    "apart, ablations does so for all"
)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence."""

    def error(self, message: str) -> NoReturn:
        """Raise a usage error, with the nearest option if one was mistyped."""
        _, found, rest = message.partition("unrecognized arguments: ")
        if found and rest.startswith("-"):
            options = [option for option in self._option_string_actions if len(option) > 2]
            raise unknown("option", rest.split()[0].split("=")[0], options)
        sentence = message.removeprefix("argument ").rstrip(".")
        raise UsageError(f"{sentence}; {self.prog} --help shows what is allowed.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    # Idle OpenMP threads spin otherwise; it counts only if it is set before PyTorch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    words = list(sys.argv[1:] if arguments is None else arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        if not words or words[0] in ("-h", "--help"):
            print(_overview())
            return OK
        if words[0] == "--version":
            print(f"gptfl-bench {__version__}")
            return OK
        if words[0] not in COMMANDS:
            raise unknown("command", words[0], COMMANDS)
        _, arrange, command = COMMANDS[words[0]]
        parser = Parser(
            prog=f"gptfl-bench {words[0]}",
            description=COMMANDS[words[0]][0],
            allow_abbrev=False,
            epilog=EPILOG if words[0] == "run" else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        arrange(parser)
        return command(parser.parse_intermixed_args(words[1:]))
    except UsageError as error:
        print(f"gptfl-bench: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print("gptfl-bench: interrupted; the same command goes on from here.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe, such as head, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _overview() -> str:
    lines = [f"  {name:<10}{about}" for name, (about, _, _) in COMMANDS.items()]
    return (
        "usage: gptfl-bench COMMAND ...\n\n"
        "Compares GPT-FL with other federated learning methods.\n\ncommands:\n"
        + "\n".join(lines)
        + f"\n\n{EPILOG}\ngptfl-bench COMMAND --help shows a command's options."
    )


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _seeds(text: str) -> list[int]:
    try:
        return [int(seed) for seed in _names(text)]
    except ValueError as error:
        raise UsageError(
            f"--seeds {text!r} must be whole numbers with commas, such as 0,1,2."
        ) from error


def _arrange_run(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--methods", default="all", metavar="M,..", help=METHODS_HELP)
    add("--dataset", default="digits", metavar="D", help="data set (default: digits)")
    add("--preset", default="default", metavar="P", help="quick, default, cpu or paper")
    add("--seeds", default="0,1,2", metavar="S,..", help="seeds with commas (default: 0,1,2)")
    add("--out", type=Path, default=Path("runs"), metavar="DIR", help="run folder (default: runs)")
    add("--launcher", default="basic", help="basic (default), joblib or submitit")
    add("--force", action="store_true", help="run cells again that have ended")
    add("--cfg", action="store_true", help="print the resolved settings and run nothing")
    add("--export", default="", metavar="T,..", help="hand each cell to tensorboard or mlflow")
    arrange_access(parser)
    add("overrides", nargs="*", metavar="key=value", help="settings, in Hydra's syntax")


def _run(options: argparse.Namespace) -> int:
    from gptfl_bench.runs import config, experiment, launchers
    from gptfl_bench.runs.bars import for_terminal
    from gptfl_reports import exports

    if options.launcher not in launchers.LAUNCHERS:
        raise unknown("launcher", options.launcher, launchers.LAUNCHERS)
    hand_over = exports.exporters(_names(options.export))
    plan = experiment.plan(
        _names(options.methods),
        options.dataset,
        options.preset,
        _seeds(options.seeds),
        options.overrides,
        access=access_of(options),
    )
    if options.cfg:
        print(config.as_yaml(plan.config, list(dict.fromkeys(c.name for c in plan.cells))), end="")
        return OK
    context = experiment.context(options.out, _command(), options.force, options.cache)
    # A download has its own bar, so it comes before the run's.
    plan.cells[0].load_task()
    with for_terminal() as shown:
        cells = []
        for cell in launchers.execute(plan.cells, context, shown, options.launcher):
            cells.append(cell)
            for export in hand_over:
                export(cell, options.out)
    _print_leaderboard(options.out, {cell.record["run_id"] for cell in cells})
    print(f"\nTables and a page: gptfl-bench report {options.out}")
    rows = [cell.row() for cell in cells]
    missed = [r for r in rows if r["status"] == "diverged" and r["target"] is not None]
    return FAILED if missed or any(r["status"] == "failed" for r in rows) else OK


def _print_leaderboard(folder: Path, run_ids: set[str]) -> None:
    from gptfl_reports.numbers.board import leaderboard
    from gptfl_reports.records.cells import read_cells
    from gptfl_reports.tables.leaderboard import to_terminal

    cells = [cell for cell in read_cells(folder) if cell.record["run_id"] in run_ids]
    print(to_terminal(leaderboard(cells)), end="")


def _arrange_search(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--dataset", default="digits", metavar="D", help="data set with a search file")
    add("--preset", default="default", metavar="P", help="settings that are not searched")
    add("--out", type=Path, default=Path("searches"), metavar="DIR", help="folder of the trials")
    add("--launcher", default="basic", help="basic (default), joblib or submitit")
    arrange_access(parser)
    add("overrides", nargs="*", metavar="key=value", help="settings of all trials")


def _search(options: argparse.Namespace) -> int:
    from gptfl_bench.runs import experiment, launchers, search
    from gptfl_bench.runs.bars import for_terminal

    if options.launcher not in launchers.LAUNCHERS:
        raise unknown("launcher", options.launcher, launchers.LAUNCHERS)
    grid = search.read_grid(options.dataset)
    context = experiment.context(options.out, _command(), cache=options.cache)
    with for_terminal() as shown:
        trials = search.search(
            grid,
            options.preset,
            options.overrides,
            context,
            shown,
            options.launcher,
            access_of(options),
        )
    table = options.out / f"{options.dataset}.csv"
    table.write_text(search.as_csv(trials, grid.seeds), encoding="utf-8")
    print(f"# {grid.trials} trials an arm, seeds {grid.seeds}; all scores in {table}")
    print(search.as_preset(trials), end="")
    return OK


def _command() -> str:
    return " ".join(["gptfl-bench", *sys.argv[1:]])


def _arrange_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="run folder")
    parser.add_argument("--out", type=Path, metavar="DIR2", help="where to (default: DIR/report)")
    parser.add_argument(
        "--baseline", default="fedavg", metavar="M", help="compare with this (default: fedavg)"
    )


def _report(options: argparse.Namespace) -> int:
    from gptfl_reports.report import write_report

    out = options.out or options.folder / "report"
    for path in write_report(options.folder, out, options.baseline):
        print(path)
    return OK


def _arrange_list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", metavar="KIND", help="what to list: " + ", ".join(LISTS))
    parser.add_argument("--json", action="store_true", help="as JSON")


def _list(options: argparse.Namespace) -> int:
    if options.kind not in LISTS:
        raise unknown("list", options.kind, LISTS)
    from gptfl_bench.commands import listing
    from gptfl_reports.tables import table as tables
    from gptfl_reports.tables import table1

    if options.json:
        print(listing.as_json(options.kind, table1.published()))
        return OK
    print(listing.as_text(options.kind))
    if options.kind == "methods":
        facts = [table1.Facts(*row) for row in listing.profiles()]
        print("\n" + tables.terminal(table1.table1(facts), 130), end="")
    return OK


def _arrange_nothing(parser: argparse.ArgumentParser) -> None:
    """Take no options."""


def _doctor(options: argparse.Namespace) -> int:
    from gptfl_bench.commands import doctor

    for finding in doctor.examine():
        print(f"{'ok' if finding.works else '--'}  {finding.name:<16} {finding.text}")
    return OK


LISTS = ("methods", "datasets", "models", "generators", "prompts", "partitions", "presets")

COMMANDS: dict[
    str,
    tuple[str, Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], int]],
] = {
    "run": ("run every missing cell and print the leaderboard", _arrange_run, _run),
    "results": ("one row a cell, also while a run is going", arrange_results, results),
    "report": ("tables, curves and a page from the records alone", _arrange_report, _report),
    "reproduce": ("a table or figure of the paper measured", arrange_reproduce, reproduce),
    "check": ("compare results with accuracy targets", arrange_check, check),
    "list": ("what there is: " + ", ".join(LISTS), _arrange_list, _list),
    "data": ("where a data set is looked for and whether it is whole", arrange_data, data),
    "generate": ("make a synthetic data set as a folder", arrange_generate, generate),
    "labels": ("discover clients' label names, privately", arrange_labels, labels),
    "search": ("search rates by equal budgets on held-out data", _arrange_search, _search),
    "doctor": ("what works here and what to install for the rest", _arrange_nothing, _doctor),
}
