"""FedDF: the ensemble by hand, three rounds against a transcription, and its traps."""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gptfl_bench.core import groups as g
from gptfl_bench.core.groups import Groups
from gptfl_bench.core.randomness import torch_rng
from gptfl_bench.data.samples import Samples
from gptfl_bench.engine.cohort import Cohort
from gptfl_bench.engine.server import Server
from gptfl_bench.training.distill import outputs
from gptfl_bench.training.fit import Plan
from gptfl_methods.fedavg import FedAvg
from gptfl_methods.feddf import FedDF

RunCell = Callable[..., Any]
Bits = Callable[[Groups], object]
SEED, ROUNDS = 5, 3
PLAN = Plan(epochs=2, batch_size=4, lr=0.2)
SGD = Plan(steps=10, batch_size=8, lr=0.5)
ADAM = Plan(steps=10, batch_size=8, lr=0.05, optimizer="adamw", schedule="cosine", clip_norm=0.05)
CNN: dict[str, Any] = {"model": "cnn_small", "model_args": {"width": 2, "hidden": 8}}
BATCH_NORM = {**CNN, "model_args": {**CNN["model_args"], "norm": "batch"}}
# A linear network would not do: its mean logits are those of the mean network.


@pytest.mark.parametrize("network", [CNN, BATCH_NORM], ids=["plain", "batch norm"])
@pytest.mark.parametrize("weighting", ["uniform", "examples"])
def test_equals_fedavg_with_0_steps(
    run_cell: RunCell, bits: Bits, network: dict[str, Any], weighting: Any
) -> None:
    expected = run_cell(FedAvg(plan=PLAN, weighting=weighting), **network)
    method = FedDF(plan=PLAN, weighting=weighting, distillation=Plan(steps=0))
    assert bits(run_cell(method, **network).state) == bits(expected.state)
    some = dataclasses.replace(method, distillation=SGD)
    assert bits(run_cell(some, **network).state) != bits(expected.state)


def test_takes_all_clients_alike() -> None:
    assert FedDF().weighting == "uniform"


class MeanOfProbabilities(FedDF):
    """The ensemble's probabilities are the mean of the clients' (avg_probs)."""

    def ensemble(self, state: Groups, cohort: Cohort, server: Server, public: Samples) -> Tensor:
        models = [{"model": g.add(state["model"], r["delta"])} for r in cohort.replies]
        softs = [outputs(lambda x, m=m: server.predict(m, x).softmax(1), public) for m in models]  # type: ignore[misc]
        return torch.stack(softs).mean(0)


class ReadsUpdatesAsModels(FedDF):
    """The teachers are the updates without the model they were added to."""

    def ensemble(self, state: Groups, cohort: Cohort, server: Server, public: Samples) -> Tensor:
        zero = {**state, "model": g.zeros_like(state["model"])}
        return super().ensemble(zero, cohort, server, public)


def test_ensemble_by_hand(parabola: Callable[..., Server], catches: Callable[..., None]) -> None:
    """Teachers at w = 1 + 0 and 1 + 2, a sample at 1: logits of class 0 are -1 and -1 - 2^2 / 2.

    Mean logits multiply odds, so those of the ensemble are the geometric mean of e^-1 / (1 - e^-1)
    = 0.58198 and e^-3 / (1 - e^-3) = 0.05240: 0.17463, or 0.14867 as a probability. The mean of
    the probabilities would be 0.20883.
    """
    server = parabola([[1.0], [1.0]], start=(1.0,))
    public = Samples(torch.tensor([[1.0]]), torch.zeros(1, dtype=torch.int64))

    def check(method: FedDF) -> None:
        cohort = Cohort([0, 1], _replies=[])
        for examples, update in ((1, 0.0), (99, 2.0)):
            cohort.add({"delta": {"w": torch.tensor([update])}}, examples, [])
        soft = method.ensemble(method.prepare(server), cohort, server, public)
        assert soft.tolist() == [pytest.approx([0.14867, 0.85133], abs=1e-5)]

    catches(check, FedDF(), MeanOfProbabilities(), ReadsUpdatesAsModels())


