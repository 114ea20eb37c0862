"""The command ``report``: tables, curves and a page from the records alone."""

import argparse

from gptfl_bench.commands.options import FAILED, OK, expanded, warn
from gptfl_bench.core.errors import UsageError


def arrange(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``report``."""
    parser.add_argument("folder", type=expanded, metavar="DIR", help="run folder")
    parser.add_argument(
        "--out", type=expanded, metavar="DIR2", help="where to (default: DIR/report)"
    )
    parser.add_argument(
        "--baseline", default="fedavg", metavar="M", help="compare with this (default: fedavg)"
    )


def run(options: argparse.Namespace) -> int:
    """Write the report and print its files."""
    from gptfl_reports.report import write_report

    out = options.out or options.folder / "report"
    damaged: list[UsageError] = []
    for path in write_report(options.folder, out, options.baseline, damaged.append):
        print(path)
    for error in damaged:
        warn(error)
    return FAILED if damaged else OK
