"""Bugs that published implementations of SCAFFOLD had: each check must catch the bug.

Every test runs one check twice, on the method as it is and on a copy with the bug put in.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from gptfl_bench.core import groups as g
from gptfl_bench.core.groups import Groups
from gptfl_bench.engine.client import Client
from gptfl_bench.engine.cohort import Cohort
from gptfl_bench.engine.server import Server
from gptfl_bench.training.fit import FitResult, Plan
from gptfl_methods.scaffold import Scaffold

MakeServer = Callable[..., Server]
Rounds = Callable[..., Groups]
Catches = Callable[..., None]


class StartsAtWeights(Scaffold):
    """NIID-Bench: the control variates are loaded with the network's weights."""

    def prepare(self, server: Server) -> Groups:
        state = super().prepare(server)
        return {**state, "control": g.combine(torch.clone, state["model"])}


class StartsAtRandom(Scaffold):
    """The server's control variate is drawn."""

    def prepare(self, server: Server) -> Groups:
        state = super().prepare(server)
        return {**state, "control": g.combine(torch.randn_like, state["model"])}


class ClientStartsAtWeights(Scaffold):
    """A client's first control variate is the model it received."""

    def client_update(self, received: Groups, client: Client) -> Groups:
        client.state.setdefault("control", g.combine(torch.clone, received["model"]))
        return super().client_update(received, client)


class CountsEpochs(Scaffold):
    """PFLlib #160, plato #382: tau is the number of epochs."""

    def train(self, model: nn.Module, received: Groups, client: Client) -> FitResult:
        result = super().train(model, received, client)
        return dataclasses.replace(result, lr_sum=self.plan.epochs * self.plan.lr)


class AddsVariates(Scaffold):
    """Plato #382: clients send their control variates, and the server adds them as changes."""

    def client_update(self, received: Groups, client: Client) -> Groups:
        reply = super().client_update(received, client)
        return {**reply, "control_delta": client.state["control"]}


class DividesByCohort(Scaffold):
    """NIID-Bench #12: the change is divided by m instead of K."""

    def aggregate(self, state: Groups, cohort: Cohort, server: Server) -> Groups:
        following = super().aggregate(state, cohort, server)
        mean = cohort.mean("control_delta", "uniform")
        return {**following, "control": g.add(state["control"], mean)}


class WrongDirection(Scaffold):
    """Fed-BioMed #734: the correction's sign is flipped."""

    def correct_gradients(self, model: nn.Module, received: Groups, client: Client) -> None:
        for name, weight in model.named_parameters():
            assert weight.grad is not None
            weight.grad -= received["control"][name] - client.state["control"][name]


class Forgets(Scaffold):
    """FL-bench: a client's control variate is lost after its visit."""

    def client_update(self, received: Groups, client: Client) -> Groups:
        reply = super().client_update(received, client)
        client.state.clear()
        return reply


class WeighsBySamples(Scaffold):
    """Updates are averaged by samples."""

    def aggregate(self, state: Groups, cohort: Cohort, server: Server) -> Groups:
        model = g.add(state["model"], cohort.mean("delta"))
        return {**super().aggregate(state, cohort, server), "model": model}


class CorrectsOnlyTheServers(Scaffold):
    """The client's own control variate is left out of the correction."""

    def correct_gradients(self, model: nn.Module, received: Groups, client: Client) -> None:
        for name, weight in model.named_parameters():
            assert weight.grad is not None
            weight.grad += received["control"][name]


