"""One thread, no network and a cache of its own for every test; a task that trains in no time."""

import importlib.util
import multiprocessing
import os
import sys

os.environ["OMP_WAIT_POLICY"] = "passive"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
# Every message of every cell is encoded and decoded, as counting alone promises to come to.
os.environ["GPTFL_BENCH_STRICT"] = "1"

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.context import ForkServerContext
from pathlib import Path
from subprocess import CompletedProcess
from types import ModuleType
from typing import Any, ClassVar, cast

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from torch import Tensor, nn

from gptfl_bench.cells import cell as cells
from gptfl_bench.cells.assemble import build_server
from gptfl_bench.cells.checkpoint import Checkpoint
from gptfl_bench.cells.settings import PartitionSettings, Settings
from gptfl_bench.cells.spec import CellSpec
from gptfl_bench.cells.world import build_world
from gptfl_bench.core.cache import Artifacts
from gptfl_bench.core.groups import Groups
from gptfl_bench.core.progress import Progress, Silent
from gptfl_bench.data.samples import Samples
from gptfl_bench.data.task import Modality, Task
from gptfl_bench.engine.client_store import ClientStore
from gptfl_bench.engine.method import Method, methods
from gptfl_bench.engine.server import Server
from gptfl_bench.quality.judging import QualitySettings
from gptfl_bench.synthesis.generator import Prompt, Sample, generators
from gptfl_bench.synthesis.source import SyntheticSettings
from gptfl_reports.records.cells import Cell
from gptfl_reports.records.events import Event

# How long an example takes says how busy the machine is, and nothing about the code.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")
torch.set_num_threads(1)
SIZES = (3, 5, 8, 11, 14, 19)
"""Samples of the tiny task's six clients; the first fit into no batch of four."""


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPTFL_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_wait_for_the_disk() -> Iterator[None]:
    """Let files be written as ever, without the wait that outlasts a loss of power.

    Tests of what is synced, and when, put a function of their own in its place.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(scope="session")
def tiny_task() -> Task:
    """4x4 images of three classes, 60 to train on and 30 to test on, shared by six authors."""
    rng = torch.Generator().manual_seed(7)
    y = torch.arange(90) % 3
    x = torch.randn(90, 1, 4, 4, generator=rng) + 0.7 * torch.randn(3, 1, 4, 4, generator=rng)[y]
    # The smallest client holds one class only.
    order = torch.cat([torch.tensor([0, 3, 6]), torch.tensor([1, 2, 4, 5]), torch.arange(7, 90)])
    x, y = x[order], y[order]
    return Task(
        name="tiny",
        train=Samples(x[:60], y[:60]),
        test=Samples(x[60:], y[60:]),
        label_names=("cat", "dog", "eel"),
        from_media=lambda media: torch.from_numpy(media).permute(0, 3, 1, 2).float() / 255,
        groups=tuple(f"author {k}" for k, size in enumerate(SIZES) for _ in range(size)),
    )


class FakeGenerator:
    """Stands in for a pre-trained generator: noise around a grey of the class's own."""

    modalities: ClassVar[frozenset[Modality]] = frozenset({"image"})
    fingerprint = "fake-1"

    def generate(self, prompts: Sequence[Prompt]) -> Iterator[Sample]:
        for prompt in prompts:
            noise = np.random.default_rng(prompt.seed).integers(0, 99, (4, 4, 1))
            yield Sample((noise + len(prompt.label) + ord(prompt.label[0])).astype("u1"), prompt)


