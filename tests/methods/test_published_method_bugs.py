"""Bugs that published implementations of these methods had: each check must catch the bug.

Every test runs one check twice, on the method as it is and on a copy with the bug put in.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gptfl_bench.core import groups as g
from gptfl_bench.core.groups import Groups
from gptfl_bench.engine.client import Client
from gptfl_bench.engine.cohort import Cohort
from gptfl_bench.engine.method import Need
from gptfl_bench.engine.server import Server
from gptfl_bench.training.fit import Plan
from gptfl_methods.fedavg import FedAvg
from gptfl_methods.fedopt import FedOpt
from gptfl_methods.fedprox import FedProx

MakeServer = Callable[..., Server]
Rounds = Callable[..., Groups]
Catches = Callable[..., None]
REPLIES = frozenset({Need.REPLIES})


@dataclass(frozen=True)
class WeighsTwice(FedAvg):
    """Clients scale by their samples, and the server does so again."""

    def client_update(self, received: Groups, client: Client) -> Groups:
        reply = super().client_update(received, client)
        return {**reply, "delta": g.combine(lambda d: d * len(client.data), reply["delta"])}


@dataclass(frozen=True)
class DividesByEverybody(FedAvg):
    """The weights of a cohort are shares of all samples of the population."""

    def aggregate(self, state: Groups, cohort: Cohort, server: Server) -> Groups:
        everybody = sum(len(samples) for samples in server.federation.clients)
        share = cohort.examples / everybody
        return {"model": g.add(state["model"], cohort.mean("delta"), share), "buffers": {}}


@dataclass(frozen=True)
class DividesByCount(FedAvg):
    """The sum weighted by samples is divided by the number of clients."""

    def aggregate(self, state: Groups, cohort: Cohort, server: Server) -> Groups:
        share = cohort.examples / len(cohort.clients)
        return {"model": g.add(state["model"], cohort.mean("delta"), share), "buffers": {}}


@dataclass(frozen=True)
class AveragesInPlace(FedAvg):
    """The average is accumulated in the server's own tensors."""

    def aggregate(self, state: Groups, cohort: Cohort, server: Server) -> Groups:
        for name, tensor in cohort.mean("delta").items():
            state["model"][name].add_(tensor)
        return state


@dataclass(frozen=True)
class AveragesIntoTheFirst(FedAvg):
    """The average is accumulated in the first client's weights, which are counted twice."""

    needs = REPLIES

    def aggregate(self, state: Groups, cohort: Cohort, server: Server) -> Groups:
        first, *rest = (
            {n: t + state["model"][n] for n, t in r["delta"].items()} for r in cohort.replies
        )
        sizes = [len(server.federation.clients[k]) for k in cohort.clients]
        for name in first:
            total = first[name]
            for reply, size in zip([first, *rest], sizes, strict=True):
                total += reply[name] * size / cohort.examples
        return {"model": first, "buffers": {}}


def test_aggregation_weights(
    parabola: MakeServer,
    rounds: Rounds,
    catches: Catches,
) -> None:
    """By hand: from 0, two clients of three go to 2 and 4; (1 * 2 + 3 * 4) / 4 = 3.5."""

    def check(method: FedAvg) -> None:
        server = parabola([[4.0], [8.0] * 3, [0.0] * 6], keep_replies=Need.REPLIES in method.needs)
        assert rounds(method, server, cohort=[0, 1])["model"]["w"].item() == pytest.approx(3.5)

    plan = Plan(lr=0.5, batch_size=8)
    catches(
        check,
        FedAvg(plan=plan),
        WeighsTwice(plan=plan),
        DividesByEverybody(plan=plan),
        DividesByCount(plan=plan),
        AveragesInPlace(plan=plan),
        AveragesIntoTheFirst(plan=plan),
        FedAvg(plan=plan, weighting="uniform"),
    )


class Proximal(FedProx):
    """A copy of FedProx whose term's gradient can be exchanged."""

    def correct_gradients(self, model: nn.Module, received: Groups, client: Client) -> None:
        """Leave the gradient of the loss alone."""


class UnsquaredNorm(Proximal):
    """FedAudio: (mu / 2) times the norm, not its square."""

    def loss(
        self, model: nn.Module, x: Tensor, y: Tensor, received: Groups, client: Client
    ) -> Tensor:
        norms = [(p - received["model"][n]).norm() for n, p in model.named_parameters()]
        return super().loss(model, x, y, received, client) + self.mu / 2 * torch.stack(norms).sum()


class WithoutHalf(Proximal):
    """DynaFed's code: mu times the squared norm."""

    factor = 2.0

    def correct_gradients(self, model: nn.Module, received: Groups, client: Client) -> None:
        for name, weight in model.named_parameters():
            assert weight.grad is not None
            weight.grad += self.factor * self.mu * (weight.detach() - received["model"][name])


class HalfTwice(WithoutHalf):
    """The half is applied to the gradient."""

    factor = 0.5


class WrongSign(WithoutHalf):
    """Pushes away from the global model."""

    factor = -1.0


class DriftingCentre(Proximal):
    """The centre is the local model itself, moving along with it."""

    def correct_gradients(self, model: nn.Module, received: Groups, client: Client) -> None:
        for name, weight in model.named_parameters():
            assert weight.grad is not None
            weight.grad += self.mu * (weight.detach() - received["model"][name])
            received["model"][name] = weight.detach().clone()


class DecaysTowardsZero(Proximal):
    """The centre is zero, which is weight decay."""

    def correct_gradients(self, model: nn.Module, received: Groups, client: Client) -> None:
        for weight in model.parameters():
            assert weight.grad is not None
            weight.grad += self.mu * weight.detach()


