"""The command ``search``: rates for all methods by equal budgets."""

import argparse
import sys
from pathlib import Path

from gptfl_bench.commands.options import (
    FAILED,
    OK,
    access_of,
    arrange_access,
    arrange_launcher,
    command_line,
    expanded,
    launcher_of,
    launching_of,
    processes_of,
)


def arrange(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``search``."""
    add = parser.add_argument
    add("--dataset", default="digits", metavar="D", help="data set with a search file")
    add("--methods", metavar="M,..", help="arms of the search file to run; all if left out")
    add("--preset", default="default", metavar="P", help="settings that are not searched")
    add(
        "--out", type=expanded, default=Path("searches"), metavar="DIR", help="folder of the trials"
    )
    arrange_launcher(parser)
    arrange_access(parser)
    add("overrides", nargs="*", metavar="key=value", help="settings of all trials")


def run(options: argparse.Namespace) -> int:
    """Search rates by equal budgets on held-out data, and print the best as a preset."""
    from gptfl_bench.runs import config, experiment, search
    from gptfl_bench.runs.bars import for_terminal

    launcher, processes = launcher_of(options), processes_of(options)
    launching, overrides = launching_of(options, options.overrides)
    regime = config.load(options.dataset, options.preset, overrides).settings.regime
    grid = search.read_grid(options.dataset, regime)
    if options.methods:
        grid = grid.only(options.methods.split(","))
    context = experiment.context(
        options.out,
        command_line(),
        cache=options.cache,
        processes=processes,
        launching=launching,
    )
    with for_terminal() as shown:
        trials = search.search(
            grid,
            options.preset,
            overrides,
            context,
            shown,
            launcher,
            access_of(options),
        )
    table = options.out / f"{grid.name}.csv"
    table.write_text(search.as_csv(trials, grid.seeds), encoding="utf-8")
    more = ", and one more for each setting whose best was at an edge" if grid.extend else ""
    print(f"# {grid.trials} trials an arm{more}, seeds {grid.seeds}; all scores in {table}")
    for trial in search.best(trials).values():
        if keys := search.at_edge(trial, trials):
            print(f"# {trial.arm}: the best is at an edge of what was tried in {', '.join(keys)}")
    print(search.as_preset(trials), end="")
    troubles = search.troubles(trials)
    for arm, ended in troubles.items():
        words = f"{arm} has trials without a score, the first of them {ended.status}"
        print(f"gptfl-bench: {words}: {ended.reason}", file=sys.stderr, flush=True)
    return FAILED if any(ended.status == "failed" for ended in troubles.values()) else OK