def transcription(
    server: Server,
    plan: Plan,
    train: Callable[..., None],
    batches: Callable[..., Any],
    bug: str = "",
) -> nn.Module:
    """The paper's loop in double precision; Adam and its schedule are PyTorch's."""
    x_t = server.new_model(server.start).double()
    public = server.public()
    u = public.batch(torch.arange(len(public)))[0].double()
    for t in range(1, ROUNDS + 1):
        cohort = server.federation.sample_cohort(t, 3)
        teachers, sizes = [], []
        for k in cohort:
            data = server.federation.clients[k]
            y_k = copy.deepcopy(x_t)
            train(y_k, data, PLAN, torch_rng(SEED, "batches", "round", t, "client", k))
            teachers.append(y_k)
            sizes.append(len(data) if bug == "weights by samples" else 1)
        with torch.no_grad():
            soft = torch.stack([y_k(u) for y_k in teachers]).mean(0).softmax(1)
        if bug == "hard labels":
            soft = F.one_hot(soft.argmax(1), 3).double()
        student = copy.deepcopy(x_t)
        if bug != "starts at the last model":
            for p, *own in zip(
                student.parameters(), *(y.parameters() for y in teachers), strict=True
            ):
                p.data = sum(n * o.data for n, o in zip(sizes, own, strict=True)) / sum(sizes)
        adam = plan.optimizer == "adamw"
        optimizer: torch.optim.Optimizer = (torch.optim.Adam if adam else torch.optim.SGD)(
            student.parameters(), plan.lr
        )
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10 if adam else 10**9)
        rng = torch_rng(SEED, "server", "distill", "round", t)
        for rows in batches(len(u), rng, 8, steps=10):
            log_q, p = student(u[rows]).log_softmax(1), soft[rows]
            if bug == "reversed":
                loss = (log_q.exp() * (log_q - p.log())).sum() / len(rows)
            else:
                loss = -(p * log_q).sum() / len(rows)
            if bug == "mean over classes too":
                loss = loss / 3
            optimizer.zero_grad()
            loss.backward()
            if plan.clip_norm:
                nn.utils.clip_grad_norm_(student.parameters(), plan.clip_norm)
            optimizer.step()
            cosine.step()
        x_t = student
    return x_t


@pytest.mark.parametrize("plan", [SGD, ADAM], ids=["sgd", "adam"])
def test_three_rounds(
    run_cell: RunCell,
    server_for: Callable[..., Server],
    trains_locally: Callable[..., None],
    batches: Callable[..., Any],
    plan: Plan,
) -> None:
    method = FedDF(plan=PLAN, distillation=plan)
    found = run_cell(method, seed=SEED, rounds=ROUNDS, **CNN)

    def distance(bug: str = "") -> float:
        server = server_for(method, seed=SEED, **CNN)
        expected = g.trainable(transcription(server, plan, trains_locally, batches, bug))
        return max(float((found.state["model"][n] - t).abs().max()) for n, t in expected.items())

    assert distance() < 1e-5
    bugs = ["weights by samples", "hard labels", "starts at the last model"]
    # Plain steps hardly feel which divergence it is, so near its minimum; Adam no factor on it.
    bugs.append("mean over classes too" if plan is SGD else "reversed")
    for bug in bugs:
        assert distance(bug) > 1e-3, bug


class TeachersInTrainingMode(FedDF):
    """Teachers normalise by the batch and move their statistics."""

    def ensemble(self, state: Groups, cohort: Cohort, server: Server, public: Samples) -> Tensor:
        models = [
            server.new_model({**state, "model": g.add(state["model"], reply["delta"])}).train()
            for reply in cohort.replies
        ]
        return torch.stack([outputs(model, public) for model in models]).mean(0).softmax(1)


def test_modes(run_cell: RunCell, catches: Callable[..., None], spied: nn.Module) -> None:
    def check(method: FedDF) -> None:
        run_cell(method, network=spied, rounds=2)

    fields: dict[str, Any] = {"plan": PLAN, "distillation": SGD}
    catches(check, FedDF(**fields), TeachersInTrainingMode(**fields))


def test_only_the_student_moves_statistics(run_cell: RunCell) -> None:
    """One round with all clients, which take 1, 2, 2, 3, 4 and 5 steps: 17 / 6, so 3, then 10."""
    method = FedDF(plan=dataclasses.replace(PLAN, epochs=1), distillation=SGD)
    outcome = run_cell(method, rounds=1, cohort_size=6, **BATCH_NORM)
    counters = [t for n, t in outcome.state["buffers"].items() if n.endswith("batches_tracked")]
    assert [int(counter) for counter in counters] == [13, 13]
