"""Bugs of published training loops, put into this engine: each check must catch its bug."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gptfl_bench.core import randomness
from gptfl_bench.core.groups import Groups, Tree
from gptfl_bench.data.samples import Samples
from gptfl_bench.data.task import Task
from gptfl_bench.engine.client import Client
from gptfl_bench.engine.networks import Networks
from gptfl_bench.engine.server import Server
from gptfl_bench.training import evaluate as evaluation
from gptfl_bench.training import fit
from gptfl_bench.training.descent import AdamW, Sgd
from gptfl_bench.training.fit import Plan, cross_entropy
from gptfl_methods.fedavg import FedAvg

MakeServer = Callable[..., Server]
RANDPERM, SPLIT = torch.randperm, torch.split


def fails(check: Callable[[], None]) -> None:
    with pytest.raises(AssertionError):
        check()


def visits(server: Server, method: FedAvg, state: Groups, round: int) -> dict[int, Groups]:
    """Replies of all clients in one round."""
    replies = {}

    def work(received: Groups, client: Client) -> Groups:
        replies[client.id] = method.client_update(received, client)
        return replies[client.id]

    server.federation.exchange(
        round, range(server.num_clients), lambda k: method.downlink(state, k), work
    )
    return replies


def test_cohorts_are_drawn_without_replacement(
    parabola: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EasyFL draws a client twice; in 60 rounds of 4 out of 6 that can't stay unseen."""

    def check() -> None:
        server = parabola([[1.0]] * 6)
        cohorts = [server.federation.sample_cohort(round, 4) for round in range(1, 61)]
        assert all(len(set(cohort)) == 4 for cohort in cohorts)
        assert all(cohort == sorted(cohort) for cohort in cohorts)
        assert len({tuple(cohort) for cohort in cohorts}) == 15, "all of 6 choose 4 must occur"
        counts = [sum(k in cohort for cohort in cohorts) for k in range(6)]
        assert max(counts) - min(counts) < 25, "each client has 40 visits on average"
        assert server.federation.sample_cohort(1, 6) == list(range(6))

    check()
    with monkeypatch.context() as patch:
        patch.setattr(
            torch, "randperm", lambda n, generator: torch.randint(n, (n,), generator=generator)
        )
        fails(check)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "randperm", lambda n, generator: torch.arange(n))
        fails(check)


