"""MOON: the contrastive loss by hand, three rounds against a transcription, and its traps."""

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gptfl_bench.core import groups as g
from gptfl_bench.core.groups import Groups
from gptfl_bench.core.randomness import torch_rng
from gptfl_bench.engine.client import Client
from gptfl_bench.engine.server import Server
from gptfl_bench.training.fit import FitResult, Plan
from gptfl_methods.fedavg import FedAvg
from gptfl_methods.gptfl import GptFl
from gptfl_methods.moon import Moon

RunCell = Callable[..., Any]
Bits = Callable[[Groups], object]
SEED, ROUNDS, MU, T = 5, 4, 2.0, 0.5
PLAN = Plan(epochs=2, batch_size=4, lr=0.2)
WITH_ALL = Plan(
    epochs=2, batch_size=4, momentum=0.9, weight_decay=1e-3, clip_norm=1.0, schedule="cosine"
)
CNN: dict[str, Any] = {"model": "cnn_small", "model_args": {"width": 2, "hidden": 4}}
BATCH_NORM = {**CNN, "model_args": {**CNN["model_args"], "norm": "batch"}}


class SameNetwork(FedAvg):
    """FedAvg on MOON's network."""

    def network(self, template: nn.Module) -> nn.Module:
        return Moon(projection=5).network(template)


@pytest.mark.parametrize("network", [CNN, BATCH_NORM], ids=["plain", "batch norm"])
@pytest.mark.parametrize("plan", [PLAN, WITH_ALL], ids=["steps", "with everything"])
@pytest.mark.parametrize(("fedavg", "projection"), [(FedAvg, 0), (SameNetwork, 5)])
def test_equals_fedavg_with_mu_0(
    run_cell: RunCell,
    bits: Bits,
    network: dict[str, Any],
    plan: Plan,
    fedavg: type[FedAvg],
    projection: int,
) -> None:
    expected = run_cell(fedavg(plan=plan), rounds=3, **network)
    found = run_cell(Moon(plan=plan, mu=0.0, projection=projection), rounds=3, **network)
    assert bits(found.state) == bits(expected.state)
    other = run_cell(Moon(plan=plan, mu=5.0, projection=projection), rounds=3, **network)
    assert bits(other.state) != bits(expected.state)


def test_contrastive_loss_by_hand() -> None:
    """Cosines 1 and 0 at T = 1/2: -log(e^2 / (e^2 + e^0)) = log(1 + e^-2).

    Cosines -1 and 0: log(1 + e^2). Cosines that agree: log 2. Lengths don't matter.
    """
    method = Moon(temperature=0.5)
    z = torch.tensor([[1.0, 0.0], [5.0, 0.0], [0.0, 0.1]])
    near = torch.tensor([[2.0, 0.0], [-1.0, 0.0], [1.0, 0.0]])
    far = torch.tensor([[0.0, 3.0], [0.0, 1.0], [7.0, 0.0]])
    expected = [math.log1p(math.exp(-2)), math.log1p(math.exp(2)), math.log(2)]
    for row, value in enumerate(expected):
        # A batch of one keeps its batch axis.
        one = slice(row, row + 1)
        assert method.contrast(z[one], near[one], far[one]).item() == pytest.approx(value)
    assert method.contrast(z, near, far).item() == pytest.approx(sum(expected) / 3)
    warm = Moon(temperature=5.0).contrast(z[:1], near[:1], far[:1])
    assert warm.item() == pytest.approx(math.log1p(math.exp(-1 / 5)))


def representation(net: nn.Module, x: Tensor, bug: str) -> Tensor:
    """The projection; with a bug what other code compares: features before it, or logits."""
    if bug == "features":
        return F.relu(net.encoder[1](x.flatten(1)))  # type: ignore[index, operator]
    return net(x) if bug == "logits" else net.encoder(x)  # type: ignore[operator, no-any-return]


