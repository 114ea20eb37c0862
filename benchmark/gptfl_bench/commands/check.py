"""The command ``check``: results against accepted ranges, for regression tests of accuracy."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from gptfl_bench.commands.options import expanded

if TYPE_CHECKING:
    from gptfl_reports.targets import Finding


def arrange(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``check``."""
    add = parser.add_argument
    add("folder", type=expanded, metavar="DIR", help="run folder")
    add("--targets", type=expanded, required=True, metavar="FILE", help="accepted ranges, YAML")
    add("--write", action="store_true", help="make FILE from the records in DIR")
    add("--junit", type=expanded, metavar="XML", help="also write a JUnit report")


def run(options: argparse.Namespace) -> int:
    """Compare results with targets; 1 if any is missed."""
    from gptfl_reports import targets
    from gptfl_reports.records.cells import read_cells
    from gptfl_reports.records.files import write_atomically

    cells = read_cells(options.folder)
    if options.write:
        made = targets.make(cells)
        targets.write(options.targets, made)
        print(f"{len(made.targets)} targets in {options.targets}")
        return 0
    wanted = targets.read(options.targets)
    findings = targets.compare(cells, wanted)
    if options.junit:
        write_atomically(options.junit, as_junit(findings))
    print(as_text(findings), end="")
    for name in targets.untested(cells, wanted):
        print(f"no target: {name}")
    missed = sum(bool(finding.reason) for finding in findings)
    print(f"{len(findings) - missed} of {len(findings)} met")
    return 1 if missed else 0


def as_text(findings: Sequence["Finding"]) -> str:
    """Return one table a task, misses in bold."""
    from gptfl_reports.tables.table import Column, Entry, Table, terminal

    columns = (
        Column("method", "method", "left"),
        Column("quantity", "quantity", "left"),
        Column("measured", "measured"),
        Column("target", "target"),
        Column("margin", "margin"),
        Column("verdict", "verdict", "wide"),
    )
    by_task: dict[str, list[Finding]] = {}
    for finding in findings:
        by_task.setdefault(finding.task, []).append(finding)
    tables = [
        Table(
            task,
            columns,
            tuple(
                (
                    Entry(one.method),
                    Entry(one.quantity),
                    Entry(_number(one.measured)),
                    Entry(_number(one.low) + ("" if one.low == one.high else f" to {one.high:g}")),
                    Entry(_number(one.margin)),
                    Entry(one.reason or "ok", strong=bool(one.reason)),
                )
                for one in some
            ),
        )
        for task, some in by_task.items()
    ]
    return "\n".join(terminal(table) for table in tables)


def as_junit(findings: Sequence["Finding"]) -> bytes:
    """Return a JUnit report with a test case for each comparison."""
    missed = sum(bool(one.reason) for one in findings)
    suite = ElementTree.Element(
        "testsuite", name="gptfl-bench check", tests=str(len(findings)), failures=str(missed)
    )
    for one in findings:
        name = f"{one.method} {one.quantity}"
        case = ElementTree.SubElement(suite, "testcase", classname=one.task, name=name)
        if one.reason:
            said = f"{_number(one.measured)} is not in {one.low:g} to {one.high:g}: {one.reason}"
            ElementTree.SubElement(case, "failure", message=said)
    ElementTree.indent(suite)
    text: bytes = ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.6g}"