def test_control_variates(
    parabola: MakeServer,
    catches: Catches,
) -> None:
    """Three rounds by hand: some of three clients, an epoch of two steps of size 1/4, start at 1.

    Samples at 5 (four of them) and at -3 (three), batches of 2.
    Round 1, all c zero:
        client 0: 1 -> 2 -> 2.75, gradients -4 and -3, c_0 = -3.5, update 1.75
        client 1: 1 -> 0 -> -0.75, gradients 4 and 3, c_1 = 3.5, update -1.75
        x = 1, c = (-3.5 + 3.5) / 3 = 0
    Round 2 with clients 0 and 2 (two samples at 9, so 1 step):
        client 0: correction c - c_0 = 3.5; w1 = 1 - (-4 + 3.5) / 4 = 1.125,
                  w2 = 1.125 - (-3.875 + 3.5) / 4 = 1.21875; c_0 = (-4 - 3.875) / 2 = -3.9375
        client 2: correction 0; 1 -> 3; c_2 = -8
        x = 1 + (0.21875 + 2) / 2 = 2.109375, c = 0 + (-0.4375 - 8) / 3 = -2.8125
    Round 3 with client 1 alone, x = 2.109375, correction c - c_1 = -2.8125 - 3.5 = -6.3125:
        w1 = 2.109375 - (5.109375 - 6.3125) / 4 = 2.41015625
        w2 = 2.41015625 - (5.41015625 - 6.3125) / 4 = 2.6357421875
        c_1 = (5.109375 + 5.41015625) / 2 = 5.259765625, c = -2.8125 + 1.759765625 / 3
    """

    def check(method: Scaffold) -> None:
        server = parabola([[5.0] * 4, [-3.0] * 3, [9.0] * 2], start=(1.0,))
        state = method.prepare(server)
        assert state["control"]["w"].item() == 0
        found = []
        for number, cohort in ((1, [0, 1]), (2, [0, 2]), (3, [1])):
            server = replace(server, round=number)
            arrived = server.federation.exchange(
                number,
                cohort,
                lambda client_id, state=state: method.downlink(state, client_id),  # type: ignore[misc]
                method.client_update,
            )
            state = method.aggregate(state, arrived, server)
            found += [state["model"]["w"].item(), state["control"]["w"].item()]
        expected = [1.0, 0.0, 2.109375, -2.8125, 2.6357421875, -2.8125 + 1.759765625 / 3]
        assert found == pytest.approx(expected, abs=1e-5)
        own = [server.federation.store.read(k)["control"]["w"].item() for k in (0, 1, 2)]
        assert own == pytest.approx([-3.9375, 5.259765625, -8.0], abs=1e-5)

    plan = Plan(epochs=1, batch_size=2, lr=0.25)
    wrong = (
        StartsAtWeights,
        StartsAtRandom,
        ClientStartsAtWeights,
        CountsEpochs,
        AddsVariates,
        DividesByCohort,
        WrongDirection,
        Forgets,
        CorrectsOnlyTheServers,
    )
    catches(check, Scaffold(plan=plan), *(kind(plan=plan) for kind in wrong))


def test_scaffold_weighs_clients_alike(
    parabola: MakeServer,
    rounds: Rounds,
    catches: Catches,
) -> None:
    """Steps of 1/2 from 0 to 2 and 4 with 1 and 3 samples: the mean is 3, not 3.5."""

    def check(method: Scaffold) -> None:
        state = rounds(method, parabola([[4.0], [8.0] * 3]))
        assert state["model"]["w"].item() == pytest.approx(3.0)

    plan = Plan(lr=0.5, batch_size=8)
    catches(check, Scaffold(plan=plan), WeighsBySamples(plan=plan))


class StepsTimesStart(Scaffold):
    """tau times the first step size, whatever the schedule did."""

    def train(self, model: nn.Module, received: Groups, client: Client) -> FitResult:
        result = super().train(model, received, client)
        return dataclasses.replace(result, lr_sum=result.steps * self.plan.lr)


class ReadsTheRateTooLate(Scaffold):
    """Step sizes are read after the scheduler has moved on."""

    def train(self, model: nn.Module, received: Groups, client: Client) -> FitResult:
        result = super().train(model, received, client)
        late = [self.plan.lr_at(step + 1, len(client.data)) for step in range(result.steps)]
        return dataclasses.replace(result, lr_sum=sum(late))


def test_schedule_and_control_variate(
    parabola: MakeServer,
    rounds: Rounds,
    catches: Catches,
) -> None:
    """Cosine over two steps: 1/4, then 1/8. From 0 with samples at 4 the model goes to 1 and 1.375.

    c_0 is 1.375 over the sum of step sizes, 3/8, negated.
    """

    def check(method: Scaffold) -> None:
        server = parabola([[4.0]])
        rounds(method, server)
        kept = server.federation.store.read(0)["control"]
        assert kept["w"].item() == pytest.approx(-1.375 / 0.375, rel=1e-6)

    plan = Plan(lr=0.25, steps=2, schedule="cosine")
    catches(check, Scaffold(plan=plan), StepsTimesStart(plan=plan), ReadsTheRateTooLate(plan=plan))


@pytest.mark.parametrize("field", ["momentum", "weight_decay"])
def test_option_two_refuses_optimizers_it_is_wrong_for(field: str) -> None:
    """With momentum 0.9 the quotient is up to ten times the mean gradient."""
    plan = Plan(**{field: 0.5})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="option='II' needs plain SGD"):
        Scaffold(plan=plan)
    with pytest.raises(ValueError, match="optimizer='adamw'"):
        Scaffold(plan=Plan(optimizer="adamw"))
    Scaffold(plan=plan, option="I")
