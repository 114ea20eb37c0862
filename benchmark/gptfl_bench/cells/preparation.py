"""Round 0 of a cell: what a method prepares, and a look at the synthetic data it made."""

import time
from pathlib import Path

from gptfl_bench.cells.assemble import build_subject
from gptfl_bench.cells.refusals import refuse_unmet
from gptfl_bench.cells.spec import CellSpec
from gptfl_bench.cells.world import World
from gptfl_bench.core.groups import Groups
from gptfl_bench.core.progress import Progress
from gptfl_bench.core.randomness import isolated_torch_rng
from gptfl_bench.engine.server import Server
from gptfl_bench.quality.describe import write_quality
from gptfl_bench.synthesis.synthesis import Synthesis
from gptfl_reports.records.events import PhaseFinished
from gptfl_reports.records.schema import QUALITY_PHASE


def prepare(
    spec: CellSpec, world: World, server: Server, run_folder: Path, progress: Progress
) -> Groups:
    """Return a method's state before round 1.

    Raises:
        Refusal: If the method can't run on the task.
    """
    started = time.perf_counter()
    refuse_unmet(spec, world)
    with isolated_torch_rng(spec.seed, "prepare"):
        if spec.uses_public:
            server.public()
        state = spec.method.prepare(server)
    for traffic in server.federation.channel.settle():
        server.log(traffic)
    server.log(PhaseFinished("prepare", time.perf_counter() - started))
    _look_at_synthetic(spec, world, server, run_folder, progress)
    return state


def _look_at_synthetic(
    spec: CellSpec, world: World, server: Server, run_folder: Path, progress: Progress
) -> None:
    """Describe the synthetic data of a cell, if it has any, in its run folder."""
    synthesis = server.resource(Synthesis)
    made, synthesis.made = synthesis.made, None
    if made is None or not spec.settings.quality.samples:
        return
    started = time.perf_counter()
    progress.stage("quality of synthetic data", 0, 1)
    subject = build_subject(spec, world, made)
    write_quality(subject, spec.settings.quality, synthesis.artifacts, run_folder)
    progress.stage("quality of synthetic data", 1, 1)
    server.log(PhaseFinished(QUALITY_PHASE, time.perf_counter() - started))
