"""Fixtures for tests that put a published bug into a method, or transcribe its paper."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gptfl_bench.cells.assemble import build_server
from gptfl_bench.cells.world import build_world
from gptfl_bench.core.cache import Artifacts
from gptfl_bench.core.groups import Groups
from gptfl_bench.core.progress import Silent
from gptfl_bench.data.samples import Samples
from gptfl_bench.engine.method import Method
from gptfl_bench.engine.server import Server
from gptfl_bench.training.fit import Plan


def play_rounds(
    method: Method, server: Server, count: int = 1, cohort: Sequence[int] = ()
) -> Groups:
    """Return the state after rounds with the given clients, or all."""
    state = method.prepare(server)
    for number in range(1, count + 1):
        server = replace(server, round=number)
        before = {group: {n: t.clone() for n, t in tree.items()} for group, tree in state.items()}
        arrived = server.federation.exchange(
            server.round,
            cohort or range(server.num_clients),
            lambda client_id, state=state: method.downlink(state, client_id),  # type: ignore[misc]
            method.client_update,
            lambda state=state, server=server: method.once(state, server),  # type: ignore[misc]
        )
        following = method.aggregate(state, arrived, server)
        for group, tree in before.items():
            for name, tensor in tree.items():
                assert torch.equal(tensor, state[group][name]), "the last state was changed"
        state = following
    return state


def catches_bugs(check: Callable[[object], None], right: object, *wrong: object) -> None:
    """The check passes on the method as it is and fails on each copy with a bug."""
    check(right)
    for buggy in wrong:
        with pytest.raises(AssertionError):
            check(buggy)


@pytest.fixture(scope="session")
def rounds() -> Callable[..., Groups]:
    """Return :func:`play_rounds`."""
    return play_rounds


@pytest.fixture(scope="session")
def catches() -> Callable[..., None]:
    """Return :func:`catches_bugs`."""
    return catches_bugs


@pytest.fixture
def server_for(
    make_spec: Callable[..., Any], fake_generator: str, tmp_path: Path
) -> Callable[..., Server]:
    """Return a maker of servers on the tiny task; keywords are settings."""
    numbers = iter(range(1000))

    def make(method: Method, **settings: Any) -> Server:
        spec, folder = make_spec(method, **settings), tmp_path / f"server-{next(numbers)}"
        world = build_world(spec)
        return build_server(spec, world, folder, Artifacts(folder), lambda event: None, Silent())

    return make


def batches_of(
    rows: int, rng: torch.Generator, size: int, *, epochs: int = 99, steps: int | None = None
) -> Iterator[Tensor]:
    """Yield the rows of each batch, in passes that are shuffled anew."""
    passes = (torch.split(torch.randperm(rows, generator=rng), size) for _ in range(epochs))
    return itertools.islice(itertools.chain.from_iterable(passes), steps)


@pytest.fixture(scope="session")
def batches() -> Callable[..., Iterator[Tensor]]:
    """Return :func:`batches_of`."""
    return batches_of


def local_sgd(model: nn.Module, data: Samples, plan: Plan, rng: torch.Generator) -> None:
    """Train in double precision on a client's samples, as PyTorch's examples do."""
    sgd = torch.optim.SGD(model.parameters(), plan.lr)
    for rows in batches_of(len(data), rng, plan.batch_size, epochs=plan.epochs):
        x, y = data.batch(rows)
        sgd.zero_grad()
        F.cross_entropy(model(x.double()), y).backward()  # type: ignore[no-untyped-call]
        sgd.step()


@pytest.fixture(scope="session")
def trains_locally() -> Callable[..., None]:
    """Return :func:`local_sgd`."""
    return local_sgd


class Spy(nn.Module):
    """Lets pass what trains with gradients or evaluates without, and nothing in between."""

    def forward(self, x: Tensor) -> Tensor:
        assert self.training is torch.is_grad_enabled()
        return x


class Spied(nn.Module):
    """A linear network with a spy in its encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), Spy())
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.encoder(x))
        return logits


@pytest.fixture
def spied() -> nn.Module:
    """A network for the tiny task that fails when it runs in the wrong mode."""
    return Spied()
