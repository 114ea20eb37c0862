"""The command ``generate``: a synthetic data set as a folder."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gptfl_bench.commands.options import OK, PRESETS_HELP, access_of, arrange_access, expanded
from gptfl_bench.core.errors import UsageError

if TYPE_CHECKING:
    from gptfl_bench.cells.spec import CellSpec
    from gptfl_bench.synthesis.folder import Budget
    from gptfl_bench.synthesis.job import Job


def arrange(parser: argparse.ArgumentParser) -> None:
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
    add("--preset", default="auto", metavar="P", help=PRESETS_HELP)
    add("--out", type=expanded, metavar="DIR", help="folder (default: synthetic/D-G)")
    arrange_access(parser)
    add("overrides", nargs="*", metavar="key=value", help="settings, as of run")


def run(options: argparse.Namespace) -> int:
    """Make a synthetic data set as a folder."""
    from gptfl_bench.runs import experiment
    from gptfl_bench.runs.bars import for_terminal
    from gptfl_bench.synthesis.costs import in_words, less
    from gptfl_bench.synthesis.folder import Budget

    chosen = {"generator": options.generator, "multiplier": options.multiplier}
    overrides = [f"synthetic.{key}={value}" for key, value in chosen.items() if value is not None]
    budget = Budget.parse(options.limit, options.seconds, options.rank, options.money)
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
    job = _job(spec, out, budget)
    print(job.estimate(), flush=True)
    if options.plan:
        return OK
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
    return OK


def _job(spec: "CellSpec", folder: Path, budget: "Budget") -> "Job":
    """Return the job of making the synthetic data set of a cell's task.

    Raises:
        UsageError: If data, generator or folder can't be used, or money is bounded and not known.
    """
    from gptfl_bench.core.cache import Artifacts
    from gptfl_bench.core.errors import Refusal
    from gptfl_bench.data.access import check_folder
    from gptfl_bench.synthesis.folder import check_origin
    from gptfl_bench.synthesis.job import Job
    from gptfl_bench.synthesis.source import SyntheticSource

    check_folder(folder)
    generator, writer = spec.generator(), spec.prompt_writer()
    settings = spec.settings.synthetic
    if budget.money is not None:
        _check_prices(
            {f"generators.{settings.generator}": generator, f"prompts.{settings.prompts}": writer}
        )
    task = spec.load_task()
    source = SyntheticSource(
        settings,
        task,
        len(task.train),
        Artifacts(spec.access.cache),
        lambda: generator,
        lambda: writer,
    )
    try:
        source.fitting_generator()
    except Refusal as refusal:
        raise UsageError(str(refusal)) from refusal
    origin = {
        "modality": task.modality,
        "generator": settings.generator,
        "generator_fingerprint": generator.fingerprint,
        "prompt_writer": settings.prompts,
        "prompt_writer_fingerprint": writer.fingerprint,
    }
    check_origin(folder, origin)
    return Job(folder, source, generator, writer, origin, budget)


def _check_prices(parts: Mapping[str, object]) -> None:
    """Refuse to bound money where a price is missing, or nothing costs any.

    Args:
        parts: Generator and prompt writer by where they are set.

    Raises:
        UsageError: Naming what has no price.
    """
    from gptfl_bench.synthesis.costs import Priced

    priced = {setting: part for setting, part in parts.items() if isinstance(part, Priced)}
    for setting, part in priced.items():
        if part.price is None:
            raise UsageError(
                f"--money needs the price of a request to {setting.rpartition('.')[2]!r}; set "
                f"{setting}.price, or leave --money out."
            )
    if not priced:
        names = " and ".join(repr(setting.rpartition(".")[2]) for setting in parts)
        raise UsageError(
            f"--money bounds what costs money, and {names} have no price; leave it out."
        )
