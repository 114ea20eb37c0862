"""The training loop against hand-worked numbers and PyTorch's own optimizers."""

import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gptfl_bench.core.randomness import torch_rng
from gptfl_bench.data.samples import Samples
from gptfl_bench.engine.server import Server
from gptfl_bench.training.fit import Plan, cross_entropy, fit


def data(size: int = 10) -> Samples:
    rng = torch.Generator().manual_seed(1)
    return Samples(torch.randn(size, 3, generator=rng), torch.arange(size) % 2)


def network() -> nn.Linear:
    model = nn.Linear(3, 2)
    with torch.no_grad():
        model.weight.copy_(torch.arange(6.0).reshape(2, 3) / 10)
        model.bias.zero_()
    return model


@pytest.mark.parametrize(
    ("plan", "steps", "drawn"),
    [
        (Plan(epochs=1, batch_size=4), 3, 10),
        (Plan(epochs=3, batch_size=4), 9, 30),
        (Plan(epochs=2, batch_size=32), 2, 20),
        (Plan(steps=2, batch_size=4), 2, 8),
        (Plan(steps=7, batch_size=4), 7, 10 + 10 + 4),
        (Plan(steps=0), 0, 0),
        (Plan(epochs=0), 0, 0),
        (Plan(epochs=5, steps=3, batch_size=5), 3, 15),
    ],
    ids=str,
)
def test_steps_and_epochs(plan: Plan, steps: int, drawn: int) -> None:
    """10 samples in batches of 4 make steps of 4, 4 and 2 samples."""
    model, passes = network(), list[int]()
    before = model.weight.clone()
    result = fit(model, data(), plan, torch_rng(0), after_epoch=lambda n, loss: passes.append(n))
    assert (result.steps, result.examples) == (steps, drawn)
    assert plan.total_steps(10) == steps
    assert result.lr_sum == pytest.approx(steps * plan.lr)
    assert passes == list(range(1, len(passes) + 1))
    assert math.isnan(result.loss) == (steps == 0)
    assert torch.equal(model.weight, before) == (steps == 0)


def test_nothing_to_train_on() -> None:
    empty = data().select(torch.tensor([], dtype=torch.int64))
    result = fit(network(), empty, Plan(epochs=3), torch_rng(0))
    assert (result.steps, result.examples, result.lr_sum) == (0, 0, 0.0)


def test_loss_is_the_mean_over_samples_of_the_last_pass() -> None:
    """With a step size of zero the loss is that of the data, however batches are cut."""
    expected = F.cross_entropy(network()(data().x), data().y).item()
    for size in (1, 4, 10):
        result = fit(network(), data(), Plan(epochs=2, lr=0.0, batch_size=size), torch_rng(0))
        assert result.loss == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("values", "rates"),
    [
        ({}, [1, 1, 1, 1, 1, 1]),
        ({"schedule": "cosine"}, [0.5 * (1 + math.cos(math.pi * s / 6)) for s in range(6)]),
        ({"schedule": "step", "step_every": 1, "step_factor": 0.5}, [1, 1, 0.5, 0.5, 0.25, 0.25]),
        ({"schedule": "step", "step_every": 2, "step_factor": 0.1}, [1, 1, 1, 1, 0.1, 0.1]),
    ],
    ids=["constant", "cosine", "step", "every second epoch"],
)
def test_schedules(values: dict[str, Any], rates: list[float]) -> None:
    """Three epochs of two steps; the rates are those that the optimizer used."""
    plan = Plan(**{"epochs": 3, "batch_size": 5, "lr": 2.0, **values})
    assert [plan.lr_at(step, 10) for step in range(6)] == pytest.approx([2 * r for r in rates])
    later = [plan.lr_at(step, 10, round=3) for step in range(6)]
    assert later == pytest.approx([2 * r for r in rates]), "no decay by rounds unless asked"
    decayed = Plan(**{"epochs": 3, "batch_size": 5, "lr": 2.0, "round_decay": 0.5, **values})
    assert decayed.lr_at(0, 10, round=3) == pytest.approx(0.5)
    result = fit(network(), data(), plan, torch_rng(0))
    assert result.lr_sum == pytest.approx(2 * sum(rates))
    assert fit(network(), data(), decayed, torch_rng(0), round=2).lr_sum == pytest.approx(
        sum(rates)
    )


