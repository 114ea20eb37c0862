"""The command ``run``: every missing cell, then the leaderboard."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gptfl_bench.commands.options import (
    FAILED,
    OK,
    PRESETS_HELP,
    access_of,
    arrange_access,
    arrange_launcher,
    arrange_seeds,
    command_line,
    expanded,
    launcher_of,
    launching_of,
    names,
    processes_of,
    seeds_of,
    some_names,
)
from gptfl_bench.core.errors import UsageError, unknown
from gptfl_bench.data.access import DataMissing

if TYPE_CHECKING:
    from gptfl_bench.cells.cell import Context
    from gptfl_bench.cells.spec import CellSpec
    from gptfl_bench.runs import grid
    from gptfl_bench.runs.forecast.outlook import Outlook
    from gptfl_bench.runs.launchers import Launcher
    from gptfl_reports.exports.hand_over import HandOver
    from gptfl_reports.records.cells import Cell

PLAN_FORMATS = ("table", "json")
METHODS_HELP = (
    "names with commas: all (default), gptfl+X warm-starts X, X-ablated leaves out what sets X "
    "apart, ablations does so for all, references are training that is not federated"
)


def arrange(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``run``."""
    add = parser.add_argument
    add("--methods", default="all", metavar="M,..", help=METHODS_HELP)
    add("--dataset", default="digits", metavar="D", help="data set (default: digits)")
    add("--preset", default="auto", metavar="P", help=PRESETS_HELP)
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
        "--force", nargs="?", const=True, type=_forced, metavar="ID,..",
        help="run cells again that have ended: all of the command's, or those of these ids",
    )  # fmt: skip
    add("--plan", action="store_true", help="say what would run and how long it takes, and stop")
    add("--format", default="table", help="of --plan: " + ", ".join(PLAN_FORMATS))
    add("--cell", type=some_names, metavar="ID,..", help="run only these cells, as in --plan")
    add("--cfg", action="store_true", help="print the resolved settings and run nothing")
    add("--export", default="", metavar="T,..", help="show cells in tensorboard, mlflow or wandb")
    arrange_access(parser)
    add(
        "overrides", nargs="*", metavar="key=value[,value]",
        help="settings, in Hydra's syntax; several values make a grid of tasks",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Say what is to be done, run every missing cell and print the leaderboard."""
    from gptfl_bench.runs import config, experiment, grid, launchers
    from gptfl_bench.runs.forecast import outlook
    from gptfl_reports.exports.hand_over import exporters

    launcher, access, processes = launcher_of(options), access_of(options), processes_of(options)
    force, overrides = _force(options)
    launching, overrides = launching_of(options, overrides)
    if options.format not in PLAN_FORMATS:
        raise unknown("format", options.format, PLAN_FORMATS)
    if options.format != "table" and not options.plan:
        raise UsageError(
            f"--format {options.format} is for --plan; for what has run there is gptfl-bench "
            f"results DIR --format {options.format}."
        )
    hand_over = exporters(names(options.export), access.announce)
    methods, seeds = names(options.methods), seeds_of(options)
    if options.plan:
        access = replace(access, ahead=True)

    def planned(preset: str) -> "grid.Grid":
        return grid.plan(methods, options.dataset, preset, seeds, overrides, access=access)

    tasks = planned(options.preset)
    if options.cfg:
        for point in tasks.points:
            if point.settings:
                print(f"---  # {' '.join(point.settings)}")
            shown = list(dict.fromkeys(cell.name for cell in point.plan.cells))
            print(config.as_yaml(point.plan.config, shown), end="")
        return OK
    preset = tasks.points[0].plan.config.preset
    if options.preset == config.AUTO:
        preset += f" (auto: {config.fitting_preset(options.dataset, overrides)[1]})"
    try:
        # Cells are told apart by their data, too; a download has its own bar.
        cells = tasks.only(options.cell) if options.cell else grid.in_turn(tasks.cells)
    except DataMissing as missing:
        if not options.plan or options.format != "table":
            raise
        planned_cells = [cell for point in tasks.points for cell in point.plan.cells]
        print(f"cells: {len(planned_cells):,}\ndata: {missing}\npreset: {preset}")
        print(*outlook.synthetic_data(planned_cells), sep="\n")
        print("time: not known before the data are there")
        return OK
    where = (options.out, command_line(), force, options.cache)
    context = experiment.context(*where, tasks.cells, processes, launching)
    launchers.check(cells, context)
    others = {name: partial(_in_turn, planned, name) for name in ("cpu", "quick")}
    ahead = outlook.look_ahead(cells, context, launcher, others)
    if options.format == "json":
        print(json.dumps(outlook.as_rows(ahead), indent=1))
        return OK
    if options.plan:
        print("\n".join([*outlook.lines(ahead, preset), "", *outlook.listed(ahead)]))
        return OK
    print("\n".join(outlook.lines(ahead, preset)), file=sys.stderr, flush=True)
    ended = carry_out(ahead, context, launcher, hand_over)
    print_leaderboard(ended)
    print(f"\nTables and a page: gptfl-bench report {options.out}")
    rows = [cell.row() for cell in ended]
    missed = [r for r in rows if r["status"] == "diverged" and r["target"] is not None]
    return FAILED if missed or any(r["status"] == "failed" for r in rows) else OK


def carry_out(
    ahead: "Outlook",
    context: "Context",
    launcher: "Launcher",
    hand_over: "Sequence[HandOver]" = (),
) -> "list[Cell]":
    """Run cells that were checked, with the leaderboard so far in sight, and return them.

    Args:
        ahead: The cells, and what they are going to take.
        context: What they are given.
        launcher: Where they run.
        hand_over: Tools that are shown the cells, while they run and when they have ended.
    """
    from gptfl_bench.runs import launchers
    from gptfl_bench.runs.bars import for_terminal
    from gptfl_bench.runs.forecast.outlook import in_words
    from gptfl_reports.exports.watch import watching

    started, ended = time.monotonic(), []
    try:
        ids = [cell.run_id for cell in ahead.cells]
        with for_terminal() as shown, watching(hand_over, ids, context.out):
            for cell in launchers.launch(ahead.cells, context, shown, launcher):
                ended.append(cell)
                shown.standing(partial(_so_far, tuple(ended)))
                for export in hand_over:
                    export(cell, context.out)
    except KeyboardInterrupt:
        if begun := _begun(ahead.cells, context.out):
            print_leaderboard(begun)
        raise
    _name_failed(ahead.cells, ended)
    if ahead.forecast.to_run:
        took = time.monotonic() - started
        ahead.forecast.keep(context.artifacts, ended, took)
        words = f"took {in_words(took)}; the estimate was {in_words(ahead.seconds)}"
        print(words, file=sys.stderr, flush=True)
    return ended


def _name_failed(specs: "Sequence[CellSpec]", cells: "Sequence[Cell]") -> None:
    """Say in a sentence which cells failed, which the leaderboard alone does not tell."""
    from gptfl_bench.runs import naming

    titles = naming.titles(specs)
    failed = {c.record["run_id"]: c for c in cells if c.ending.status == "failed"}
    if failed:
        names = ", ".join(title for run_id, title in titles.items() if run_id in failed)
        print(
            f"gptfl-bench: {len(failed)} of {len(titles)} cells failed ({names}); the same command "
            "tries them again, and goes on with those that were lost on the way.",
            file=sys.stderr,
            flush=True,
        )


def _in_turn(planned: "Callable[[str], grid.Grid]", preset: str) -> "Sequence[CellSpec]":
    from gptfl_bench.runs import grid

    return grid.in_turn(planned(preset).cells)


def _so_far(cells: "Sequence[Cell]") -> str:
    from gptfl_reports.numbers.board import leaderboard
    from gptfl_reports.records.cells import in_order
    from gptfl_reports.tables.leaderboard import so_far

    return so_far(leaderboard(in_order(cells)), cells[-1])


def _begun(cells: "Sequence[CellSpec]", out: Path) -> "list[Cell]":
    """Return the cells of a run that have ended or begun; a damaged one is left out."""
    from gptfl_reports.records.cells import RECORD, read_cell

    found = []
    for folder in (out / cell.run_id for cell in cells):
        with suppress(UsageError):
            if (folder / RECORD).exists():
                found.append(read_cell(folder))
    return found


def _forced(text: str) -> str:
    return ",".join(some_names(text))


def _force(options: argparse.Namespace) -> tuple[bool | list[str], list[str]]:
    """Return which cells are run again, and the settings; one may stand right after ``--force``."""
    if options.force is None:
        return False, options.overrides
    if options.force is True:
        return True, options.overrides
    if "=" in options.force:
        return True, [options.force, *options.overrides]
    return names(options.force), options.overrides


def print_leaderboard(cells: Sequence["Cell"]) -> None:
    """Print the leaderboard of some cells."""
    from gptfl_reports.numbers.board import leaderboard
    from gptfl_reports.records.cells import in_order
    from gptfl_reports.tables.leaderboard import to_terminal

    print(to_terminal(leaderboard(in_order(cells))), end="")
