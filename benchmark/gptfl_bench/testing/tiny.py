"""A task of 60 tiny images, and cells on it that can be compared bit for bit."""

import dataclasses
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gptfl_bench.cells.assemble import build_server
from gptfl_bench.cells.cell import Context, run_cell
from gptfl_bench.cells.checkpoint import CHECKPOINT, Checkpoint
from gptfl_bench.cells.settings import PartitionSettings, Settings
from gptfl_bench.cells.spec import CellSpec
from gptfl_bench.cells.world import build_world
from gptfl_bench.core.cache import Artifacts
from gptfl_bench.core.groups import Groups
from gptfl_bench.core.progress import Silent
from gptfl_bench.core.randomness import isolated_torch_rng
from gptfl_bench.data.samples import Samples
from gptfl_bench.data.task import Task
from gptfl_bench.engine.client_store import ClientStore
from gptfl_bench.engine.cohort import Cohort
from gptfl_bench.engine.method import Method, methods
from gptfl_bench.engine.server import Server
from gptfl_bench.quality.judging import QualitySettings
from gptfl_bench.synthesis.source import SyntheticSettings

SIZES = (3, 5, 8, 11, 14, 19)
"""Samples of the tiny task's six clients."""

Bits = dict[tuple[str, str], bytes]


@dataclasses.dataclass(frozen=True)
class Ended:
    """What a cell came to, comparable bit for bit.

    Attributes:
        fault: How it ended, in a sentence, unless it finished.
        events: Its events without times.
        tensors: All tensors of server and clients.
        saw: Whether the server read single replies.
    """

    fault: str
    events: tuple[str, ...]
    tensors: tuple[Bits, ...]
    saw: bool


class Killed(BaseException):
    """Passes through a cell as the end of its process would."""


class Kill(Silent):
    """Ends the process, as far as a cell can tell, after a client of round 2."""

    def __init__(self) -> None:
        self._in_round_2 = False

    def stage(self, name: str, done: int, total: int) -> None:
        """Raise at the right moment."""
        self._in_round_2 |= name == "rounds" and done == 1
        if self._in_round_2 and name == "clients":
            raise Killed


def tiny_task() -> Task:
    """Return 60 and 30 images of 4x4 pixels and three classes, which six clients share."""
    rng = torch.Generator().manual_seed(7)
    y = torch.arange(90) % 3
    x = torch.randn(90, 1, 4, 4, generator=rng) + 0.7 * torch.randn(3, 1, 4, 4, generator=rng)[y]
    return Task(
        name="tiny",
        train=Samples(x[:60], y[:60]),
        test=Samples(x[60:], y[60:]),
        label_names=("zero", "one", "two"),
        from_media=_shrunk,
        groups=tuple(f"client {k}" for k, size in enumerate(SIZES) for _ in range(size)),
    )


def _shrunk(media: np.ndarray) -> Tensor:
    """Return drawings of digits (N, 32, 32, 1) as images of the tiny task."""
    pixels = torch.from_numpy(media).permute(0, 3, 1, 2).float() / 255
    return torch.nn.functional.avg_pool2d(pixels, 8)


def spec_of(method: Method, rounds: int = 3, secure_aggregation: bool = False) -> CellSpec:
    """Return a cell of a method on the tiny task."""
    settings = Settings(
        rounds=rounds,
        num_clients=len(SIZES),
        cohort_size=3,
        partition=PartitionSettings(recipe="group"),
        model="linear",
        synthetic=SyntheticSettings(generator="renderer", multiplier=0.2),
        quality=QualitySettings(samples=0),
        lift_conventions=True,
        secure_aggregation=secure_aggregation,
        device="cpu",
    )
    name = methods.name_of(type(method)) or type(method).__name__.lower()
    return CellSpec(name, method, 0, tiny_task(), "tiny", settings)


def run(
    method: Method,
    folder: Path,
    rounds: int = 3,
    secure_aggregation: bool = False,
    progress: Silent | None = None,
) -> Ended:
    """Run a cell of a method in a folder, or go on with it."""
    context = Context(folder / "run", Artifacts(folder / "cache"))
    try:
        cell = run_cell(spec_of(method, rounds, secure_aggregation), context, progress)
    except Exception as error:
        return Ended(f"it fails with {type(error).__name__}: {error}.", (), (), False)
    ending, row = cell.ending, cell.row()
    checkpoint = Checkpoint.read(cell.folder / CHECKPOINT)
    tensors: list[Bits] = []
    if checkpoint:
        store = ClientStore(cell.folder / "state" / "clients", checkpoint.clients)
        tensors = [bits_of(checkpoint.state), *(bits_of(store.read(k)) for k in checkpoint.clients)]
    untimed = [dataclasses.asdict(event) for event in cell.events]
    for event in untimed:
        event.pop("seconds", None)
        event.pop("cached", None)
    fault = "" if ending.status == "finished" else f"it ends {ending.status}: {ending.reason}"
    return Ended(fault, tuple(map(str, untimed)), tuple(tensors), row["server_saw_clients"])


def server_in_round_1(method: Method, folder: Path) -> tuple[Server, Groups]:
    """Return a server in round 1 and the method's prepared state."""
    spec = spec_of(method)
    server = build_server(
        spec, build_world(spec), folder, Artifacts(folder), lambda event: None, Silent()
    )
    state = method.prepare(server)
    return dataclasses.replace(server, start={}, small_starts={}, round=1), state


def aggregated(method: Method, state: Groups, cohort: Cohort, server: Server) -> Groups:
    """Return the next state, global draws at the address that a cell gives them."""
    with isolated_torch_rng(server.seed, "server", "round", server.round):
        return method.aggregate(state, cohort, server)


@contextmanager
def callers_randomness() -> Iterator[None]:
    """Leave the global generators as they were."""
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    python_state = random.getstate()
    try:
        yield
    finally:
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy_state)  # noqa: NPY002 - as it was
        random.setstate(python_state)


def bits_of(groups: Groups) -> Bits:
    """Return all tensors as bytes."""
    return {
        (group, name): f"{tensor.dtype}{list(tensor.shape)}".encode()
        + tensor.cpu().contiguous().numpy().tobytes()
        for group, tree in groups.items()
        for name, tensor in tree.items()
    }


def global_states() -> Sequence[object]:
    """Return the states of the global generators, comparable."""
    state = np.random.get_state()  # noqa: NPY002 - what is checked
    return [torch.get_rng_state().tolist(), str(state), random.getstate()]
