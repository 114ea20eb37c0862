"""The command ``list``: what there is, with references and needs."""

import argparse

from gptfl_bench.commands.options import OK
from gptfl_bench.core.errors import unknown

LISTS = ("methods", "datasets", "models", "generators", "prompts", "partitions", "presets")


def arrange(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``list``."""
    parser.add_argument("kind", metavar="KIND", help="what to list: " + ", ".join(LISTS))
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(options: argparse.Namespace) -> int:
    """Print what there is of a kind."""
    if options.kind not in LISTS:
        raise unknown("list", options.kind, LISTS)
    from gptfl_bench.runs import catalogue
    from gptfl_reports.tables import table1
    from gptfl_reports.tables.table import terminal

    if options.json:
        print(catalogue.as_json(options.kind, table1.published()))
        return OK
    print(catalogue.as_text(options.kind))
    if options.kind == "methods":
        facts = [table1.Facts(*row) for row in catalogue.profiles()]
        print("\n" + terminal(table1.table1(facts), 130), end="")
    return OK
