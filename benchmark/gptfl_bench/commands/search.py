"""The command ``search``: rates for all methods by equal budgets."""

import argparse
from pathlib import Path

from gptfl_bench.commands.options import (
    OK,
    access_of,
    arrange_access,
    arrange_launcher,
    command_line,
    expanded,
    launcher_of,
)


def arrange(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``search``."""
    add = parser.add_argument
    add("--dataset", default="digits", metavar="D", help="data set with a search file")
    add("--preset", default="default", metavar="P", help="settings that are not searched")
    add(
        "--out", type=expanded, default=Path("searches"), metavar="DIR", help="folder of the trials"
    )
    arrange_launcher(parser)
    arrange_access(parser)
    add("overrides", nargs="*", metavar="key=value", help="settings of all trials")


def run(options: argparse.Namespace) -> int:
    """Search rates by equal budgets on held-out data, and print the best as a preset."""
    from gptfl_bench.runs import experiment, search
    from gptfl_bench.runs.bars import for_terminal

    launcher = launcher_of(options)
    grid = search.read_grid(options.dataset)
    context = experiment.context(options.out, command_line(), cache=options.cache)
    with for_terminal() as shown:
        trials = search.search(
            grid,
            options.preset,
            options.overrides,
            context,
            shown,
            launcher,
            access_of(options),
        )
    table = options.out / f"{options.dataset}.csv"
    table.write_text(search.as_csv(trials, grid.seeds), encoding="utf-8")
    print(f"# {grid.trials} trials an arm, seeds {grid.seeds}; all scores in {table}")
    print(search.as_preset(trials), end="")
    return OK