def transcription(server: Server, batches: Callable[..., Any], bug: str = "") -> nn.Module:
    """The paper's loop in double precision, on the cohorts and batches of the cell."""
    x_t = server.new_model(server.start).double()
    previous: dict[int, nn.Module] = {}
    if bug == "random start":
        torch.manual_seed(3)
        for k in range(6):
            previous[k] = copy.deepcopy(x_t)
            previous[k].load_state_dict({n: torch.randn_like(t) for n, t in x_t.named_parameters()})
    for t in range(1, ROUNDS + 1):
        cohort = server.federation.sample_cohort(t, 3)
        total = sum(len(server.federation.clients[k]) for k in cohort)
        mean = [torch.zeros_like(p) for p in x_t.parameters()]
        for k in cohort:
            data = server.federation.clients[k]
            y_k = copy.deepcopy(x_t)
            sgd = torch.optim.SGD(y_k.parameters(), PLAN.lr)
            rng = torch_rng(SEED, "batches", "round", t, "client", k)
            for rows in batches(len(data), rng, PLAN.batch_size, epochs=PLAN.epochs):
                x, y = data.batch(rows)
                x = x.double()
                loss = F.cross_entropy(y_k(x), y)
                if k in previous:
                    z = representation(y_k, x, bug)
                    with torch.no_grad():
                        z_g = representation(x_t, x, bug)
                        z_p = representation(previous[k], x, bug)
                    heat = 1.0 if bug == "no temperature" else T
                    to_g = torch.exp((z * z_g).sum(1) / (z.norm(dim=1) * z_g.norm(dim=1)) / heat)
                    to_p = torch.exp((z * z_p).sum(1) / (z.norm(dim=1) * z_p.norm(dim=1)) / heat)
                    if bug == "turned round":
                        to_g, to_p = to_p, to_g
                    loss = loss - MU * torch.log(to_g / (to_g + to_p)).mean()
                sgd.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                sgd.step()
            previous[k] = x_t if bug == "keeps what it received" else y_k
            for total_p, p in zip(mean, y_k.parameters(), strict=True):
                total_p += len(data) / total * p.detach()
        x_t = copy.deepcopy(x_t)
        for p, value in zip(x_t.parameters(), mean, strict=True):
            p.data = value
    return x_t


def test_four_rounds(
    run_cell: RunCell, server_for: Callable[..., Server], batches: Callable[..., Any]
) -> None:
    """Batches of one among them: a client of five samples makes batches of four and one."""
    method = Moon(plan=PLAN, mu=MU, temperature=T, projection=5)
    found = run_cell(method, seed=SEED, rounds=ROUNDS)
    server = server_for(method, seed=SEED)
    visits = [k for t in range(1, ROUNDS + 1) for k in server.federation.sample_cohort(t, 3)]
    assert 3 < len(set(visits)) < len(visits), "some come again, some come late"

    def distance(bug: str = "") -> float:
        expected = g.trainable(transcription(server, batches, bug))
        return max(float((found.state["model"][n] - t).abs().max()) for n, t in expected.items())

    assert distance() < 1e-5
    bugs = ["features", "logits", "random start", "no temperature", "turned round"]
    for bug in [*bugs, "keeps what it received"]:
        assert distance(bug) > 1e-3, bug


def test_a_first_visit_has_no_term(run_cell: RunCell, bits: Bits) -> None:
    """All six clients take part: the term shows from round 2 on, and its loss is no constant."""
    for rounds, same in ((1, True), (2, False)):
        runs = [
            run_cell(Moon(plan=PLAN, mu=mu, projection=5), rounds=rounds, cohort_size=6)
            for mu in (0.0, 5.0)
        ]
        assert (bits(runs[0].state) == bits(runs[1].state)) is same
        # A previous model that is the received one would add mu * log 2.
        assert (runs[0].untimed[-2] == runs[1].untimed[-2]) is same


def test_clients_keep_what_they_ended_with(run_cell: RunCell) -> None:
    """With all clients in the cohort, the mean of what they keep is the new global model."""
    outcome = run_cell(Moon(plan=PLAN), rounds=2, cohort_size=6, **BATCH_NORM)
    sizes = torch.tensor([3.0, 5, 8, 11, 14, 19]) / 60
    for group, kept in (("model", "previous"), ("buffers", "previous_buffers")):
        for name, tensor in outcome.state[group].items():
            own = torch.stack([outcome.clients[k][kept][name].float() for k in range(6)])
            mean = torch.tensordot(sizes, own, 1)
            if not tensor.is_floating_point():
                mean = mean.round()
            torch.testing.assert_close(tensor.float(), mean, atol=1e-5, rtol=0)
            if name == "head.weight":
                assert (own[0] - own[1]).abs().max() > 1e-3


