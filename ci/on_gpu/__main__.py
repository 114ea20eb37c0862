"""Measures on a GPU what this project wants to know of one, in the minutes that it is given.

usage: ci/gpu [--device cuda] [--minutes 9] [--out DIR] [--steps NAME,..]
       ci/gpu --pack [--packs DIR] [--python 3.12]
"""

import argparse
import os
import sys
import traceback
from pathlib import Path

from on_gpu import place, plan

NOTE = "<!-- Made by ci/gpu. -->"


def main() -> int:
    """Prepare what is to travel, or measure; returns the exit code."""
    options = _options()
    if options.pack:
        from on_gpu.packing import prepare

        print(f"ci/gpu: {prepare(options.packs, options.python)}")
        return 0
    if "ON_GPU_FURNISHED" not in os.environ:
        return _begin_again(options.work / "site")
    if absent := place.lacking():
        return _wrong(f"{', '.join(absent)} must be installed, or brought by ci/gpu --pack.")
    return _measure(options)


def _options() -> argparse.Namespace:
    known = [step.name for step in plan.STEPS]
    results = place.ROOT / "gpu-results"
    parser = argparse.ArgumentParser("ci/gpu", description="Measure on a GPU.")
    add = parser.add_argument
    add("--device", default="cuda", help="cuda, cuda:1 or, for a trial in little, cpu")
    add("--minutes", type=float, help="whole time (default: 9; 2 on the CPU)")
    add("--out", type=Path, default=Path(os.environ.get("OUT") or results), metavar="DIR",
        help="folder of the results (default: $OUT, else gpu-results)")  # fmt: skip
    add("--work", type=Path, default=results / "scratch", metavar="DIR",
        help="folder of the runs, kept for the next call (gpu-results/scratch)")  # fmt: skip
    add("--steps", default=",".join(known), metavar="NAME,..", help="default: %(default)s")
    add("--pack", action="store_true", help="prepare gpu/ for a machine without a network")
    packs = Path(os.environ.get("GPTFL_BENCH_PACKS") or place.ROOT.parent / "shared" / "data")
    add("--packs", type=Path, default=packs, metavar="DIR", help="test packs (%(default)s)")
    add("--python", default="3.12", metavar="X.Y", help="Python there (default: %(default)s)")
    options = parser.parse_args()
    options.steps = [name for name in options.steps.split(",") if name]
    if unknown := sorted(set(options.steps) - set(known)):
        parser.error(f"there is no step {unknown[0]!r}; choose from {', '.join(known)}.")
    if options.minutes is not None and options.minutes <= plan.RESERVE / 60:
        parser.error(f"--minutes {options.minutes:g} must be more than {plan.RESERVE / 60:.2g}.")
    options.out, options.work = options.out.resolve(), options.work.resolve()
    return options


def _begin_again(site: Path) -> int:
    """Start anew with what was brought on the path, since nothing may be loaded before it."""
    if brought := place.furnish(site):
        print(f"ci/gpu: brought {', '.join(brought)}", flush=True)
    os.environ |= {"PYTHONPATH": place.python_path(site), "ON_GPU_FURNISHED": "1"}
    os.execv(sys.executable, [sys.executable, "-m", "on_gpu", *sys.argv[1:]])


def _measure(options: argparse.Namespace) -> int:
    from gptfl_bench.core.device import pick_device
    from gptfl_bench.core.errors import UsageError
    from on_gpu import steps

    try:
        on_cpu = pick_device(options.device).type == "cpu"
    except UsageError as error:
        return _wrong(str(error))
    size = plan.SMALL if on_cpu else plan.FULL
    budget = plan.Budget(options.minutes or size.minutes)
    for folder in (options.out, options.work):
        folder.mkdir(parents=True, exist_ok=True)
    site = steps.Site(options.device, size, budget, options.work, options.out)
    page, well = [NOTE, "# Measured by ci/gpu", place.words(options.device) + "."], True
    for step in (step for step in plan.STEPS if step.name in options.steps):
        title, measure = steps.STEPS[step.name]
        print(f"ci/gpu: {title} ...", flush=True)
        began = budget.now()
        if not budget.begin(step):
            text, fine = "Left out: the time was up.", True
        else:
            try:
                text, fine = measure(site)
            except Exception as error:
                # What the other steps find is worth having.
                traceback.print_exc()
                text, fine = f"Failed: {type(error).__name__}: {error}", False
        well = well and fine
        page += [f"## {title}", text, f"Took {budget.now() - began:.0f} s."]
        (options.out / "gpu.md").write_text("\n\n".join(page) + "\n", encoding="utf-8")
    print("\n\n".join(page))
    return 0 if well else 1


def _wrong(sentence: str) -> int:
    print(f"ci/gpu: {sentence}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
