"""DS-FL: ERA by hand, four rounds against a transcription, what is sent, and its traps."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gptfl_bench.core import groups as g
from gptfl_bench.core.groups import Groups
from gptfl_bench.core.randomness import torch_rng
from gptfl_bench.engine.server import Server
from gptfl_bench.training.fit import Plan
from gptfl_methods.dsfl import DsFl
from gptfl_methods.gptfl import GptFl

RunCell = Callable[..., Any]
Bits = Callable[[Groups], object]
SEED, ROUNDS, OPEN = 5, 4, 8
PLAN = Plan(epochs=2, batch_size=4, lr=0.2)
DISTILL = Plan(epochs=3, batch_size=3, lr=0.3)
P = 16 * 3 + 3


def small(**fields: Any) -> DsFl:
    return DsFl(**{"plan": PLAN, "distillation": DISTILL, "open_per_round": OPEN, **fields})


def test_era_by_hand() -> None:
    """[0.6, 0.4] at T = 0.1 is softmax([6, 4]) = 1 / (1 + e^-2) = 0.8808; uniform stays uniform.

    0.4 among 100 classes, the rest even, falls to e^4 / (e^4 + 99 e^(0.6 / 9.9)) = 0.3418.
    """
    method = DsFl()
    mean = torch.tensor([[0.6, 0.4], [0.5, 0.5]])
    assert method.soft_labels(mean)[0].tolist() == pytest.approx([0.8808, 0.1192], abs=1e-4)
    assert method.soft_labels(mean)[1].tolist() == pytest.approx([0.5, 0.5])
    many = torch.full((1, 100), 0.6 / 99)
    many[0, 7] = 0.4
    assert method.soft_labels(many)[0, 7].item() == pytest.approx(0.3418, abs=1e-4)
    assert torch.equal(DsFl(aggregation="mean").soft_labels(mean), mean)


def transcription(
    server: Server,
    method: DsFl,
    train: Callable[..., None],
    batches: Callable[..., Any],
    bug: str = "",
) -> tuple[nn.Module, dict[int, nn.Module]]:
    """The paper's loop in double precision; returns the server's model and the clients'."""
    start = server.new_model(server.start).double()
    public = server.public()
    u = public.batch(torch.arange(len(public)))[0].double()
    owned: dict[int, nn.Module] = {}
    x_t = copy.deepcopy(start)
    last, q = torch.empty(0, dtype=torch.int64), torch.empty(0, 3).double()

    def distil(model: nn.Module, rows: torch.Tensor, rng: torch.Generator) -> None:
        sgd = torch.optim.SGD(model.parameters(), DISTILL.lr)
        target = q.softmax(1) if bug == "softmax twice" else q
        for batch in batches(len(rows), rng, DISTILL.batch_size, epochs=DISTILL.epochs):
            sgd.zero_grad()
            F.cross_entropy(model(u[rows[batch]]), target[batch]).backward()  # type: ignore[no-untyped-call]
            sgd.step()

    for t in range(1, ROUNDS + 1):
        drawing = torch_rng(SEED, "server", "open", "round", t - 1)
        following = torch.randperm(len(u), generator=drawing)[:OPEN].sort().values
        cohort = server.federation.sample_cohort(t, 3)
        sent, sizes = [], []
        for k in cohort:
            data = server.federation.clients[k]
            base = x_t if bug == "sends the model" else start
            fresh = bug in ("forgets", "sends the model")
            y_k = copy.deepcopy(base if fresh else owned.get(k, base))
            if t > 1 and bug != "clients don't distil":
                rows = following if bug == "labels of other samples" else last
                distil(y_k, rows, torch_rng(SEED, "distill", "round", t, "client", k))
            train(y_k, data, PLAN, torch_rng(SEED, "batches", "round", t, "client", k))
            owned[k] = y_k
            with torch.no_grad():
                logits = y_k(u[following])
            sent.append(logits if bug == "averages logits" else logits.softmax(1))
            sizes.append(len(data) if bug == "weights by samples" else 1)
        p = sum(n * s for n, s in zip(sizes, sent, strict=True)) / sum(sizes)
        assert isinstance(p, torch.Tensor)
        if bug == "averages logits":
            p = p.softmax(1)
        heat = 1.0 if bug == "T = 1" else method.temperature
        q = p if method.aggregation == "mean" else torch.exp(p / heat)
        q = q / q.sum(1, keepdim=True)
        last = following
        distil(x_t, last, torch_rng(SEED, "server", "distill", "round", t))
    return x_t, owned


