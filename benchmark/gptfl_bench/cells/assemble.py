"""From a cell's world to a server with its federation, and to synthetic data beside real ones."""

import os
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch

from gptfl_bench.cells.checkpoint import CLIENTS
from gptfl_bench.cells.spec import CellSpec
from gptfl_bench.cells.world import World, build_networks, build_world
from gptfl_bench.core.cache import Artifacts
from gptfl_bench.core.progress import Progress
from gptfl_bench.data.public import unlabelled
from gptfl_bench.data.samples import Samples
from gptfl_bench.engine.channel import Channel
from gptfl_bench.engine.client_store import ClientStore
from gptfl_bench.engine.federation import Apart, Federation
from gptfl_bench.engine.method import Need
from gptfl_bench.engine.server import Server
from gptfl_bench.quality.judging import Subject
from gptfl_bench.secure.exchange import SecureExchange
from gptfl_bench.synthesis.source import SyntheticSet, SyntheticSource
from gptfl_bench.synthesis.synthesis import Synthesis
from gptfl_bench.training.central import Watch
from gptfl_bench.workers import ranks
from gptfl_reports.records.events import Event


def build_server(
    spec: CellSpec,
    world: World,
    folder: Path,
    artifacts: Artifacts,
    log: Callable[[Event], None],
    progress: Progress,
    resumed: bool = False,
    at_once: int = 1,
    apart: Apart | None = None,
) -> Server:
    """Return the server of a cell whose clients keep their state under ``folder``.

    Args:
        spec: The cell.
        world: What it works with.
        folder: The cell's folder.
        artifacts: Shared results.
        log: Takes an event.
        progress: Shown to a person.
        resumed: Whether round 0 is over, so that what it brought is neither counted nor logged
            when it is brought again.
        at_once: Cells that run on this machine at the same time, which share its cores.
        apart: Other processes that hold the clients; None where the cell's settings say it.
    """
    settings = spec.settings
    federation = replace(
        build_federation(spec, world, folder),
        keep_replies=Need.REPLIES in spec.method.needs,
        on_client=lambda done, due: progress.stage("clients", done, due),
        sealing=SecureExchange(settings.secure, spec.method.weightings(), spec.seed)
        if settings.secure_aggregation
        else None,
        apart=apart or _workers(spec, world, at_once),
    )
    source = SyntheticSource(
        settings.synthetic,
        world.task,
        len(world.train),
        artifacts,
        spec.generator,
        spec.prompt_writer,
        progress=lambda done, due: progress.stage("synthetic samples", done, due),
    )
    watched = settings.evaluation.pretraining
    synthesis = Synthesis(
        spec.seed,
        federation,
        world.networks,
        spec.start_key,
        settings.labels,
        source,
        artifacts,
        log,
        watch=Watch(world.evaluation, watched) if watched != 0 else None,
        on_epoch=lambda done, due: progress.stage("pre-training epochs", done, due),
        held_out=world.public,
    )

    @cache
    def public() -> Samples:
        held_out = world.public
        if held_out is None:
            made_by = synthesis.uncounted() if resumed else synthesis
            held_out = made_by.samples(made_by.labels())
        return unlabelled(held_out, settings.public, world.train.transform)

    return Server(
        spec.seed,
        world.task.num_classes,
        federation,
        world.networks,
        public,
        log,
        start=world.networks.start,
        resources={Synthesis: synthesis},
    )


def build_federation(spec: CellSpec, world: World, folder: Path) -> Federation:
    """Return the clients of a cell, who keep their state under ``folder``."""
    return Federation(
        [
            world.train.select(torch.tensor(indices, dtype=torch.int64))
            for indices in world.partition.clients
        ],
        world.task.label_names,
        Channel.as_asked(),
        ClientStore(folder / CLIENTS),
        world.networks,
        spec.seed,
        spec.settings.buffers,
    )


def federation_here(spec: object) -> Federation:
    """Return a cell's clients for a process that only serves some of them, and writes nothing.

    Args:
        spec: The cell, as it was sent by the process that runs it.
    """
    assert isinstance(spec, CellSpec)
    settings = replace(spec.settings, device=ranks.device_here(spec.settings.device))
    spec = replace(spec, settings=settings)
    torch.set_num_threads(settings.threads)
    return build_federation(spec, build_world(spec), Path())


def _workers(spec: CellSpec, world: World, at_once: int) -> Apart | None:
    """Return the processes that clients work in; None where this one is all."""
    settings = spec.settings
    if ranks.count() > 1:
        return ranks.Ranks(spec, spec.access.announce)
    asked = settings.workers
    if asked == "auto":
        on_cpu = world.device.type == "cpu"
        asked = (os.cpu_count() or 1) // (settings.threads * at_once) if on_cpu else 1
    count = min(int(asked), settings.cohort_of(len(world.partition.clients)))
    if count < 2:
        return None
    if world.device.type != "cpu":
        spec.access.announce(f"clients work one after another on {world.device}; workers=1 is all.")
        return None
    # Most cells need no other process.
    from gptfl_bench.workers.pool import Workers

    return Workers(count, settings.threads, spec.access.announce)


def build_subject(spec: CellSpec, world: World, made: SyntheticSet) -> Subject:
    """Return a cell's synthetic data beside all real ones, whatever part its clients hold."""
    real = replace(world.task.train, x=world.train.x, y=world.train.y)
    return Subject(
        made,
        replace(world.task, train=real),
        spec.model_name,
        spec.model_key,
        lambda: build_networks(spec, world.task, 0, world.device),
    )
