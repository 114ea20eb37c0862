"""The command ``run``: every missing cell, then the leaderboard."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gptfl_bench.commands.options import (
    FAILED,
    OK,
    access_of,
    arrange_access,
    arrange_launcher,
    arrange_seeds,
    command_line,
    expanded,
    launcher_of,
    names,
    seeds_of,
)

if TYPE_CHECKING:
    from gptfl_reports.records.cells import Cell

METHODS_HELP = (
    "names with commas: all (default), gptfl+X warm-starts X, X-ablated leaves out what sets X "
    "apart, ablations does so for all"
)


def arrange(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``run``."""
    add = parser.add_argument
    add("--methods", default="all", metavar="M,..", help=METHODS_HELP)
    add("--dataset", default="digits", metavar="D", help="data set (default: digits)")
    add("--preset", default="default", metavar="P", help="quick, default, cpu or paper")
    arrange_seeds(parser)
    add(
        "--out",
        type=expanded,
        default=Path("runs"),
        metavar="DIR",
        help="run folder (default: runs)",
    )
    arrange_launcher(parser)
    add(
        "--force", nargs="?", const="", metavar="ID,..",
        help="run cells again that have ended: all of the command's, or those of these ids",
    )  # fmt: skip
    add("--cfg", action="store_true", help="print the resolved settings and run nothing")
    add("--export", default="", metavar="T,..", help="hand each cell to tensorboard or mlflow")
    arrange_access(parser)
    add("overrides", nargs="*", metavar="key=value", help="settings, in Hydra's syntax")


def run(options: argparse.Namespace) -> int:
    """Run every missing cell and print the leaderboard."""
    from gptfl_bench.runs import config, experiment, launchers
    from gptfl_bench.runs.bars import for_terminal
    from gptfl_reports import exports

    launcher, access = launcher_of(options), access_of(options)
    force, overrides = _force(options)
    hand_over = exports.exporters(names(options.export), access.announce)
    plan = experiment.plan(
        names(options.methods),
        options.dataset,
        options.preset,
        seeds_of(options),
        overrides,
        access=access,
    )
    if options.cfg:
        print(config.as_yaml(plan.config, list(dict.fromkeys(c.name for c in plan.cells))), end="")
        return OK
    context = experiment.context(options.out, command_line(), force, options.cache, plan.cells)
    # A download has its own bar, so it comes before the run's.
    plan.bring()
    with for_terminal() as shown:
        cells = []
        for cell in launchers.execute(plan.cells, context, shown, launcher):
            cells.append(cell)
            for export in hand_over:
                export(cell, options.out)
    _print_leaderboard(cells)
    print(f"\nTables and a page: gptfl-bench report {options.out}")
    rows = [cell.row() for cell in cells]
    missed = [r for r in rows if r["status"] == "diverged" and r["target"] is not None]
    return FAILED if missed or any(r["status"] == "failed" for r in rows) else OK


def _force(options: argparse.Namespace) -> tuple[bool | list[str], list[str]]:
    """Return which cells are run again, and the settings; one may stand right after ``--force``."""
    if options.force is None:
        return False, options.overrides
    if "=" in options.force:
        return True, [options.force, *options.overrides]
    return names(options.force) or True, options.overrides


def _print_leaderboard(cells: Sequence["Cell"]) -> None:
    from gptfl_reports.numbers.board import leaderboard
    from gptfl_reports.records.cells import in_order
    from gptfl_reports.tables.leaderboard import to_terminal

    print(to_terminal(leaderboard(in_order(cells))), end="")