@pytest.fixture
def fake_generator(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a generator that is registered for one test."""
    generators.names()
    monkeypatch.setitem(generators._parts, "fake", FakeGenerator)
    return "fake"


def as_bits(groups: Groups) -> dict[tuple[str, str], tuple[str, bytes]]:
    """All tensors as bytes, so that == means equal bit for bit, whatever the order of names."""
    return {
        (group, name): (f"{tensor.dtype}{list(tensor.shape)}", tensor.cpu().numpy().tobytes())
        for group, tree in groups.items()
        for name, tensor in tree.items()
    }


@pytest.fixture(scope="session")
def bits() -> Callable[[Groups], object]:
    """Return what makes groups comparable bit for bit."""
    return as_bits


@dataclass(frozen=True)
class Outcome:
    """A cell that ran, the state it ended in and what each client keeps."""

    cell: Cell
    state: Groups
    clients: dict[int, Groups]

    @property
    def bits(self) -> object:
        """The end states of server and clients, comparable bit for bit."""
        return as_bits(self.state), {k: as_bits(kept) for k, kept in self.clients.items()}

    @property
    def untimed(self) -> list[Event]:
        """All events without what may differ between two runs of the same cell."""

        def strip(event: Event) -> Event:
            volatile: dict[str, Any] = {"seconds": 0.0, "cached": False}
            known: Any = {key: value for key, value in volatile.items() if hasattr(event, key)}
            return replace(cast(Any, event), **known)  # type: ignore[no-any-return]

        return [strip(event) for event in self.cell.events]


@pytest.fixture
def make_spec(tiny_task: Task, fake_generator: str) -> Callable[..., CellSpec]:
    """Return a maker of cells on the tiny task; keywords are settings."""

    def make(
        method: Method,
        seed: int = 0,
        task: Task | None = None,
        network: nn.Module | None = None,
        **settings: Any,
    ) -> CellSpec:
        inner = getattr(method, "inner", None)
        parts = [type(part) for part in (method, inner) if part is not None]
        name = "+".join(methods.name_of(part) or part.__name__.lower() for part in parts)
        values: dict[str, Any] = {
            "rounds": 3,
            "num_clients": len(SIZES),
            "cohort_size": 3,
            "partition": PartitionSettings(recipe="group"),
            "model": "linear",
            "synthetic": SyntheticSettings(generator=fake_generator, multiplier=0.5),
            "quality": QualitySettings(samples=0),
            "device": "cpu",
        }
        return CellSpec(
            name, method, seed, task or tiny_task, "tiny", Settings(**(values | settings)), network
        )

    return make


@pytest.fixture
def run_cell(
    make_spec: Callable[..., CellSpec], fake_generator: str, tmp_path: Path
) -> Callable[..., Outcome]:
    """Return a function that runs a cell, in a folder of its own unless ``out`` is named."""
    numbers = iter(range(1000))

    def run(
        method: Method,
        *,
        out: Path | None = None,
        cache: Path | None = None,
        progress: Progress | None = None,
        force: bool = False,
        **keywords: Any,
    ) -> Outcome:
        place = out or tmp_path / f"run-{next(numbers)}"
        spec = make_spec(method, **keywords)
        context = cells.Context(place, Artifacts(cache or place / "cache"), "a test", force)
        cell = cells.run_cell(spec, context, progress)
        checkpoint = Checkpoint.read(cell.folder / "state" / "checkpoint.safetensors")
        if checkpoint is None:
            return Outcome(cell, {}, {})
        store = ClientStore(cell.folder / "state" / "clients", checkpoint.clients)
        return Outcome(cell, checkpoint.state, {k: store.read(k) for k in checkpoint.clients})

    return run


class Parabola(nn.Module):
    """A model whose cross-entropy for class 0 is 1 + ||w - x||^2 / 2, so its gradient is w - x.

    The two outputs are log-probabilities; the second is whatever makes them sum to one.
    """

    def __init__(self, start: Sequence[float]) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(list(start)))

    def forward(self, x: Tensor) -> Tensor:
        first = -1 - (self.w - x).square().sum(1) / 2
        return torch.stack([first, torch.log(-torch.expm1(first))], 1)


@pytest.fixture
def parabola(tmp_path: Path, make_spec: Callable[..., CellSpec]) -> Callable[..., Server]:
    """Return a maker of servers with a :class:`Parabola`, to work a round out by hand.

    ``parabola([[4.0], [8.0, 8.0]])`` has two clients; their samples are scalars, all of class 0.
    """
    numbers = iter(range(1000))

    def make(
        clients: Sequence[Sequence[float]],
        start: Sequence[float] = (0.0,),
        seed: int = 0,
        keep_replies: bool = False,
    ) -> Server:
        x = torch.tensor([[value] for samples in clients for value in samples])
        samples = Samples(x, torch.zeros(len(x), dtype=torch.int64))
        task = Task(
            name="parabola",
            train=samples,
            test=samples,
            label_names=("zero", "one"),
            from_media=torch.from_numpy,
            groups=tuple(f"{k:03}" for k, held in enumerate(clients) for _ in held),
        )
        spec = make_spec(
            methods.get("fedavg")(),
            seed=seed,
            task=task,
            network=Parabola(start),
            num_clients=len(clients),
            cohort_size=1,
        )
        folder = tmp_path / f"parabola-{next(numbers)}"
        server = build_server(
            spec, build_world(spec), folder, Artifacts(folder), lambda event: None, Silent()
        )
        server.federation.keep_replies = keep_replies
        return replace(server, round=1)

    return make


PRELOADED = (
    *("gptfl_bench.runs.launchers", "gptfl_bench.runs.catalogue", "gptfl_reports.report"),
    # PyTorch loads its compiler when the first optimizer is made.
    *("torch._dynamo", "sklearn.datasets", "pandas", "matplotlib.backends.backend_agg"),
)
"""What a process that others are forked from has loaded: no registry is filled."""


@pytest.fixture(scope="session")
def nursery() -> ForkServerContext:
    """What starts processes that have PyTorch loaded, so that each is there at once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    return context


def _as_python_does(
    code: str, words: list[str], folder: Path, environment: dict[str, str], streams: list[Path]
) -> None:
    for number, stream in enumerate(streams, 1):
        os.dup2(os.open(stream, os.O_WRONLY | os.O_CREAT), number)
    os.chdir(folder)
    # Not cleared: the interpreter keeps its own account of what was there at its start.
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
    sys.path[:0] = [str(folder), *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = ["-c", *words]
    main = sys.modules["__main__"] = ModuleType("__main__")
    exec(compile(code, "<string>", "exec"), main.__dict__)  # noqa: S102 - as python -c does


@pytest.fixture(scope="session")
def python(
    nursery: ForkServerContext, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., "CompletedProcess[str]"]:
    """Return what runs code as ``python -c`` does, in a process that is there at once.

    Where it matters what an interpreter loads or reads at its start, it is no stand-in.
    """

    def run(
        code: str, *words: object, cwd: Path, env: Mapping[str, str] = os.environ
    ) -> "CompletedProcess[str]":
        streams = [tmp_path_factory.mktemp("streams") / name for name in ("out", "err")]
        given = (code, [str(word) for word in words], cwd, dict(env), streams)
        process = nursery.Process(target=_as_python_does, args=given)
        process.start()
        process.join(300)
        assert process.exitcode is not None
        out, err = (stream.read_text(encoding="utf-8") for stream in streams)
        return CompletedProcess(code, process.exitcode, out, err)

    return run


ROOT = Path(__file__).parents[1]


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "ci" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    # unpack_packs imports its neighbour by name, and tests import house.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


_script("published_layouts")
_script("house")
_script("tutorial_notebook")


@pytest.fixture(scope="session")
def unpack_packs() -> ModuleType:
    """The module ``ci/unpack_packs.py``."""
    return _script("unpack_packs")


@pytest.fixture(scope="session")
def packs(unpack_packs: ModuleType) -> Callable[[str], Path]:
    """Return what gives the folder of an unpacked pack; it skips the test if the pack is absent."""

    def folder(name: str) -> Path:
        source, target = unpack_packs.packs_folder(), unpack_packs.cache_folder()
        try:
            unpacked: Path = unpack_packs.unpack(name, source, target)
        except unpack_packs.PackAbsentError as absent:
            pytest.skip(str(absent))
        return unpacked

    return folder
