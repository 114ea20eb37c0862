"""What a cell works with: its task, who holds which samples, and its networks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import nn

from gptfl_bench.architectures.network import models
from gptfl_bench.cells.settings import PartitionSettings, Settings
from gptfl_bench.cells.spec import CellSpec
from gptfl_bench.core.device import pick_device
from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.randomness import torch_rng
from gptfl_bench.data.class_names import check_class_names
from gptfl_bench.data.handed import FEW
from gptfl_bench.data.partition import Partition, partitions
from gptfl_bench.data.samples import Samples
from gptfl_bench.data.task import Task
from gptfl_bench.engine.handed import make
from gptfl_bench.engine.method import Method
from gptfl_bench.engine.networks import Networks
from gptfl_bench.engine.trial import try_network, try_single
from gptfl_bench.training.fit import Plan
from gptfl_bench.training.precision import check_precision


@dataclass(frozen=True)
class Division:
    """A task's samples by what they are for, and who holds those to train on.

    Attributes:
        task: The task.
        train: Training samples shared among clients.
        evaluation: Samples the global model is tested on.
        public: Real samples kept from all clients; None if public data are synthetic.
        partition: Who holds what.
    """

    task: Task
    train: Samples
    evaluation: Samples
    public: Samples | None
    partition: Partition


@dataclass(frozen=True)
class World(Division):
    """Everything a cell works with.

    Attributes:
        networks: Networks of the task's architecture.
        device: Where networks and samples live.
    """

    networks: Networks
    device: torch.device


def check_worlds(cells: Sequence[CellSpec]) -> None:
    """Refuse data, partitions or networks that don't fit, before any cell of a run writes.

    Raises:
        UsageError: If a name, a value or a file does not fit, or what is needed can't be brought.
    """
    by_task: dict[str, list[CellSpec]] = {}
    for spec in cells:
        by_task.setdefault(repr((spec.dataset_name, spec.settings)), []).append(spec)
    for members in by_task.values():
        _check_task(members)


def _check_task(cells: Sequence[CellSpec]) -> None:
    by_seed = {spec.seed: spec for spec in reversed(cells)}
    data = {spec.seed: data_of(spec) for spec in by_seed.values()}
    if users := [spec for spec in cells if spec.uses_generator]:
        users[0].bring_generator()
    first = cells[0]
    task, device = data[first.seed].task, pick_device(first.settings.device)
    check_precision(first.settings.precision, device)
    check_class_names(task.label_names, f"the task {task.name!r}")
    networks = build_networks(first, task, first.seed, device)
    if "model" in first.code or not isinstance(first.dataset, str):
        few = torch.arange(min(FEW, len(task.train)))
        x = task.train.batch(few)[0].to(device)
        try_network(networks, x, task.num_classes, first.model_name)
        for spec in cells:
            single = _single(spec.method, data[spec.seed].partition)
            if single:
                try_single(networks, x[:1], spec.model_name, f"{spec.name}: {single}")
                break


def _single(method: Method, partition: Partition) -> str:
    """Say which client's training comes to a batch of one sample; empty if none does."""
    inner, plan = getattr(method, "inner", None), getattr(method, "plan", None)
    if isinstance(inner, Method):
        return _single(inner, partition)
    if not isinstance(plan, Plan):
        return ""
    for client, size in enumerate(partition.sizes):
        reached = plan.total_steps(size) >= plan.batches(size) > 0
        if reached and size % plan.batch_size == 1 % plan.batch_size:
            return (
                f"with plan.batch_size={plan.batch_size} the last batch of client {client}, who "
                f"holds {size}, has one"
            )
    return ""


def build_world(spec: CellSpec) -> World:
    """Load the data, share them among clients and make the network.

    Raises:
        UsageError: If a name, a value or a file does not fit.
    """
    device, data = pick_device(spec.settings.device), data_of(spec)
    networks = build_networks(spec, data.task, spec.seed, device, spec.method.network)
    return World(
        data.task,
        data.train.to(device),
        data.evaluation.to(device),
        data.public.to(device) if data.public else None,
        data.partition,
        networks,
        device,
    )


def data_of(spec: CellSpec) -> Division:
    """Return a cell's samples, and which client holds which.

    Raises:
        UsageError: If a name, a value or a file does not fit.
    """
    return divide(spec.load_task(), spec.settings, spec.seed)


def divide(task: Task, settings: Settings, seed: int) -> Division:
    """Keep samples for evaluation and the public set, and share the rest among clients.

    Raises:
        UsageError: If the data can't be shared as the settings ask.
    """
    train, evaluation = task.train, task.test
    if settings.evaluation.on == "validation":
        held_out = settings.evaluation.validation_share
        evaluation, train = _hold_out(train, held_out, seed, "validation")
    public = None
    if settings.public.withheld:
        kept, train = _hold_out(train, settings.public.share, seed, "public")
        public = kept if settings.public.source == "held_out" else None
    partition = _share(task, train, settings, seed)
    if settings.cohort_of(len(partition.clients)) > len(partition.clients):
        raise UsageError(
            f"cohort_size={settings.cohort_size} is more than the {len(partition.clients)} clients "
            "of the partition; set it lower."
        )
    return Division(task, train, evaluation, public, partition)


def build_networks(
    spec: CellSpec,
    task: Task,
    seed: int,
    device: torch.device,
    adapt: Callable[[nn.Module], nn.Module] = lambda template: template,
) -> Networks:
    """Return the networks a cell names, as ``adapt`` makes them, with the start of ``seed``."""
    settings, handed = spec.settings, spec.network
    factory = handed if handed is not None else models.get(settings.model)
    if handed is not None and not isinstance(handed, nn.Module):
        factory = lambda shape, classes, **given: make(handed, shape, classes, given)  # noqa: E731
    try:
        return Networks.build(
            factory,
            task.input_shape,
            task.num_classes,
            settings.model_args,
            seed,
            device,
            adapt,
            settings.precision,
        )
    except UsageError:
        raise
    except Exception as error:
        ours = isinstance(error, TypeError | ValueError | RuntimeError)
        if not ours and "model" not in spec.code and "method" not in spec.code:
            raise
        kind = "" if ours else f"{type(error).__name__}: "
        raise UsageError(
            f"model={spec.model_name!r} with model_args={settings.model_args} can't be made for "
            f"samples of shape {task.input_shape}: {kind}{error}."
        ) from error


def _share(task: Task, train: Samples, settings: Settings, seed: int) -> Partition:
    """Return which client holds which of ``train``, what is left of the task's samples."""
    groups = None
    if task.groups is not None:
        rows = range(len(train)) if train.indices is None else train.indices.tolist()
        groups = tuple(task.groups[row] for row in rows)
    labels = train.labels.numpy().astype(np.int64).tobytes()
    return _shared(labels, groups, settings.partition, settings.num_clients, seed)


@lru_cache(maxsize=32)
def _shared(
    labels: bytes,
    groups: tuple[str, ...] | None,
    recipe: PartitionSettings,
    num_clients: int,
    seed: int,
) -> Partition:
    """Return a partition, drawn once in a process: very uneven ones take many draws."""
    return partitions.get(recipe.recipe)(
        np.frombuffer(labels, dtype=np.int64),
        groups,
        num_clients=num_clients,
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
