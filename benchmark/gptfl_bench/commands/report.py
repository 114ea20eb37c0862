"""The command ``report``: tables, curves and a page from the records alone."""

import argparse
from pathlib import Path

from gptfl_bench.commands.options import FAILED, OK, expanded, warn
from gptfl_bench.core.errors import UsageError


def arrange(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``report``."""
    parser.add_argument(
        "folders",
        nargs="+",
        type=expanded,
        metavar="DIR",
        help="run folder; several make one report, and two are compared with one another",
    )
    parser.add_argument(
        "--out",
        type=expanded,
        metavar="DIR2",
        help="where to (default: DIR/report; of several folders ./report)",
    )
    parser.add_argument(
        "--target",
        type=_share,
        metavar="T",
        help="value in (0, 1] that counts as reached (default: the cells' own)",
    )
    parser.add_argument(
        "--baseline", default="fedavg", metavar="M", help="compare with this (default: fedavg)"
    )


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number such as 0.5") from error


def run(options: argparse.Namespace) -> int:
    """Write the report and print its files."""
    from gptfl_reports.report import Report

    folders = list(dict.fromkeys(options.folders))
    out = options.out or (folders[0] if len(folders) == 1 else Path()) / "report"
    damaged: list[UsageError] = []
    report = Report.of_folders(folders, options.baseline, options.target, damaged.append)
    for path in report.write(out):
        print(path)
    for error in damaged:
        warn(error)
    return FAILED if damaged else OK