def test_batches_are_shuffled_anew_in_each_pass_and_round(
    parabola: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FedGen #7: the baseline's loader never shuffled."""

    def check() -> None:
        server = parabola([[float(value) for value in range(12)]] * 2)
        orders: dict[tuple[int, int], list[float]] = {}

        class Watches(FedAvg):
            def loss(  # type: ignore[no-untyped-def]
                self, model: nn.Module, x: Tensor, y: Tensor, received, client
            ) -> Tensor:
                orders.setdefault((client.round, client.id), []).extend(x.flatten().tolist())
                return cross_entropy(model, x, y)

        method = Watches(plan=Plan(epochs=2, batch_size=4, lr=0.01))
        for round in (1, 2):
            visits(server, method, method.prepare(server), round)
        passes = [tuple(seen[i : i + 12]) for seen in orders.values() for i in (0, 12)]
        assert len(passes) == 8
        assert all(sorted(seen) == list(range(12)) for seen in passes)
        assert len(set(passes)) == 8
        assert tuple(range(12)) not in passes

    check()
    with monkeypatch.context() as patch:
        patch.setattr(torch, "randperm", lambda n, generator: torch.arange(n))
        fails(check)
    with monkeypatch.context() as patch:
        # Shuffled once, and the same in each round.
        patch.setattr(
            torch,
            "randperm",
            lambda n, generator: RANDPERM(n, generator=torch.Generator().manual_seed(0)),
        )
        fails(check)


class OneModelForAll(Networks):
    """FedML #115: the clients of a round share a model, each going on from the one before."""

    def new(self, groups: Mapping[str, Tree]) -> nn.Module:
        return self._template.train()


class LoadsWithoutCopy(Networks):
    """A network whose parameters are the received tensors themselves."""

    def new(self, groups: Mapping[str, Tree]) -> nn.Module:
        model = copy.deepcopy(self._template)
        for name, parameter in model.named_parameters():
            parameter.data = groups["model"][name]
        return model.train()


def test_every_client_starts_from_the_same_weights(parabola: MakeServer) -> None:
    def check(kind: type[Networks]) -> None:
        server = parabola([[4.0], [8.0], [-3.0]])
        server.federation.networks = kind(server.networks._template, torch.device("cpu"))
        starts = []

        class Watches(FedAvg):
            def client_update(self, received: Groups, client: Client) -> Groups:
                starts.append(
                    {
                        n: p.detach().clone()
                        for n, p in client.new_model(received).named_parameters()
                    }
                )
                reply = super().client_update(received, client)
                assert reply["delta"]["w"].abs() > 0, "the received weights must stay as they were"
                return reply

        method = Watches(plan=Plan(steps=2, lr=0.5))
        for round, start in ((1, 0.0), (2, 1.5)):
            state: Groups = {"model": {"w": torch.tensor([start])}}
            visits(server, method, state, round)
        found = [tree["w"].item() for tree in starts]
        assert found == [0.0] * 3 + [1.5] * 3

    check(Networks)
    for kind in (OneModelForAll, LoadsWithoutCopy):
        with pytest.raises(AssertionError):
            check(kind)


@pytest.mark.parametrize("fields", [{"momentum": 0.9}, {"optimizer": "adamw", "lr": 0.05}])
def test_client_optimizers_are_new_at_each_visit(
    parabola: MakeServer, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
) -> None:
    """fluke #16: the same client with the same model in the same round sends the same again."""
    plan = Plan(**{"steps": 3, "lr": 0.2, **fields})

    def check() -> None:
        server = parabola([[4.0], [8.0]])
        method = FedAvg(plan=plan)
        state = method.prepare(server)
        first = visits(server, method, state, 1)
        visits(server, method, {"model": {"w": torch.tensor([50.0])}}, 2)
        again = visits(server, method, state, 1)
        for client, reply in first.items():
            assert torch.equal(reply["delta"]["w"], again[client]["delta"]["w"])

    check()
    make = fit._optimizer
    kept: list[Any] = []

    def survives(parameters: list[nn.Parameter], plan: Plan) -> Any:
        optimizer = make(parameters, plan)
        if kept and isinstance(optimizer, AdamW):
            optimizer._adamw.load_state_dict(copy.deepcopy(kept[-1]._adamw.state_dict()))
        elif kept and isinstance(optimizer, Sgd):
            optimizer._velocities = copy.deepcopy(kept[-1]._velocities)
        kept.append(optimizer)
        return optimizer

    monkeypatch.setattr(fit, "_optimizer", survives)
    fails(check)


def test_a_seed_changes_everything_it_should(
    run_cell: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A seed that only changes some streams, or none, makes repetitions that are no repetitions."""

    def check() -> None:
        runs = [run_cell(FedAvg(plan=Plan(batch_size=4)), seed=seed) for seed in (0, 1, 2)]
        starts = [run.cell.evaluations[0].loss for run in runs]
        assert len(set(starts)) == 3, "start weights"
        cohorts = [
            str([event.clients for event in run.cell.events if hasattr(event, "clients")])
            for run in runs
        ]
        assert len(set(cohorts)) == 3, "cohorts"
        orders = [
            RANDPERM(20, generator=randomness.torch_rng(s, "batches", "round", 1, "client", 0))
            for s in (0, 1, 2)
        ]
        assert len({tuple(order.tolist()) for order in orders}) == 3, "batch order"
        partitions = {run.cell.record["partition"]["sha256"] for run in runs}
        assert len(partitions) == 1, "the natural partition has no seed"

    check()
    address = randomness.address_seed
    with monkeypatch.context() as patch:
        patch.setattr(randomness, "address_seed", lambda seed, *names: address(0, *names))
        fails(check)
    for dead in ("start", "cohort", "batches"):
        with monkeypatch.context() as patch:
            patch.setattr(
                randomness,
                "address_seed",
                lambda seed, *names, dead=dead: address(0 if dead in names else seed, *names),
            )
            fails(check)


def test_a_short_last_batch_is_kept(
    parabola: MakeServer, tiny_task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients smaller than a batch train, and a test set of any size is counted whole."""

    def check() -> None:
        server = parabola([[4.0] * 3, [8.0] * 5, [2.0] * 8])
        method = FedAvg(plan=Plan(epochs=2, batch_size=4, lr=0.1))
        state = method.prepare(server)
        cohort = server.federation.exchange(
            1, range(3), lambda k: method.downlink(state, k), method.client_update
        )
        # 3, 5 and 8 samples make 1, 2 and 2 batches.
        assert (cohort.steps, cohort.drawn) == (2 * (1 + 2 + 2), 2 * (3 + 5 + 8))
        scores = [
            evaluation.evaluate(lambda x: x.flatten(1)[:, :3], tiny_task.test, size)
            for size in (1, 7, 30, 1000)
        ]
        assert [score.examples for score in scores] == [30] * 4
        assert len({str(score.confusion.tolist()) for score in scores}) == 1

    check()

    def drops_last(tensor: Tensor, size: int) -> tuple[Tensor, ...]:
        return tuple(part for part in SPLIT(tensor, size) if len(part) == size)

    monkeypatch.setattr(torch, "split", drops_last)
    monkeypatch.setattr(Plan, "batches", lambda self, examples: examples // self.batch_size)
    fails(check)


def test_evaluation_does_not_change_the_model(run_cell: Callable[..., Any]) -> None:
    """Testing more often leaves statistics and weights as they are."""
    from gptfl_bench.cells.settings import EvaluationSettings

    fields = {
        "model": "cnn_small",
        "model_args": {"norm": "batch", "width": 2, "hidden": 4},
        "rounds": 4,
    }
    method = FedAvg(plan=Plan(batch_size=4))
    often = run_cell(method, **fields)
    rarely = run_cell(method, **fields, evaluation=EvaluationSettings(every=3))
    assert often.bits == rarely.bits
    assert [e.round for e in rarely.cell.evaluations] == [0, 3, 4]
    assert rarely.cell.evaluations[-1].loss == often.cell.evaluations[-1].loss


def test_samples_of_one_client_never_reach_another(tiny_task: Task) -> None:
    """A view draws from its own rows only."""
    view = tiny_task.train.select(torch.tensor([3, 9, 27])).select(torch.tensor([2, 0]))
    x, y = view.batch(torch.tensor([0, 1]))
    assert torch.equal(x, tiny_task.train.x[[27, 3]])
    assert torch.equal(y, tiny_task.train.y[[27, 3]])
    assert torch.equal(view.labels, y)
    assert isinstance(view, Samples)