@pytest.mark.parametrize("aggregation", ["era", "mean"])
def test_four_rounds(
    run_cell: RunCell,
    server_for: Callable[..., Server],
    trains_locally: Callable[..., None],
    batches: Callable[..., Any],
    aggregation: Any,
) -> None:
    method = small(aggregation=aggregation)
    found = run_cell(method, seed=SEED, rounds=ROUNDS)
    server = server_for(method, seed=SEED)
    visits = [k for t in range(1, ROUNDS + 1) for k in server.federation.sample_cohort(t, 3)]
    assert 3 < len(set(visits)) < len(visits), "some come again, some come late"

    def distance(bug: str = "") -> tuple[float, float]:
        model, owned = transcription(server, method, trains_locally, batches, bug)
        pairs = [(found.state, model), *((found.clients[k], owned[k]) for k in owned)]
        gaps = [
            max(float((kept["model"][n] - t).abs().max()) for n, t in g.trainable(net).items())
            for kept, net in pairs
        ]
        return gaps[0], max(gaps[1:])

    assert max(distance()) < 1e-5
    assert found.clients.keys() == set(visits)
    bugs = ["softmax twice", "forgets", "sends the model", "clients don't distil"]
    bugs += ["labels of other samples", "averages logits", "weights by samples"]
    for bug in bugs + (["T = 1"] if aggregation == "era" else []):
        assert min(distance(bug)) > 1e-4, bug


def test_only_soft_labels_and_indices_travel(run_cell: RunCell) -> None:
    """8 soft labels of 3 classes, and 8 indices of 4 bytes for the last and the next samples each.

    Nothing is labelled before round 1. A client gets 51 weights and 30 samples of 16 pixels once.
    """
    outcome = run_cell(small(), rounds=3)
    events = outcome.cell.traffic
    sent = {(e.round, e.direction, e.group): e.scalars for e in events if e.direction != "once"}
    (discovery,) = (key for key in sent if key[0] == 0)
    assert discovery[1:] == ("up", "labels")
    for round in (1, 2, 3):
        down = {key[2]: n for key, n in sent.items() if key[:2] == (round, "down") and n}
        up = {key[2]: n for key, n in sent.items() if key[:2] == (round, "up") and n}
        labels = {} if round == 1 else {"teacher": 3 * OPEN * 3}
        assert down == {**labels, "open": 3 * OPEN * (1 if round == 1 else 2)}
        assert up == {"soft_labels": 3 * OPEN * 3}
    visited = len(outcome.clients)
    assert 3 < visited < 9
    once = [e for e in events if e.direction == "once"]
    assert sum(e.scalars for e in once) == visited * (P + 30 * 16)
    assert {e.group for e in once} == {"model", "open"}
    assert outcome.cell.row()["client_bytes_once"] == 4 * visited * (P + 30 * 16)


def test_no_more_open_samples_than_there_are(run_cell: RunCell) -> None:
    outcome = run_cell(small(open_per_round=1000), rounds=1)
    assert outcome.state["open"]["next"].tolist() == list(range(30))


def test_open_samples_are_drawn_anew(run_cell: RunCell) -> None:
    drawn = run_cell(small(), rounds=3).state["open"]
    assert len(set(drawn["last"].tolist())) == len(set(drawn["next"].tolist())) == OPEN
    assert drawn["last"].tolist() != drawn["next"].tolist()


@pytest.mark.parametrize("policy", ["mean", "local", "none", "recompute"])
def test_statistics_stay_with_each_model(run_cell: RunCell, policy: str) -> None:
    args = {"norm": "batch", "width": 2, "hidden": 4}
    outcome = run_cell(small(), rounds=3, model="cnn_small", model_args=args, buffers=policy)
    assert outcome.cell.ending.status == "finished"
    travelled = {e.group for e in outcome.cell.traffic if e.direction != "once"}
    assert travelled == {"labels", "teacher", "open", "soft_labels"}
    means = [
        next(t for n, t in kept["buffers"].items() if n.endswith("running_mean"))
        for kept in outcome.clients.values()
    ]
    assert not torch.equal(means[0], means[1])


def test_late_clients_begin_with_the_warm_start(run_cell: RunCell, bits: Bits) -> None:
    """Without any training a client keeps what it was handed, in whichever round it came."""
    still = small(plan=Plan(epochs=0), distillation=Plan(epochs=0))
    method = GptFl(inner=still, pretrain=PLAN)
    outcome = run_cell(method, rounds=3)
    cold = run_cell(still, rounds=0).state["model"]
    assert len(outcome.clients) > 3
    for kept in outcome.clients.values():
        assert bits({"": kept["model"]}) == bits({"": outcome.state["model"]})
        assert bits({"": kept["model"]}) != bits({"": cold})


@pytest.mark.parametrize(("field", "value"), [("temperature", 0.0), ("open_per_round", 0)])
def test_impossible_values_are_refused(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"{field}={value} must be"):
        DsFl(**{field: value})