class Patched(Moon):
    """Trains while a part of PyTorch is replaced."""

    place: Any = nn.Module
    name = "eval"
    other: Any = staticmethod(lambda module: module)

    def train(self, model: nn.Module, received: Groups, client: Client) -> FitResult:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.place, self.name, self.other)
            return super().train(model, received, client)


class InTrainingMode(Patched):
    """The global and the previous model update their statistics and drop features."""


class WithGradients(Patched):
    """Gradients of the global and the previous model are computed for nothing."""

    place, name, other = torch, "no_grad", staticmethod(torch.enable_grad)


@pytest.mark.parametrize("projection", [0, 5])
def test_modes(
    run_cell: RunCell, catches: Callable[..., None], spied: nn.Module, projection: int
) -> None:
    def check(method: Moon) -> None:
        run_cell(method, network=spied, rounds=2, cohort_size=6)

    fields: dict[str, Any] = {"plan": PLAN, "projection": projection}
    catches(check, Moon(**fields), InTrainingMode(**fields), WithGradients(**fields))


def test_projection_stands_between_encoder_and_classifier(
    server_for: Callable[..., Server],
) -> None:
    """16 pixels -> 16 -> ReLU -> 7 -> 3, and the encoder starts as everybody's."""
    start = server_for(Moon(projection=7), **BATCH_NORM).start["model"]
    plain = server_for(FedAvg(), **BATCH_NORM).start["model"]
    added = {n: list(t.shape) for n, t in start.items() if not n.startswith("encoder.0.")}
    assert added == {
        "encoder.1.weight": [4, 4],
        "encoder.1.bias": [4],
        "encoder.3.weight": [7, 4],
        "encoder.3.bias": [7],
        "head.weight": [3, 7],
        "head.bias": [3],
    }
    for name, tensor in plain.items():
        if name.startswith("encoder."):
            assert torch.equal(start[name.replace("encoder.", "encoder.0.", 1)], tensor)
    without = server_for(Moon(projection=0), **BATCH_NORM).start["model"]
    assert without.keys() == plain.keys()
    assert all(torch.equal(without[name], tensor) for name, tensor in plain.items())


def test_the_task_stays_the_same(run_cell: RunCell) -> None:
    """The record has the task's network, which all methods share, and the one with the head."""
    model = run_cell(Moon(plan=PLAN, projection=7), rounds=0).cell.record["model"]
    assert model["parameters"] == 16 * 3 + 3
    assert model["method_parameters"] == (16 * 16 + 16) + (16 * 7 + 7) + (7 * 3 + 3)


def test_warm_start_is_trained_with_the_projection_head(run_cell: RunCell, tmp_path: Path) -> None:
    """Its weights are not mistaken for those of another architecture in the shared cache."""
    pretrain = Plan(epochs=1, batch_size=8)
    inners = [FedAvg(plan=PLAN), *(Moon(plan=PLAN, projection=p) for p in (5, 7))]
    for inner in inners:
        method = GptFl(inner=inner, pretrain=pretrain)
        outcome = run_cell(method, rounds=1, cache=tmp_path / "cache")
        assert outcome.cell.ending.status == "finished"
        start = run_cell(method, rounds=0, cache=tmp_path / "cache").state["model"]
        cold = run_cell(inner, rounds=0).state["model"]
        assert all(not torch.equal(start[name], tensor) for name, tensor in cold.items())


@pytest.mark.parametrize(
    ("field", "value"), [("mu", -1.0), ("mu", math.nan), ("temperature", 0.0), ("projection", -1)]
)
def test_impossible_values_are_refused(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"{field}={value} must be"):
        Moon(**{field: value})


def test_networks_without_features_are_refused(run_cell: RunCell) -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    deep = nn.Sequential()
    deep.encoder, deep.head = nn.Flatten(), nn.Sequential(nn.Linear(16, 3))
    for network in (flat, deep):
        ending = run_cell(Moon(plan=PLAN), network=network).cell.ending
        assert ending.status == "refused"
        assert "an encoder and a linear head" in ending.reason
