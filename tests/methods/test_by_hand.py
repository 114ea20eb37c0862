"""Rounds worked out by hand, on a model whose gradient at w is w minus the mean of the samples."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from gptfl_bench.core.groups import Groups
from gptfl_bench.engine.cohort import Cohort
from gptfl_bench.engine.method import Method
from gptfl_bench.engine.server import Server
from gptfl_bench.training.fit import Plan
from gptfl_methods.fedavg import FedAvg
from gptfl_methods.fedopt import FedOpt
from gptfl_methods.fedprox import FedProx
from gptfl_methods.scaffold import Scaffold

MakeServer = Callable[..., Server]


def round_of(method: Method, server: Server, state: Groups) -> tuple[Groups, Cohort]:
    """One round with all clients."""
    cohort = server.federation.exchange(
        server.round,
        range(server.num_clients),
        lambda client_id: method.downlink(state, client_id),
        method.client_update,
    )
    return method.aggregate(state, cohort, server), cohort


def scalar(tree: dict[str, torch.Tensor]) -> float:
    (tensor,) = tree.values()
    return tensor.item()


@pytest.mark.parametrize(("weighting", "expected"), [("examples", 3.5), ("uniform", 3.0)])
def test_fedavg_round(parabola: MakeServer, weighting: Any, expected: float) -> None:
    """One step of size 1/2 from 0: the first client goes to 4 / 2 = 2, the second to 8 / 2 = 4.

    With 1 and 3 samples the mean is (1 * 2 + 3 * 4) / 4 = 3.5; with equal weights it is 3.
    """
    server = parabola([[4.0], [8.0, 8.0, 8.0]])
    method = FedAvg(plan=Plan(lr=0.5, batch_size=4), weighting=weighting)
    state, cohort = round_of(method, server, method.prepare(server))
    assert scalar(state["model"]) == pytest.approx(expected, rel=1e-6)
    assert (cohort.examples, cohort.steps) == (4, 2)
    # Both losses are taken before the step: 1 + 16 / 2 = 9 and 1 + 64 / 2 = 33.
    assert cohort.train_loss == pytest.approx((1 * 9 + 3 * 33) / 4)
    # (2^2 + 4^2) / (2 + 4)^2
    assert cohort.gradient_diversity == pytest.approx(20 / 36)


@pytest.mark.parametrize(
    ("mu", "expected"), [(0.0, 3.0), (0.5, 2.5), (1.0, 2.0)], ids=["0", "1/2", "1"]
)
def test_fedprox_round(parabola: MakeServer, mu: float, expected: float) -> None:
    """Two steps of size 1/2 from 0 with samples at 4.

    First step: 0 - (0 - 4) / 2 = 2, the proximal term being zero at its centre.
    Second step: 2 - ((2 - 4) + mu * (2 - 0)) / 2 = 3 - mu.
    """
    server = parabola([[4.0]])
    method = FedProx(plan=Plan(lr=0.5, steps=2), mu=mu)
    state, _ = round_of(method, server, method.prepare(server))
    assert scalar(state["model"]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("mu", "expected"), [(0.0, 3.0), (1.0, 2.0)], ids=["without a term", "with a term"]
)
def test_fedprox_second_round_has_a_new_centre(
    parabola: MakeServer, mu: float, expected: float
) -> None:
    """As above but from 10 with samples at 14: the centre is what was received in this round."""
    server = parabola([[14.0]], start=(10.0,))
    method = FedProx(plan=Plan(lr=0.5, steps=2), mu=mu)
    state, _ = round_of(method, server, method.prepare(server))
    assert scalar(state["model"]) == pytest.approx(10 + expected, rel=1e-6)


def test_fedprox_term_goes_through_momentum(parabola: MakeServer) -> None:
    """Momentum 1/2, steps of 1/2 from 0, samples at 4, mu = 1.

    First: buffer -4, w = 2. Second: gradient (2 - 4) + 2 = 0, buffer -4 / 2 + 0 = -2, w = 3.
    """
    server = parabola([[4.0]])
    method = FedProx(plan=Plan(lr=0.5, steps=2, momentum=0.5), mu=1.0)
    state, _ = round_of(method, server, method.prepare(server))
    assert scalar(state["model"]) == pytest.approx(3.0, rel=1e-6)


@pytest.mark.parametrize(
    ("option", "changes", "control"),
    [("I", (-3.0, 6.0), 1.25), ("II", (-2.6875, 5.1875), 1.125)],
)
def test_scaffold_round(
    parabola: MakeServer,
    option: Any,
    changes: tuple[float, float],
    control: float,
) -> None:
    """Two steps of size 1/4 from 0, c = 1/2, four clients of which two take part, eta_g = 1/2.

    Client 0, samples at 4, c_0 = -1, so each gradient is raised by c - c_0 = 1.5:
        w1 = 0 - (-4 + 1.5) / 4 = 0.625;  w2 = 0.625 - (-3.375 + 1.5) / 4 = 1.09375
        I:  c_0+ = g(0) = -4, a change of -3
        II: c_0+ = -1 - 0.5 - 1.09375 / 0.5 = -3.6875, the mean of -4 and -3.375; change -2.6875
    Client 1, samples at -6, never seen, so c_1 = 0 and each gradient is raised by 0.5:
        w1 = -(6 + 0.5) / 4 = -1.625;  w2 = -1.625 - (4.375 + 0.5) / 4 = -2.84375
        I:  c_1+ = g(0) = 6;  II: c_1+ = -0.5 + 2.84375 / 0.5 = 5.1875
    Server: x = 0.5 * (1.09375 - 2.84375) / 2 = -0.4375, though client 1 has twice the samples.
        I:  c = 0.5 + (-3 + 6) / 4 = 1.25;  II: c = 0.5 + (-2.6875 + 5.1875) / 4 = 1.125
    """
    server = parabola([[4.0], [-6.0, -6.0], [1.0], [1.0]])
    server.federation.store.write(0, {"control": {"w": torch.tensor([-1.0])}}, 0)
    method = Scaffold(plan=Plan(lr=0.25, steps=2), option=option, server_lr=0.5)
    state = method.prepare(server)
    assert scalar(state["control"]) == 0.0
    state["control"] = {"w": torch.tensor([0.5])}
    cohort = server.federation.exchange(
        1, [0, 1], lambda client_id: method.downlink(state, client_id), method.client_update
    )
    following = method.aggregate(state, cohort, server)
    own = [scalar(server.federation.store.read(client)["control"]) for client in (0, 1)]
    assert own == pytest.approx([-1 + changes[0], changes[1]], rel=1e-6)
    assert scalar(following["model"]) == pytest.approx(-0.4375, rel=1e-6)
    assert scalar(following["control"]) == pytest.approx(control, rel=1e-6)


def test_scaffold_divides_by_the_step_sizes_it_used(parabola: MakeServer) -> None:
    """A cosine schedule over two steps uses 1/4 and 1/8.

    From 0 with samples at 4: w1 = 1, w2 = 1 + 3 / 8 = 1.375. The new control variate is the mean
    gradient by step size, (-4 * 1/4 - 3 * 1/8) / (3/8) = -1.375 / 0.375.
    """
    server = parabola([[4.0]])
    method = Scaffold(plan=Plan(lr=0.25, steps=2, schedule="cosine"))
    state, _ = round_of(method, server, method.prepare(server))
    assert scalar(state["model"]) == pytest.approx(1.375, rel=1e-6)
    assert scalar(state["control"]) == pytest.approx(-1.375 / 0.375, rel=1e-6)


def test_scaffold_full_gradient_counts_samples_not_batches(parabola: MakeServer) -> None:
    """Option I over batches of 2 and 1: the gradient at 0 is minus the mean of 3, 3 and 9."""
    server = parabola([[3.0, 3.0, 9.0]])
    method = Scaffold(plan=Plan(lr=0.25, batch_size=2), option="I")
    state, _ = round_of(method, server, method.prepare(server))
    assert scalar(state["control"]) == pytest.approx(-5.0, rel=1e-6)


def step(method: FedOpt, server: Server, deltas: list[float]) -> list[Groups]:
    """The states after each of the given mean updates, sent by one client."""
    states = [method.prepare(server)]
    for round, delta in enumerate(deltas, 1):
        server = replace(server, round=round)
        cohort = Cohort([0])
        cohort.add({"delta": {"w": torch.tensor([delta])}}, 5, [])
        states.append(method.aggregate(states[-1], cohort, server))
    return states


@pytest.mark.parametrize(
    ("fields", "second", "change"),
    [
        ({"optimizer": "adam"}, 0.01000099, 0.01 / (math.sqrt(0.01000099) + 0.001)),
        ({"optimizer": "yogi"}, 0.010001, 0.01 / (math.sqrt(0.010001) + 0.001)),
        ({"optimizer": "adagrad"}, 1.000001, 0.01 / (math.sqrt(1.000001) + 0.001)),
        ({"variant": "torch", "tau": 1e-8}, 0.01, 0.1),
    ],
    ids=["adam", "yogi", "adagrad", "torch's adam"],
)
def test_fedopt_first_step(
    parabola: MakeServer, fields: dict[str, Any], second: float, change: float
) -> None:
    """D = 1 from x = 3 with eta = 0.1, beta1 = 0.9, beta2 = 0.99, tau = 1e-3, v_0 = tau^2 = 1e-6.

    m = 0.1 * D = 0.1, and the step is 0.1 * 0.1 / (sqrt(v) + tau) with
        adam     v = 0.99 * 1e-6 + 0.01 * 1 = 0.01000099                           -> 0.0990
        yogi     v = 1e-6 - 0.01 * 1 * sign(1e-6 - 1) = 1e-6 + 0.01                -> 0.0990
        adagrad  v = 1e-6 + 1                                                      -> 0.00999
        torch    v = 0 + 0.01; corrected m / 0.1 = 1 and v / 0.01 = 1; 0.1 * 1 / 1  -> 0.1
    """
    server = parabola([[4.0]], start=(3.0,))
    method = FedOpt(**{"server_lr": 0.1, "beta1": 0.9, "beta2": 0.99, "tau": 1e-3, **fields})
    _, state = step(method, server, [1.0])
    assert scalar(state["first"]) == pytest.approx(0.1)
    assert scalar(state["second"]) == pytest.approx(second, rel=1e-6)
    assert scalar(state["model"]) - 3 == pytest.approx(change, rel=1e-5)


def test_fedopt_yogi_second_moment_shrinks_when_updates_do(parabola: MakeServer) -> None:
    """v = 1e-6 + 0.01, then D = 0.01: v falls by 0.01 * 0.01^2, where Adam's would lose 1 %."""
    _, _, state = step(FedOpt(optimizer="yogi"), parabola([[4.0]]), [1.0, 0.01])
    assert scalar(state["second"]) == pytest.approx(0.010001 - 1e-6, rel=1e-6)


