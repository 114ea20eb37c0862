"""The methods against a plain transcription of their papers in NumPy, cohort by cohort."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gptfl_bench.architectures.network import models
from gptfl_bench.core.randomness import torch_rng
from gptfl_bench.data.task import Task
from gptfl_bench.engine.method import Method
from gptfl_bench.engine.networks import Networks
from gptfl_bench.training.fit import Plan
from gptfl_methods.fedavg import FedAvg
from gptfl_methods.fedopt import FedOpt
from gptfl_methods.fedprox import FedProx
from gptfl_methods.scaffold import Scaffold

Array = NDArray[np.float64]
SEED, CLIENTS, COHORT, EPOCHS, BATCH, LR = 5, 6, 3, 2, 4, 0.2
PLAN = Plan(epochs=EPOCHS, batch_size=BATCH, lr=LR)
MU = 0.5


def gradient(w: Array, x: Array, y: NDArray[np.int64]) -> Array:
    """Of the mean cross-entropy of softmax(w[:, :-1] @ x + w[:, -1])."""
    x = np.hstack([x, np.ones((len(x), 1))])
    z = x @ w.T
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    p[np.arange(len(y)), y] -= 1
    mean: Array = p.T @ x / len(y)
    return mean


def transcription(name: str, start: Array, data: list[tuple[Any, Any]], rounds: int) -> Array:
    """The loop of each paper; the state of the world's clients and optimizers is plain arrays."""
    w, c = start.copy(), np.zeros_like(start)
    own = [np.zeros_like(start) for _ in data]
    m, v = np.zeros_like(start), np.full_like(start, 1e-6)
    for t in range(1, rounds + 1):
        drawn = torch.randperm(CLIENTS, generator=torch_rng(SEED, "cohort", "round", t))[:COHORT]
        total = sum(len(data[k][1]) for k in drawn)
        mean, uniform, change = np.zeros_like(w), np.zeros_like(w), np.zeros_like(w)
        for k in sorted(drawn.tolist()):
            x, y = data[k]
            local, steps = w.copy(), 0
            rng = torch_rng(SEED, "batches", "round", t, "client", k)
            for _ in range(EPOCHS):
                order = torch.randperm(len(y), generator=rng).numpy()
                for b in range(math.ceil(len(y) / BATCH)):
                    rows = order[b * BATCH : (b + 1) * BATCH]
                    step = gradient(local, x[rows], y[rows])
                    if name == "fedprox":
                        step += MU * (local - w)
                    if name == "scaffold":
                        step += c - own[k]
                    local -= LR * step
                    steps += 1
            mean += len(y) / total * (local - w)
            uniform += (local - w) / COHORT
            renewed = own[k] - c + (w - local) / (steps * LR)
            change += renewed - own[k]
            own[k] = renewed
        if name == "scaffold":
            w, c = w + uniform, c + change / CLIENTS
        elif name == "fedopt":
            m = 0.9 * m + 0.1 * mean
            v = 0.99 * v + 0.01 * mean**2
            w = w + 0.1 * m / (np.sqrt(v) + 1e-3)
        else:
            w = w + mean
    return w


@pytest.mark.parametrize(
    "method",
    [
        FedAvg(plan=PLAN),
        FedProx(plan=PLAN, mu=MU),
        Scaffold(plan=PLAN),
        FedOpt(plan=PLAN, server_lr=0.1),
    ],
    ids=lambda method: type(method).__name__,
)
def test_three_rounds(run_cell: Callable[..., Any], tiny_task: Task, method: Method) -> None:
    outcome = run_cell(method, seed=SEED, rounds=3)
    networks = Networks.build(models.get("linear"), (1, 4, 4), 3, {}, SEED, torch.device("cpu"))
    layer = networks.start["model"]
    start = np.hstack([layer["head.weight"].numpy(), layer["head.bias"].numpy()[:, None]])
    authors = np.asarray(tiny_task.groups)
    data = [
        (
            tiny_task.train.x.numpy().reshape(60, 16)[authors == f"author {k}"].astype(np.float64),
            tiny_task.train.y.numpy()[authors == f"author {k}"],
        )
        for k in range(CLIENTS)
    ]
    expected = transcription(type(method).__name__.lower(), start.astype(np.float64), data, 3)
    model = outcome.state["model"]
    found = np.hstack([model["head.weight"].numpy(), model["head.bias"].numpy()[:, None]])
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)
    assert np.abs(expected - start).max() > 0.05
    # What the other papers' rules give is far outside the tolerance.
    for other in {"fedavg", "fedprox", "scaffold", "fedopt"} - {type(method).__name__.lower()}:
        assert np.abs(transcription(other, start.astype(np.float64), data, 3) - found).max() > 1e-3
