"""Local training hands a GPU one step after another and never waits for it in between.

Without a GPU its place is taken by the device ``meta``, whose tensors have no content. Each
operation that would make this process wait for a GPU is counted: a number that is read, a tensor
that is fetched, a result whose size depends on content, and memory that is brought over before this
process may go on.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gptfl_bench.cells.assemble import build_server
from gptfl_bench.cells.settings import PartitionSettings
from gptfl_bench.cells.spec import CellSpec
from gptfl_bench.cells.world import build_world
from gptfl_bench.core import groups as g
from gptfl_bench.core.cache import Artifacts
from gptfl_bench.core.progress import Silent
from gptfl_bench.data.samples import Samples, Transform
from gptfl_bench.data.task import Task
from gptfl_bench.engine.client import Client
from gptfl_bench.engine.method import Method, methods
from gptfl_bench.training.distill import distill, outputs
from gptfl_bench.training.evaluate import evaluate
from gptfl_bench.training.fit import Plan, fit
from gptfl_datasets.preprocess.audio_pipeline import audio_pipeline
from gptfl_datasets.preprocess.image_pipeline import ImagePipeline
from gptfl_datasets.preprocess.random_crops import PaddedCrop, ResizedCrop
from gptfl_methods.fedavg import FedAvg
from gptfl_methods.parts.augment import FAMILIES, Augmentation

META = torch.device("meta")
SIDE = 8


class Waits(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what would make this process wait for a GPU, with ``meta`` in its place."""

    SIZES = ("nonzero", "bincount", "masked_select", "unique", "repeat_interleave", "equal")

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        kwargs = kwargs or {}
        name = func.__name__.partition(".")[0].strip("_")
        tensors = [part for part in _flat([*args, *kwargs.values()]) if isinstance(part, Tensor)]
        there = [tensor for tensor in tensors if tensor.is_meta]
        if name == "local_scalar_dense" and there:
            self.found.append("a number is read")
            return 0
        if name == "to_copy":
            target = kwargs.get("device") or args[0].device
            if args[0].is_meta and target.type == "cpu":
                self.found.append("a tensor is fetched")
                return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
            if args[0].is_cpu and target.type == "meta" and not kwargs.get("non_blocking"):
                self.found.append("memory is brought over")
        if name == "copy" and len({tensor.device.type for tensor in args[:2]}) == 2:
            self.found.append("memory is copied over")
        if there and (name in self.SIZES or (name == "index" and _by_truth(args[1]))):
            self.found.append(f"the size of what {name} gives")
            if name == "bincount":
                size = kwargs.get("minlength", args[-1])
                return torch.zeros(size, dtype=torch.int64, device=META)
        # PyTorch lets a GPU's tensor be indexed by one of the CPU, and brings that over.
        if name in ("index", "index_put") and there and len(there) < len(tensors):
            self.found.append("indices are brought over")
        return func(*args, **kwargs)


def _by_truth(indices: Any) -> bool:
    return any(index is not None and index.dtype == torch.bool for index in indices)


def _flat(values: Any) -> list[Any]:
    found = []
    for value in values:
        found += _flat(value) if isinstance(value, list | tuple) else [value]
    return found


@pytest.fixture(autouse=True)
def _lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a strict channel encodes is fetched, which is what it is for."""
    monkeypatch.setenv("GPTFL_BENCH_STRICT", "0")


@pytest.fixture
def waits(make_spec: Callable[..., CellSpec], tmp_path: Path) -> Callable[[Method], list[str]]:
    """Return what makes a GPU be waited for in a client's second visit."""
    task = pictures(ImagePipeline(SIDE, crop=PaddedCrop(1), flip=True, cutout=2))

    def count(method: Method) -> list[str]:
        spec = make_spec(
            method,
            task=task,
            model="cnn_tiny",
            num_clients=2,
            cohort_size=2,
            partition=PartitionSettings(recipe="iid"),
        )
        world = build_world(spec)
        server = build_server(
            spec, world, tmp_path, Artifacts(tmp_path), lambda event: None, Silent()
        )
        state = method.prepare(server)
        known = server.federation
        visited: list[Client] = []

        def work(received: g.Groups, client: Client) -> g.Groups:
            visited.append(client)
            return method.client_update(received, client)

        cohort = known.exchange(
            1, [0, 1], lambda c: method.downlink(state, c), work, lambda: method.once(state, server)
        )
        following = method.aggregate(state, cohort, replace(server, round=1))
        there = build_world(replace(spec, settings=replace(spec.settings, device="meta")))
        data = there.train.select(torch.tensor(world.partition.clients[0]))
        client = replace(
            visited[0],
            round=2,
            data=data,
            state=g.to(visited[0].state, META),
            handed=g.to(visited[0].handed, META),
            _networks=there.networks,
            fits=[],
        )
        received = g.to(method.downlink(following, 0), META)
        with Waits() as found:
            method.client_update(received, client)
        assert client.fits[0].steps > 0
        seen: list[str] = found.found
        return seen

    return count