def test_fedopt_momentum_has_no_damping(parabola: MakeServer) -> None:
    """beta1 = 1/2, eta = 2, D = 1 twice: m = 1, then 1.5; x = 2, then 5."""
    method = FedOpt(optimizer="momentum", beta1=0.5, server_lr=2.0)
    _, first, second = step(method, parabola([[4.0]]), [1.0, 1.0])
    assert (scalar(first["model"]), scalar(second["model"])) == (2.0, 5.0)


def test_fedopt_torch_variant_is_torchs_adam(parabola: MakeServer) -> None:
    """Five rounds of random updates against ``torch.optim.Adam`` fed with minus the update."""
    rng = torch.Generator().manual_seed(0)
    deltas = torch.randn(5, 6, generator=rng) * torch.logspace(-4, 1, 6)
    server = parabola([[4.0]], start=(0.5,) * 6)
    method = FedOpt(variant="torch", server_lr=0.03, beta1=0.8, beta2=0.95, tau=1e-8)
    weights = torch.nn.Parameter(torch.full((6,), 0.5))
    adam = torch.optim.Adam([weights], lr=0.03, betas=(0.8, 0.95), eps=1e-8)
    state = method.prepare(server)
    for round, delta in enumerate(deltas, 1):
        server = replace(server, round=round)
        cohort = Cohort([0])
        cohort.add({"delta": {"w": delta}}, 5, [])
        state = method.aggregate(state, cohort, server)
        weights.grad = -delta
        adam.step()
        torch.testing.assert_close(state["model"]["w"], weights.detach(), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("optimizer", ["momentum", "adagrad", "adam", "yogi"])
@pytest.mark.parametrize("weighting", ["examples", "uniform"])
def test_fedopt_averages_buffers(
    parabola: MakeServer,
    optimizer: Any,
    weighting: Any,
) -> None:
    """Buffers are no business of the server optimizer: 1 and 3 samples at 10 and 20."""
    cohort = Cohort([0, 1])
    for examples, value in ((1, 10.0), (3, 20.0)):
        reply = {"delta": {"w": torch.ones(1)}, "buffers": {"mean": torch.tensor(value)}}
        cohort.add(reply, examples, [])
    server = parabola([[4.0], [4.0]])
    method = FedOpt(optimizer=optimizer, weighting=weighting)
    state = method.aggregate(method.prepare(server), cohort, server)
    assert scalar(state["buffers"]) == (17.5 if weighting == "examples" else 15.0)


def test_aggregation_leaves_the_last_state_alone(
    parabola: MakeServer, bits: Callable[[Groups], object]
) -> None:
    """The states of two rounds share no memory that one of them changes."""
    for method in (FedAvg(), FedProx(), FedOpt(), FedOpt(optimizer="momentum"), Scaffold()):
        server = parabola([[4.0], [8.0]])
        state = method.prepare(server)
        before = bits(state)
        round_of(method, server, state)
        assert bits(state) == before
