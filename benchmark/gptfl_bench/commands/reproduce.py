"""The command ``reproduce``: a table or figure of the paper measured, beside its numbers."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gptfl_bench.commands.options import (
    access_of,
    arrange_access,
    arrange_launcher,
    arrange_seeds,
    expanded,
    launcher_of,
    launching_of,
    processes_of,
    seeds_of,
)
from gptfl_bench.commands.run import carry_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gptfl_bench.runs.grid import Point
    from gptfl_bench.runs.reproductions import Arm, Block
    from gptfl_reports.records.cells import Cell
    from gptfl_reports.tables.beside import Measured


def arrange(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``reproduce``."""
    add = parser.add_argument
    add("name", metavar="T", help="table2 to table6, figure2 to 4, figure7 to 9")
    add("--scale", default="cpu", help="cpu (default), or paper for its own setting")
    add("--dataset", action="append", default=[], metavar="D", help="only this one; repeatable")
    arrange_seeds(parser)
    add("--out", type=expanded, metavar="DIR", help="run folder (default: reproduce/T-SCALE)")
    arrange_launcher(parser)
    add("--plan", action="store_true", help="print the cells and run nothing")
    arrange_access(parser)
    add("overrides", nargs="*", metavar="key=value", help="settings of all cells, as of run")


def run(options: argparse.Namespace) -> int:
    """Run the cells behind a table or figure, and print measured beside published."""
    from gptfl_bench.core.errors import unknown
    from gptfl_bench.runs import experiment, grid, launchers, reproductions
    from gptfl_bench.runs.forecast import outlook
    from gptfl_reports.report import write_report
    from gptfl_reports.tables import beside

    if options.scale not in ("cpu", "paper"):
        raise unknown("scale", options.scale, ("cpu", "paper"))
    launcher, access, seeds = launcher_of(options), access_of(options), seeds_of(options)
    processes = processes_of(options)
    launching, overrides = launching_of(options, options.overrides)
    blocks = reproductions.blocks(options.name, options.scale, options.dataset)
    # With settings of several values, an arm has a row for each combination.
    arms = [
        (block, arm, point)
        for block in blocks
        for arm in block.arms
        for point in grid.plan(
            [arm.method],
            block.name,
            options.scale,
            seeds,
            [*block.settings(arm, options.scale), *overrides],
            access=access,
        ).points
    ]
    if options.plan:
        for block, arm, point in arms:
            specs = point.plan.cells
            settings = " ".join([*block.settings(arm, options.scale), *point.settings])
            print(f"{block.dataset}, {arm.published}: {specs[0].name} {settings}, {len(specs)}x")
        return 0
    out = options.out or Path("reproduce") / f"{options.name}-{options.scale}"
    command = f"gptfl-bench reproduce {options.name} --scale {options.scale}"
    told = (False, options.cache, (), processes, launching)
    context = experiment.context(out, command, *told)
    # Several numbers may come from one cell.
    planned = grid.Grid(tuple(point for _, _, point in arms))
    distinct = grid.in_turn(planned.cells)
    launchers.check(distinct, context)
    ahead = outlook.look_ahead(distinct, context, launcher)
    print("\n".join(outlook.lines(ahead, options.scale)), file=sys.stderr, flush=True)
    cells = {c.record["run_id"]: c for c in carry_out(ahead, context, launcher)}
    measured = [
        _measured(options.name, block, arm, point, [cells[s.run_id] for s in point.plan.cells])
        for block, arm, point in arms
    ]
    print(beside.as_text(measured, options.scale), end="")
    for path in [
        *beside.write(measured, options.scale, out, options.name),
        *write_report(out, out / "report"),
    ]:
        print(path)
    return 1 if any(cell.ending.status == "failed" for cell in cells.values()) else 0


def _measured(
    name: str, block: "Block", arm: "Arm", point: "Point", cells: "Sequence[Cell]"
) -> "Measured":
    from gptfl_reports.tables.beside import Measured

    finished = [cell for cell in cells if cell.ending.status == "finished"]
    values = [
        cell.value(cell.evaluations[0]) if arm.at_start else cell.row()["value_mean_last"]
        for cell in finished
    ]
    reasons = {cell.ending.reason for cell in cells if cell.ending.reason}
    record = cells[0].record
    return Measured(
        name,
        block.dataset,
        block.model,
        block.partition,
        arm.published,
        tuple(value for value in values if value is not None),
        "; ".join(sorted(reasons)),
        f"{record['model']['name']}, {record['rounds']} rounds of {record['cohort_size']} of "
        f"{record['num_clients']} clients" + "".join(f", {text}" for text in point.settings),
        record["metric"],
    )
