"""From a cell's spec to a server with its federation, ready for round 0."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from gptfl_bench.cells.settings import Settings
from gptfl_bench.cells.spec import CellSpec
from gptfl_bench.core.cache import Artifacts
from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.progress import Progress
from gptfl_bench.core.randomness import torch_rng
from gptfl_bench.engine.channel import Channel
from gptfl_bench.engine.client_store import ClientStore
from gptfl_bench.engine.federation import Federation
from gptfl_bench.engine.method import Need
from gptfl_bench.engine.networks import Networks
from gptfl_bench.engine.server import Server
from gptfl_bench.models.network import models
from gptfl_bench.quality.judging import Subject
from gptfl_bench.secure.exchange import Secrecy
from gptfl_bench.synthesis.source import SyntheticSet, SyntheticSource
from gptfl_bench.tasks.public import public_data
from gptfl_bench.tasks.task import Partition, Samples, Task, partitions
from gptfl_bench.training.central import Watch
from gptfl_reports.records.events import Event


@dataclass(frozen=True)
class World:
    """Everything a cell works with.

    Attributes:
        task: The task.
        train: Training samples shared among clients.
        evaluation: Samples the global model is tested on.
        public: Real samples kept from all clients; None if public data are synthetic.
        partition: Who holds what.
        networks: Networks of the task's architecture.
        device: Where networks and samples live.
    """

    task: Task
    train: Samples
    evaluation: Samples
    public: Samples | None
    partition: Partition
    networks: Networks
    device: torch.device


def build_world(spec: CellSpec) -> World:
    """Load the data, share them among clients and make the network.

    Raises:
        UsageError: If a name, a value or a file does not fit.
    """
    settings = spec.settings
    task = spec.load_task()
    device = pick_device(settings.device)
    train, evaluation = task.train, task.test
    if settings.evaluation.on == "validation":
        held_out = settings.evaluation.validation_share
        evaluation, train = _hold_out(train, held_out, spec.seed, "validation")
    public = None
    if settings.public.source == "held_out":
        public, train = _hold_out(train, settings.public.share, spec.seed, "public")
    partition = share(task, train, settings, spec.seed)
    if settings.cohort_size > len(partition.clients):
        raise UsageError(
            f"cohort_size={settings.cohort_size} is more than the {len(partition.clients)} clients "
            "of the partition; set it lower."
        )
    networks = _networks(spec, task, spec.seed, device, spec.method.network)
    return World(
        task,
        train.to(device),
        evaluation.to(device),
        public.to(device) if public else None,
        partition,
        networks,
        device,
    )


def _networks(
    spec: CellSpec,
    task: Task,
    seed: int,
    device: torch.device,
    adapt: Callable[[nn.Module], nn.Module] = lambda template: template,
) -> Networks:
    """Return the networks a cell names, as ``adapt`` makes them, with the start of ``seed``."""
    settings = spec.settings
    try:
        return Networks.build(
            spec.network if spec.network is not None else models.get(settings.model),
            task.input_shape,
            task.num_classes,
            settings.model_args,
            seed,
            device,
            adapt,
        )
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"model={settings.model!r} with model_args={settings.model_args} can't be made for "
            f"samples of shape {task.input_shape}: {error}."
        ) from error


def build_subject(spec: CellSpec, world: World, made: SyntheticSet) -> Subject:
    """Return a cell's synthetic data beside all real ones, whatever part its clients hold."""
    real = replace(world.task.train, x=world.train.x, y=world.train.y)
    return Subject(
        made,
        replace(world.task, train=real),
        spec.settings.model if spec.network is None else type(spec.network).__name__,
        spec.model_key,
        lambda: _networks(spec, world.task, 0, world.device),
    )


def share(task: Task, train: Samples, settings: Settings, seed: int) -> Partition:
    """Return which client holds which of ``train``, the training samples of ``task`` that are left.

    Raises:
        UsageError: If the data can't be shared as the settings ask.
    """
    recipe = settings.partition
    groups = None
    if task.groups is not None:
        rows = range(len(train)) if train.indices is None else train.indices.tolist()
        groups = [task.groups[row] for row in rows]
    return partitions.get(recipe.recipe)(
        train.labels.numpy().astype(np.int64),
        groups,
        num_clients=settings.num_clients,
        seed=seed if recipe.seed is None else recipe.seed,
        alpha=recipe.alpha,
        min_size=recipe.min_size,
    )


def _hold_out(train: Samples, share: float, seed: int, purpose: str) -> tuple[Samples, Samples]:
    """Return a part of the training samples and the rest."""
    held_out = round(share * len(train))
    if not 0 < held_out < len(train):
        raise UsageError(
            f"a {purpose} share of {share} leaves one part of {len(train)} samples empty; choose "
            f"between {1 / len(train):.2g} and {1 - 1 / len(train):.2g}."
        )
    order = torch.randperm(len(train), generator=torch_rng(seed, purpose))
    return train.select(order[:held_out]), train.select(order[held_out:])


def build_server(
    spec: CellSpec,
    world: World,
    folder: Path,
    artifacts: Artifacts,
    log: Callable[[Event], None],
    progress: Progress,
) -> Server:
    """Return the server of a cell whose clients keep their state under ``folder``."""
    federation = Federation(
        [world.train.select(torch.tensor(indices)) for indices in world.partition.clients],
        world.task.label_names,
        Channel(),
        ClientStore(folder / "state" / "clients"),
        world.networks,
        spec.seed,
        spec.settings.buffers,
        keep_replies=Need.REPLIES in spec.method.requires(),
        on_client=lambda done, due: progress.stage("clients", done, due),
        secrecy=Secrecy(spec.settings.secure, spec.method.weightings(), spec.seed)
        if spec.settings.secure_aggregation
        else None,
    )
    source = SyntheticSource(
        spec.settings.synthetic,
        world.task,
        len(world.train),
        artifacts,
        spec.generator,
        spec.prompt_writer,
        progress=lambda done, due: progress.stage("synthetic samples", done, due),
    )
    watched = spec.settings.evaluation.pretraining
    return Server(
        spec.seed,
        world.task.num_classes,
        federation,
        world.networks,
        spec.model_key,
        source,
        spec.settings.labels,
        lambda server: public_data(
            server, spec.settings.public, world.public, world.train.transform
        ),
        artifacts,
        log,
        start=world.networks.start,
        on_epoch=lambda done, due: progress.stage("pre-training epochs", done, due),
        watch=Watch(world.evaluation, watched) if watched != 0 else None,
    )


def pick_device(name: str) -> torch.device:
    """Return the device called ``name``; ``auto`` takes a GPU if there is one.

    Raises:
        UsageError: If there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"device={name!r} is not there; choose auto, cpu or a device gptfl-bench doctor lists."
        ) from error
    return device
