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
    from collections.abc import Iterable, Sequence

    from gptfl_bench.runs.grid import Point
    from gptfl_bench.runs.reproductions import Arm, Block
    from gptfl_reports.records.cells import Cell
    from gptfl_reports.tables.beside import Measured


def arrange(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``reproduce``."""
    add = parser.add_argument
    add("name", metavar="T", help="table2 to table6, figure2 to 4, figure7 to 9, or claims")
    add("--scale", default="cpu", help="cpu (default), or paper for its own setting")
    add("--dataset", action="append", default=[], metavar="D", help="only this one; repeatable")
    add("--claim", action="append", default=[], metavar="C", help="only this claim; repeatable")
    arrange_seeds(parser)
    add("--out", type=expanded, metavar="DIR", help="run folder (default: reproduce/T-SCALE)")
    arrange_launcher(parser)
    add("--plan", action="store_true", help="print the cells and run nothing")
    arrange_access(parser)
    add("overrides", nargs="*", metavar="key=value", help="settings of all cells, as of run")


def run(options: argparse.Namespace) -> int:
    """Run the cells behind a table or figure, and print measured beside published."""
    from gptfl_bench.core.errors import UsageError, unknown
    from gptfl_bench.runs import reproductions
    from gptfl_reports.report import write_report
    from gptfl_reports.tables import beside

    if options.scale not in ("cpu", "paper"):
        raise unknown("scale", options.scale, ("cpu", "paper"))
    if options.name == "claims":
        return _decide_claims(options)
    if options.claim:
        raise UsageError(f"--claim is for claims, not for {options.name}; leave it out.")
    blocks = reproductions.blocks(options.name, options.scale, options.dataset)
    # With settings of several values, an arm has a row for each combination.
    arms = [
        (block, arm, point)
        for block in blocks
        for arm in block.arms
        for point in _points(options, arm.method, block.name, block.settings(arm, options.scale))
    ]
    if options.plan:
        for block, arm, point in arms:
            specs = point.plan.cells
            settings = " ".join([*block.settings(arm, options.scale), *point.settings])
            print(f"{block.dataset}, {arm.published}: {specs[0].name} {settings}, {len(specs)}x")
        return 0
    out, cells = _cells(options, [point for _, _, point in arms])
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
    return _code(cells.values())


def _decide_claims(options: argparse.Namespace) -> int:
    """Run the cells that decide the paper's claims, and print the verdicts."""
    from gptfl_bench.core.errors import unknown
    from gptfl_reports.claims.paper import claims
    from gptfl_reports.claims.table import verdict_table
    from gptfl_reports.claims.verdicts import verdicts
    from gptfl_reports.report import write_report
    from gptfl_reports.tables.table import terminal

    for given, kind in ((options.claim, "claim"), (options.dataset, "data set of the claims")):
        known = {claim.key if kind == "claim" else claim.dataset for claim in claims()}
        for name in given:
            if name not in known:
                raise unknown(kind, name, known)
    asked = [
        claim
        for claim in claims()
        if not options.claim or claim.key in options.claim
        if not options.dataset or claim.dataset in options.dataset
    ]
    points = [
        point
        for claim in asked
        for side in claim.sides
        for point in _points(
            options,
            side.method,
            claim.dataset,
            [f"{key}={value}" for key, value in side.settings.items()],
        )
    ]
    if options.plan:
        for name in dict.fromkeys(cell.run_id for point in points for cell in point.plan.cells):
            print(name)
        return 0
    if not points:
        print(terminal(verdict_table(verdicts([], asked)), 120), end="")
        return 0
    out, cells = _cells(options, points)
    print(terminal(verdict_table(verdicts(cells.values(), asked)), 120), end="")
    for path in write_report(out, out / "report"):
        print(path)
    return _code(cells.values())


def _points(
    options: argparse.Namespace, method: str, dataset: str, settings: "Sequence[str]"
) -> "Sequence[Point]":
    """Return the grid of one method with the settings given; a single point without a sweep."""
    from gptfl_bench.runs import grid

    _, given = launching_of(options, options.overrides)
    overrides = [*settings, *given]
    access, seeds = access_of(options), seeds_of(options)
    return grid.plan([method], dataset, options.scale, seeds, overrides, access=access).points


def _cells(
    options: argparse.Namespace, points: "Sequence[Point]"
) -> "tuple[Path, dict[str, Cell]]":
    """Run what is missing of some cells, and return the run folder and all of them by id."""
    from gptfl_bench.runs import experiment, grid, launchers
    from gptfl_bench.runs.forecast import outlook

    out = options.out or Path("reproduce") / f"{options.name}-{options.scale}"
    command = f"gptfl-bench reproduce {options.name} --scale {options.scale}"
    launcher, processes = launcher_of(options), processes_of(options)
    launching, _ = launching_of(options, options.overrides)
    context = experiment.context(out, command, False, options.cache, (), processes, launching)
    # Several numbers may come from one cell.
    distinct = grid.in_turn(grid.Grid(tuple(points)).cells)
    launchers.check(distinct, context)
    ahead = outlook.look_ahead(distinct, context, launcher)
    print("\n".join(outlook.lines(ahead, options.scale)), file=sys.stderr, flush=True)
    return out, {c.record["run_id"]: c for c in carry_out(ahead, context, launcher)}


def _code(cells: "Iterable[Cell]") -> int:
    return 1 if any(cell.ending.status == "failed" for cell in cells) else 0


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