def oracle(plan: Plan, optimizer: torch.optim.Optimizer, model: nn.Linear, address: int) -> None:
    rng = torch_rng(address)
    for epoch in range(plan.epochs):
        for number, rows in enumerate(torch.split(torch.randperm(10, generator=rng), 4)):
            for group in optimizer.param_groups:
                group["lr"] = plan.lr_at(3 * epoch + number, 10)
            optimizer.zero_grad()
            F.cross_entropy(model(data().x[rows]), data().y[rows]).backward()  # type: ignore[no-untyped-call]
            if plan.clip_norm is not None:
                norm = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()  # type: ignore[union-attr]
                for p in model.parameters():
                    assert p.grad is not None
                    p.grad *= min(1.0, plan.clip_norm / (norm.item() + 1e-6))
            optimizer.step()


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"momentum": 0.9},
        {"weight_decay": 0.3},
        {"momentum": 0.5, "weight_decay": 0.1, "schedule": "cosine"},
        {"clip_norm": 0.05},
        {"optimizer": "adamw", "weight_decay": 0.3},
        {"optimizer": "adamw", "clip_norm": 0.01, "schedule": "cosine"},
    ],
    ids=str,
)
def test_against_torchs_optimizers(values: dict[str, Any]) -> None:
    plan = Plan(**{"epochs": 3, "batch_size": 4, "lr": 0.2, **values})
    found, expected = network(), network()
    if plan.optimizer == "adamw":
        parameters = expected.parameters()
        optimizer = torch.optim.AdamW(parameters, lr=plan.lr, weight_decay=plan.weight_decay)
        fit(found, data(), plan, torch_rng(9))
        oracle(plan, optimizer, expected, 9)
    else:
        sgd = torch.optim.SGD(
            expected.parameters(), 0.2, momentum=plan.momentum, weight_decay=plan.weight_decay
        )
        fit(found, data(), plan, torch_rng(9))
        oracle(plan, sgd, expected, 9)
    torch.testing.assert_close(found.weight, expected.weight, atol=1e-6, rtol=1e-5)
    plain = network()
    fit(plain, data(), Plan(epochs=3, batch_size=4, lr=0.2), torch_rng(9))
    assert torch.equal(plain.weight, found.weight) == (not values), "the option does something"


def test_gradients_are_corrected_before_they_are_clipped() -> None:
    """A correction of 1000 on each scalar leaves a step of the clipped norm."""
    model = network()
    start = model.weight.detach().clone()

    def correct(net: nn.Module) -> None:
        for parameter in net.parameters():
            assert parameter.grad is not None
            parameter.grad += 1000

    plan = Plan(steps=1, lr=1.0, clip_norm=0.5)
    fit(model, data(), plan, torch_rng(0), after_backward=correct)
    moved = torch.cat([(model.weight - start).flatten(), model.bias]).norm()
    assert moved.item() == pytest.approx(0.5, rel=1e-4)


def test_batch_order_has_an_address(parabola: Callable[..., Server]) -> None:
    """The order depends on seed, round and client alone, and is the published address."""
    server = parabola([[float(v) for v in range(9)]] * 2, seed=3)
    seen: dict[tuple[int, int], list[float]] = {}

    def work(received: Any, client: Any) -> dict[str, Any]:
        def loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
            seen.setdefault((client.round, client.id), []).extend(x.flatten().tolist())
            return cross_entropy(model, x, y)

        client.fit(client.new_model(received), Plan(epochs=2, batch_size=4), loss=loss)
        return {}

    for round in (1, 2):
        server.federation.exchange(round, [0, 1], lambda k: dict(server.start), work)
    for (round, client), order in seen.items():
        rng = torch_rng(3, "batches", "round", round, "client", client)
        expected = [torch.randperm(9, generator=rng).tolist() for _ in range(2)]
        assert order == [float(v) for part in expected for v in part]
    assert len({tuple(order) for order in seen.values()}) == 4


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", -1),
        ("steps", -1),
        ("batch_size", 0),
        ("lr", math.inf),
        ("lr", -0.1),
        ("momentum", 1.0),
        ("weight_decay", -1.0),
        ("clip_norm", 0.0),
        ("step_every", 0),
        ("step_factor", 0.0),
        ("round_decay", 1.5),
    ],
)
def test_impossible_plans_are_refused(field: str, value: float) -> None:
    assert field in {item.name for item in fields(Plan)}
    with pytest.raises(ValueError, match=f"{field}={value!r} must be"):
        Plan(**{field: value})  # type: ignore[arg-type]
