"""The commands about data: ``data`` looks at them, ``generate`` makes synthetic ones."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gptfl_bench.tasks.access import Access


def arrange_access(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where data lie."""
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="folder in which data sets are looked for and into which they are downloaded "
        "(default: $GPTFL_BENCH_DATA, else the user's data folder)",
    )
    parser.add_argument("--no-download", action="store_true", help="never download a data set")
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="folder of prepared and synthetic data and pre-trained models that runs share "
        "(default: $GPTFL_BENCH_CACHE, else the user's cache folder)",
    )


def access_of(options: argparse.Namespace) -> "Access":
    """Return what those options say."""
    from gptfl_bench.tasks import access

    return access.Access(
        options.data or access.default_data(),
        options.cache or access.default_cache(),
        download=not options.no_download,
    )


def arrange_data(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``data``."""
    parser.add_argument("dataset", metavar="D", help="data set")
    add = parser.add_argument
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--verify", action="store_true", help="read all again, compare checksums")
    either.add_argument("--prepare", action="store_true", help="download what is missing, decode")
    add("--partition", action="store_true", help="draw which client holds what")
    add("--preset", default="default", metavar="P", help="quick, default, cpu or paper")
    add("--seed", type=int, default=0, metavar="S", help="seed of the partition (default: 0)")
    add("--out", type=Path, default=Path("partitions"), metavar="DIR", help="folder of drawings")
    arrange_access(parser)
    add("overrides", nargs="*", metavar="key=value", help="settings, as of run")


def data(options: argparse.Namespace) -> int:
    """Say where a data set is and whether it is whole."""
    from gptfl_bench.commands import datacheck
    from gptfl_bench.runs import config
    from gptfl_bench.tasks.task import tasks

    tasks.get(options.dataset)
    settings = config.load(options.dataset, options.preset, options.overrides).settings
    task = datacheck.load(
        options.dataset,
        settings.data,
        access_of(options),
        verify=options.verify,
        prepare=options.prepare,
    )
    print(datacheck.describe(task, verified=options.verify))
    if options.partition:
        from gptfl_bench.cells.world import share
        from gptfl_reports.figures import holdings, holdings_figure

        partition = share(task, task.train, settings, options.seed)
        held = holdings.Holdings(
            f"{task.name} · {partition.describe()}",
            task.label_names,
            tuple(
                tuple(row)
                for row in partition.counts(task.train.labels.numpy(), task.num_classes).tolist()
            ),
            partition.fingerprint,
        )
        print(f"\n{holdings.summary_text(held)}")
        stem = f"{task.name}-{partition.fingerprint[:12]}"
        for path in holdings_figure.write(held, options.out, stem):
            print(path)
    return 0


def arrange_generate(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``generate``."""
    add = parser.add_argument
    add("--dataset", default="digits", metavar="D", help="data set (default: digits)")
    add("--generator", metavar="G", help="generator (default: the preset's)")
    add("--multiplier", type=float, metavar="X", help="amount, 1 for as many as real ones")
    add("--limit", type=int, metavar="N", help="most samples to make now")
    add("--seconds", type=float, metavar="S", help="most seconds to work now")
    add("--money", type=float, metavar="M", help="most money to spend now; needs a price")
    add("--plan", action="store_true", help="say what would be made at what cost, and stop")
    add("--rank", default="0/1", metavar="R/N", help="part R, from 0, of the work of N processes")
    add("--preset", default="default", metavar="P", help="quick, default, cpu or paper")
    add("--out", type=Path, metavar="DIR", help="folder (default: synthetic/D-G)")
    arrange_access(parser)
    add("overrides", nargs="*", metavar="key=value", help="settings, as of run")


def generate(options: argparse.Namespace) -> int:
    """Make a synthetic data set as a folder."""
    from gptfl_bench.runs import experiment
    from gptfl_bench.runs.bars import for_terminal
    from gptfl_bench.synthesis import folder as maker
    from gptfl_bench.synthesis import job as generate_job
    from gptfl_bench.synthesis.costs import in_words, less

    chosen = {"generator": options.generator, "multiplier": options.multiplier}
    overrides = [f"synthetic.{key}={value}" for key, value in chosen.items() if value is not None]
    budget = maker.Budget.parse(options.limit, options.seconds, options.rank, options.money)
    (spec,) = experiment.plan(
        ["gptfl"],
        options.dataset,
        options.preset,
        [0],
        [*overrides, *options.overrides],
        access=access_of(options),
    ).cells
    name = spec.settings.synthetic.generator
    out = options.out or Path("synthetic") / f"{options.dataset}-{name}"
    job = generate_job.for_task(spec, out, budget)
    print(job.estimate(), flush=True)
    if options.plan:
        return 0
    with for_terminal() as shown:
        shown.cell(1, 1, f"{name} for {options.dataset}")
        before = job.spent
        try:
            made = job.make(lambda *n: shown.stage("samples", *n))
        finally:
            if before is not None:
                print(f"money spent: {in_words(less(job.spent or 0.0, before))}")
    rate = f", {made.made / made.seconds:.1f} a second" if made.seconds > 0 else ""
    print(f"{made.made:,} samples made in {made.seconds:.0f} s{rate}")
    if made.stopped:
        print(f"stopped early: {made.stopped}")
    print(f"{made.there:,} of {made.wanted:,} are in {out}")
    print(f"Train on them: synthetic.generator=folder generators.folder.path={out}")
    return 0
