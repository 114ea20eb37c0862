"""Central training on synthetic data: what may end it, what may only look on, what is kept."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gptfl_bench.core.cache import Artifacts
from gptfl_bench.core.groups import Groups
from gptfl_bench.data.samples import Samples
from gptfl_bench.synthesis.synthesis import Synthesis
from gptfl_bench.training.central import (
    EarlyStop,
    Trained,
    Watch,
    from_tensor,
    to_tensor,
    train_centrally,
)
from gptfl_bench.training.evaluate import evaluate
from gptfl_bench.training.fit import Plan
from gptfl_reports.records.events import Event, Pretrained, PretrainEpoch

PLAN = Plan(epochs=12, batch_size=10, lr=0.5)


def samples(count: int = 60, seed: int = 0, noise: float = 1.0) -> Samples:
    """Three overlapping clouds in the plane; few samples and much noise are over-fitted to."""
    rng = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % 3
    centres = torch.tensor([[0.0, 1.0], [1.0, 0.0], [-1.0, -1.0]])
    return Samples(centres[y] + noise * torch.randn(count, 2, generator=rng), y)


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 3))


def trained(stop: EarlyStop, watch: Watch | None = None, plan: Plan = PLAN) -> Trained:
    model = network()
    torch.manual_seed(2)
    return train_centrally(model, samples(), plan, stop, 0, watch)


def same(first: Groups, second: Groups) -> bool:
    return all(torch.equal(first["model"][n], t) for n, t in second["model"].items())


def test_what_looks_on_changes_nothing() -> None:
    """Real test samples have no say: not in the weights, nor in the epoch that is kept."""
    stop = EarlyStop(0.2, 3)
    alone, watched = trained(stop), trained(stop, Watch(samples(30, seed=9, noise=5)))
    assert same(alone.groups, watched.groups)
    assert alone.kept == watched.kept
    assert all(math.isnan(epoch.test_accuracy) for epoch in alone.epochs)
    assert [e.validation_loss for e in alone.epochs] == [e.validation_loss for e in watched.epochs]
    assert {epoch.test_examples for epoch in watched.epochs} == {30}


def test_the_epoch_with_the_lowest_validation_loss_is_kept() -> None:
    """Training ends ``patience`` epochs after it, and its weights give that very loss."""
    stop = EarlyStop(0.3, 2)
    plan = Plan(epochs=500, batch_size=5, lr=1.0)
    seen: list[Tensor] = []

    def transform(x: Tensor, rng: torch.Generator | None) -> Tensor:
        if rng is None:
            seen.append(x)
        return x

    model = network()
    data = Samples(samples().x, samples().y, transform=transform)
    done = train_centrally(model, data, plan, stop, 0)
    losses = [epoch.validation_loss for epoch in done.epochs]
    assert done.kept == losses.index(min(losses)) + 1
    assert len(losses) == done.kept + 2 < 500
    model.load_state_dict(done.groups["model"])
    held_out = data.select(torch.tensor([int((data.x == x).all(1).nonzero()) for x in seen[0]]))
    assert evaluate(model.eval(), held_out).loss == losses[done.kept - 1]


def test_validation_samples_are_never_trained_on() -> None:
    drawn, shown = set[float](), set[float]()

    def transform(x: Tensor, rng: torch.Generator | None) -> Tensor:
        (shown if rng is None else drawn).update(x[:, 0].tolist())
        return x

    data = Samples(samples().x, samples().y, transform=transform)
    done = train_centrally(network(), data, PLAN, EarlyStop(0.25, None), 0)
    assert (len(drawn), len(shown)) == (45, 15)
    assert not drawn & shown
    # 45 samples in batches of 10 are 5 steps a pass.
    assert (done.result.steps, done.result.examples, done.kept) == (60, 540, 12)


def test_without_patience_the_last_epoch_is_kept() -> None:
    done = trained(EarlyStop(0.3, None), plan=Plan(epochs=30, batch_size=5, lr=1.0))
    assert done.kept == len(done.epochs) == 30


def test_too_little_data_to_validate_on_is_all_trained_on() -> None:
    done = train_centrally(network(), samples(9), PLAN, EarlyStop(0.1, 1), 0)
    assert done.result.examples == 12 * 9
    assert all(math.isnan(epoch.validation_accuracy) for epoch in done.epochs)


def test_no_epoch_leaves_the_start() -> None:
    model, stop = network(), EarlyStop()
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    done = train_centrally(model, samples(), Plan(epochs=0), stop, 0)
    assert (done.kept, done.epochs) == (0, ())
    assert same(done.groups, {"model": start})


def test_a_watch_takes_a_fixed_part() -> None:
    data = samples(100)
    model = network().eval()
    assert Watch(data, 40).key == Watch(data, 40).key != Watch(data, 41).key
    assert Watch(data, 40)(model).examples == 40
    assert Watch(data, 1000).key == Watch(data).key


def test_epochs_are_kept_with_the_weights() -> None:
    epochs = trained(EarlyStop(0.2, None), Watch(samples(30, seed=9))).epochs
    assert from_tensor(to_tensor(epochs), "") == list(epochs)
    assert {epoch.architecture for epoch in from_tensor(to_tensor(epochs), "vgg9")} == {"vgg9"}


@pytest.mark.parametrize(
    ("share", "patience", "named"),
    [(1.0, None, "share=1.0"), (-0.1, None, "share=-0.1"), (0.1, 0, "patience=0"), (0, 5, "share")],
)
def test_impossible_stops_are_refused(share: float, patience: int | None, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        EarlyStop(share, patience)


def test_a_later_cell_logs_the_same_epochs_from_the_cache(
    server_of_tiny_task: Callable[[Path, list[Event]], Any], tmp_path: Path
) -> None:
    logs: list[list[Event]] = [[], []]
    weights = []
    for log in logs:
        server = server_of_tiny_task(tmp_path, log)
        synthesis = server.resource(Synthesis)
        data = synthesis.source.task.train
        weights.append(synthesis.pretrained(data, PLAN, EarlyStop(0.2, 2)))
    assert same(*weights)
    first, second = (
        [event for event in log if isinstance(event, PretrainEpoch | Pretrained)] for log in logs
    )
    assert first[:-1] == second[:-1] != []
    ends = [event for event in (first[-1], second[-1]) if isinstance(event, Pretrained)]
    assert [end.cached for end in ends] == [False, True]
    assert ends[0].kept_epoch == ends[1].kept_epoch > 0


@pytest.fixture
def server_of_tiny_task(
    make_spec: Callable[..., Any],
) -> Callable[[Path, list[Event]], Any]:
    """Return a maker of servers that share a cache and log to a list."""
    from gptfl_bench.cells.assemble import build_server
    from gptfl_bench.cells.world import build_world
    from gptfl_bench.core.progress import Silent
    from gptfl_methods.fedavg import FedAvg

    def make(folder: Path, log: list[Event]) -> Any:
        spec = make_spec(FedAvg())
        world = build_world(spec)
        return build_server(spec, world, folder, Artifacts(folder), log.append, Silent())

    return make
