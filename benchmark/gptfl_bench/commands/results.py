"""The command ``results``: one row a cell, also while a run is going."""

import argparse
import json
import sys
import time
from pathlib import Path

from gptfl_bench.commands.options import FAILED, OK, expanded, warn
from gptfl_bench.core.errors import UsageError, unknown

FORMATS = ("table", "json", "csv", "model-index")
_EVERY = 2.0
"""Seconds between two looks at a run folder."""


def arrange(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``results``."""
    parser.add_argument("folder", type=expanded, metavar="DIR", help="run folder")
    parser.add_argument("--format", default="table", help=", ".join(FORMATS))
    parser.add_argument("--watch", action="store_true", help="renew the table until all have ended")


def run(options: argparse.Namespace) -> int:
    """Print the cells of a run folder."""
    from gptfl_reports.exports.model_card import model_card
    from gptfl_reports.records.cells import read_cells
    from gptfl_reports.tables.rows import rows_csv, rows_table, show

    if options.format not in FORMATS:
        raise unknown("format", options.format, FORMATS)
    if options.watch and options.format != "table":
        raise UsageError(f"--watch renews the table, not {options.format}; leave one of them out.")
    if options.watch:
        _watch(options.folder)
        return 0
    damaged: list[UsageError] = []
    cells = read_cells(options.folder, damaged.append)
    rows = [cell.row() for cell in cells]
    if options.format == "json":
        print(json.dumps(rows, indent=1))
    elif options.format == "model-index":
        print(model_card(cells), end="")
    elif options.format == "csv":
        print(rows_csv(rows), end="")
    elif sys.stdout.isatty():
        show(cells)
    else:
        print(rows_table(cells), end="")
    for error in damaged:
        warn(error)
    return FAILED if damaged else OK


def _watch(folder: Path) -> None:
    """Show the table anew every few seconds, until no cell is running."""
    from rich.live import Live

    from gptfl_reports.records.cells import read_cells
    from gptfl_reports.tables.rows import colourful

    with Live(refresh_per_second=1 / _EVERY) as live:
        while True:
            cells = read_cells(folder, lambda _: None)
            live.update(colourful(cells), refresh=True)
            if all(cell.ending.status != "running" for cell in cells):
                return
            time.sleep(_EVERY)