def test_proximal_term(
    parabola: MakeServer,
    rounds: Rounds,
    catches: Catches,
) -> None:
    """By hand: three steps of 1/2 from 10 with samples at 14 and mu = 1/2.

    Offsets from 10: 2; 2 + (2 - 1) / 2 = 2.5; 2.5 + (1.5 - 1.25) / 2 = 2.625.
    """

    def check(method: FedProx) -> None:
        state = rounds(method, parabola([[14.0]], start=(10.0,)))
        assert state["model"]["w"].item() == pytest.approx(12.625, rel=1e-6)

    plan = Plan(lr=0.5, steps=3)
    wrong = (UnsquaredNorm, WithoutHalf, HalfTwice, WrongSign, DriftingCentre, DecaysTowardsZero)
    catches(check, FedProx(plan=plan, mu=0.5), *(kind(plan=plan, mu=0.5) for kind in wrong))


class DescendsTheUpdate(FedOpt):
    """The mean update is taken for a gradient."""

    def aggregate(self, state: Groups, cohort: Cohort, server: Server) -> Groups:
        turned = Cohort(cohort.clients)
        turned.add({"delta": g.combine(torch.neg, cohort.mean("delta"))}, 1, [])
        return super().aggregate(state, turned, server)


class RebuildsMoments(FedOpt):
    """The server optimizer is made anew in each round."""

    def aggregate(self, state: Groups, cohort: Cohort, server: Server) -> Groups:
        fresh = self.prepare(server)
        state = {**state, "first": fresh["first"], "second": fresh["second"]}
        return super().aggregate(state, cohort, server)


class MultipliesRates(FedOpt):
    """The server's step size is multiplied by the clients'."""

    def aggregate(self, state: Groups, cohort: Cohort, server: Server) -> Groups:
        slow = dataclasses.replace(self, server_lr=self.server_lr * self.plan.lr)
        return FedOpt.aggregate(slow, state, cohort, server)


class TauInsideTheRoot(FedOpt):
    """sqrt(v + tau) instead of sqrt(v) + tau."""

    def aggregate(self, state: Groups, cohort: Cohort, server: Server) -> Groups:
        following = super().aggregate(state, cohort, server)
        model = g.combine(
            lambda x, m, v: x + self.server_lr * m / torch.sqrt(v + self.tau),
            state["model"],
            following["first"],
            following["second"],
        )
        return {**following, "model": model}


@pytest.mark.parametrize("optimizer", ["adam", "yogi", "adagrad", "momentum"])
def test_server_optimizer(
    parabola: MakeServer,
    optimizer: Any,
    rounds: Rounds,
    catches: Catches,
) -> None:
    """By hand: clients step by 1/2 from 0 with samples at 2, so D = 1, then D = (2 - x) / 2.

    eta = 0.1, beta1 = 0.9, beta2 = 0.99, tau = 0.1, v_0 = 0.01.
    """

    def expected() -> float:
        x, m, v = 0.0, 0.0, 0.01
        for _ in range(2):
            d = (2 - x) / 2
            if optimizer == "momentum":
                m = 0.9 * m + d
                x += 0.1 * m
                continue
            m = 0.9 * m + 0.1 * d
            sign = (v > d * d) - (v < d * d)
            v = {
                "adam": 0.99 * v + 0.01 * d * d,
                "yogi": v - 0.01 * d * d * sign,
                "adagrad": v + d * d,
            }[optimizer]
            x += 0.1 * m / (v**0.5 + 0.1)
        return x

    def check(method: FedOpt) -> None:
        state = rounds(method, parabola([[2.0]]), count=2)
        assert state["model"]["w"].item() == pytest.approx(expected(), rel=1e-5)

    fields = {"plan": Plan(lr=0.5), "optimizer": optimizer, "server_lr": 0.1, "tau": 0.1}
    wrong = [DescendsTheUpdate, RebuildsMoments, MultipliesRates]
    if optimizer != "momentum":
        wrong.append(TauInsideTheRoot)
    catches(check, FedOpt(**fields), *(kind(**fields) for kind in wrong))


class FirstClientsStatistics(FedAvg):
    """The statistics of batch normalisation are the first client's."""

    needs = REPLIES

    def aggregate(self, state: Groups, cohort: Cohort, server: Server) -> Groups:
        return {**super().aggregate(state, cohort, server), "buffers": cohort.replies[0]["buffers"]}


class CountersAsFloats(FedAvg):
    """Counters come back as fractions."""

    def aggregate(self, state: Groups, cohort: Cohort, server: Server) -> Groups:
        total = {n: t.double() / 2 for n, t in cohort.sum("buffers").items()}
        return {**super().aggregate(state, cohort, server), "buffers": total}


def test_statistics_of_batch_normalisation(
    parabola: MakeServer,
    catches: Catches,
) -> None:
    """1 and 3 samples: means 10 and 20 give 17.5; counters 4 and 7 give 6.25, so 6."""

    def check(method: FedAvg) -> None:
        server = parabola([[4.0], [8.0] * 3])
        replies: list[Groups] | None = [] if Need.REPLIES in method.needs else None
        cohort = Cohort([0, 1], _replies=replies)
        for size, mean, count in ((1, 10.0, 4), (3, 20.0, 7)):
            buffers = {"mean": torch.tensor([mean]), "count": torch.tensor(count)}
            cohort.add({"delta": {"w": torch.zeros(1)}, "buffers": buffers}, size, [])
        buffers = method.aggregate(method.prepare(server), cohort, server)["buffers"]
        assert buffers["mean"].tolist() == [17.5]
        assert buffers["count"].dtype == torch.int64
        assert buffers["count"].item() == 6

    catches(check, FedAvg(), FirstClientsStatistics(), CountersAsFloats())
    check(FedProx())
    check(FedOpt())