def pictures(transform: Transform) -> Task:
    """Twelve tiny colour pictures of three classes, in bytes."""
    rng = torch.Generator().manual_seed(3)
    x = torch.randint(0, 256, (24, 3, SIDE, SIDE), dtype=torch.uint8, generator=rng)
    y = torch.arange(24) % 3
    return Task(
        name="pictures",
        train=Samples(x, y, transform=transform),
        test=Samples(x, y, transform=transform),
        label_names=("cat", "dog", "eel"),
        from_media=lambda media: torch.zeros(len(media), 3, SIDE, SIDE, dtype=torch.uint8),
        synthetic_transform=transform,
    )


def _longer(method: Method, epochs: int) -> Method:
    inner = getattr(method, "inner", None)
    if isinstance(inner, Method):
        return replace(method, inner=_longer(inner, epochs))  # type: ignore[call-arg]
    plan = Plan(epochs=epochs, batch_size=4, lr=0.01, clip_norm=1.0)
    given: dict[str, Any] = {"plan": plan}
    if hasattr(method, "distillation"):
        given["distillation"] = replace(method.distillation, epochs=epochs, steps=None)
    # Little at the server, which is run to have a second round.
    few = {"open_per_round": 4, "iterations": 1, "generator_steps": 1, "width": 2}
    given |= {name: value for name, value in few.items() if hasattr(method, name)}
    return replace(method, **given)


@pytest.mark.parametrize("name", [n for n in methods.names() if not methods.get(n).wraps])
def test_no_step_of_local_training_waits_for_a_gpu(
    name: str, waits: Callable[[Method], list[str]]
) -> None:
    method = methods.get(name)()
    once = waits(_longer(method, 1))
    assert once, "the loss of a visit is read at its end"
    assert waits(_longer(method, 5)) == once


@dataclass(frozen=True)
class _Reads(FedAvg):
    """Looks at its loss after every step, as code from elsewhere does."""

    def loss(self, *words: Any) -> Tensor:
        value = super().loss(*words)
        assert float(value.detach()) >= 0
        return value


@dataclass(frozen=True)
class _Brings(FedAvg):
    """Draws on the CPU what each step needs."""

    def loss(self, model: Any, x: Tensor, *words: Any) -> Tensor:
        return super().loss(model, x + torch.rand(len(x), 1, 1, 1).to(x.device), *words)


@pytest.mark.parametrize("method", [_Reads(), _Brings()], ids=["reads", "brings"])
def test_a_wait_in_each_step_is_seen(method: Method, waits: Callable[[Method], list[str]]) -> None:
    assert len(waits(_longer(method, 5))) > len(waits(_longer(method, 1)))


PIPELINES: dict[str, tuple[Transform, Tensor]] = {
    "padded": (
        ImagePipeline(SIDE, crop=PaddedCrop(1), flip=True, cutout=2),
        torch.zeros(4, 3, SIDE, SIDE, dtype=torch.uint8),
    ),
    "resized": (
        ImagePipeline(SIDE, crop=ResizedCrop(), flip=True),
        torch.zeros(4, 3, SIDE, SIDE, dtype=torch.uint8),
    ),
    "audio": (audio_pipeline("masks"), torch.zeros(4, 101, 128, dtype=torch.float16)),
    **{name: (Augmentation((name,)), torch.zeros(4, 3, SIDE, SIDE)) for name in FAMILIES},
}


@pytest.mark.parametrize("name", PIPELINES)
def test_augmentation_waits_for_no_gpu(name: str) -> None:
    transform, stored = PIPELINES[name]
    there = stored.to(META)
    with Waits() as found:
        assert transform(there, torch.Generator().manual_seed(0)).is_meta
        assert transform(there, None).is_meta
    assert found.found == []


def _few(waiting: list[str]) -> None:
    assert 0 < len(waiting) <= 3, waiting


def test_evaluation_and_the_server_wait_once(make_spec: Callable[..., CellSpec]) -> None:
    spec = make_spec(
        FedAvg(),
        task=pictures(ImagePipeline(SIDE)),
        model="cnn_tiny",
        device="meta",
        partition=PartitionSettings(recipe="iid"),
    )
    world = build_world(spec)
    networks = world.networks

    def predict(x: Tensor) -> Tensor:
        return networks.apply(networks.start, x)

    for size in (2, 24):
        with Waits() as found:
            evaluate(predict, world.evaluation, size)
        _few(found.found)
        with Waits() as found:
            outputs(predict, world.evaluation, size)
        assert found.found == []
    targets = torch.zeros(len(world.train), 3, device=META)
    plans = [Plan(epochs=n, batch_size=4, optimizer="adamw", clip_norm=1.0) for n in (1, 5)]
    counts = []
    for plan in plans:
        rng = torch.Generator().manual_seed(0)
        with Waits() as found:
            distill(networks.new(networks.start), world.train, targets, plan, rng)
        counts.append(found.found)
    assert counts[0] == counts[1]


def test_whoever_looks_at_each_pass_waits_for_it() -> None:
    seen: list[float] = []
    data = Samples(torch.zeros(8, 3, device=META), torch.zeros(8, dtype=torch.int64, device=META))
    model = torch.nn.Linear(3, 2, device=META)
    with Waits() as found:
        fit(
            model,
            data,
            Plan(epochs=3, batch_size=4),
            torch.Generator().manual_seed(0),
            after_epoch=lambda epoch, loss: seen.append(loss),
        )
    assert len(seen) == 3
    assert len(found.found) >= 3
