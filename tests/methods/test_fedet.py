"""Fed-ET: consensus and transfer by hand, a NumPy transcription, and the traps of the method."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gptfl_bench.core.errors import Refusal
from gptfl_bench.core.groups import Groups
from gptfl_bench.data.public import PublicSettings
from gptfl_bench.engine.server import Server
from gptfl_bench.training.fit import Plan
from gptfl_methods.fedavg import FedAvg
from gptfl_methods.fedet import FedET
from gptfl_methods.gptfl import GptFl
from gptfl_methods.parts.consensus import consensus

RunCell = Callable[..., Any]
Array = NDArray[np.float64]
PLAN = Plan(epochs=1, batch_size=4, lr=0.1)
CNNS = {"model": "cnn_small", "model_args": {"width": 16, "hidden": 64}}


def test_consensus_by_hand() -> None:
    """Variances of (4, 0, 2), (0, 2, 1), (0, 0, 3): 4, 1 and 3; their sum is 8.

    First sample: (4*4, 1*2, 4*2 + 1*1 + 3*3) / 8 = (16, 2, 18) / 8, so the label is 2. The first
    and the second client disagree: (4 * (4, 0, 2) + 1 * (0, 2, 1)) / 5 = (16, 2, 9) / 5. Equal
    weights would give (4, 2, 6) / 3, and those of probabilities another disagreement.
    Second sample: all three are the first client, and none disagrees.
    """
    a, b, c = torch.tensor([[4.0, 0.0, 2.0], [0.0, 2.0, 1.0], [0.0, 0.0, 3.0]])
    labels, diverse = consensus(torch.stack([torch.stack([s, a]) for s in (a, b, c)]))
    assert labels.tolist() == [2, 0]
    expected = torch.softmax(torch.tensor([16.0, 2.0, 9.0]) / 5, 0)
    torch.testing.assert_close(diverse[0], expected)
    assert diverse[1].tolist() == [0, 0, 0]


def test_confidence_is_the_variance_of_logits_not_of_probabilities() -> None:
    """One client says (0, 6), two say (4, 0): variances of 18, 8 and 8 give (64, 108) / 34.

    Variances of probabilities, 0.49, 0.46 and 0.46, would give (3.7, 3.0) / 1.4, the other label.
    A constant added to a client's logits is no evidence and leaves its confidence as it was.
    """
    sure, other = torch.tensor([[[0.0, 6.0]], [[4.0, 0.0]]])
    labels, diverse = consensus(torch.stack([sure, other, other]))
    assert labels.tolist() == [1]
    shifted = consensus(torch.stack([sure, other + 7, other + 7]))
    assert shifted[0].tolist() == [1]
    torch.testing.assert_close(shifted[1], diverse)


@pytest.mark.parametrize("logits", [torch.zeros(1, 2, 3), torch.zeros(3, 2, 3), torch.eye(3)[None]])
def test_without_dissent_nothing_is_not_a_number(logits: torch.Tensor) -> None:
    labels, diverse = consensus(logits)
    assert labels.tolist() == logits[0].argmax(1).tolist()
    assert not diverse.any()


def test_without_distillation_small_models_are_fedavgs(
    run_cell: RunCell, bits: Callable[[Groups], object]
) -> None:
    """One architecture, the server's own: encoders and head are then FedAvg's, bit for bit."""
    expected = run_cell(FedAvg(plan=PLAN), model="cnn_small").state["model"]
    method = FedET(plan=PLAN, client_models=("cnn_small",), distillation=Plan(steps=0))
    state = run_cell(method, model="cnn_small").state
    small = {n.removeprefix("cnn_small/"): t for n, t in state["small"].items()}
    head = {n: t for n, t in state["model"].items() if n.startswith("head.")}
    assert bits({"": small | head}) == bits({"": expected})


@pytest.fixture
def played(
    server_for: Callable[..., Server], rounds: Callable[..., Groups]
) -> Callable[..., tuple[Groups, Groups]]:
    """Return a function that gives the states before and after a round with a cohort."""

    def play(cohort: list[int], **fields: Any) -> tuple[Groups, Groups]:
        fields = {"plan": PLAN, "distillation": Plan(steps=0), **fields}
        method = FedET(**fields)
        server = server_for(method, **CNNS)
        return method.prepare(server), rounds(method, server, cohort=cohort)

    return play


def test_an_architecture_without_a_client_stays(played: Callable[..., Any]) -> None:
    """Even clients have cnn_tiny, odd ones cnn_narrow."""
    before, after = played([0, 2, 4])
    moved = {n for n, t in after["small"].items() if not torch.equal(t, before["small"][n])}
    assert {n.partition("/")[0] for n in moved} == {"cnn_tiny"}
    assert len(moved) == 6
    assert {n.partition("/")[0] for n in after["small"]} == {"cnn_tiny", "cnn_narrow"}


def test_means_are_by_architecture_and_the_heads_over_all(
    server_for: Callable[..., Server], played: Callable[..., Any]
) -> None:
    """Clients 1, 2 and 4 hold 5, 8 and 14 samples; 2 and 4 share an architecture.

    Encoder: (8 * d_2 + 14 * d_4) / 22; head: (5 * d_1 + 8 * d_2 + 14 * d_4) / 27.
    """
    method = FedET(plan=PLAN, distillation=Plan(steps=0))
    server = server_for(method, **CNNS)
    state = method.prepare(server)
    server = replace(server, round=1)
    replies = server.federation.exchange(
        1, [1, 2, 4], lambda k: method.downlink(state, k), method.client_update
    ).replies
    d1, d2, d4 = (reply["delta"] for reply in replies)
    _, after = played([1, 2, 4])
    name = "cnn_tiny/encoder.0.0.weight"
    torch.testing.assert_close(
        after["small"][name] - state["small"][name], (8 * d2[name] + 14 * d4[name]) / 22
    )
    name = "head.weight"
    torch.testing.assert_close(
        after["model"][name] - state["model"][name],
        (5 * d1[name] + 8 * d2[name] + 14 * d4[name]) / 27,
    )
    # Transfer down: what a client gets next is the server's head on its own encoder.
    sent = method.downlink(after, 1)["model"]
    assert torch.equal(sent["head.weight"], after["model"]["head.weight"])
    assert {n.partition("/")[0] for n in sent} == {"cnn_narrow", "head.weight", "head.bias"}
    encoder = after["model"]["encoder.0.0.weight"]
    assert torch.equal(encoder, state["model"]["encoder.0.0.weight"]), "the large one is distilled"


def test_traffic_is_of_the_small_models(run_cell: RunCell) -> None:
    """With C = 3, 4x4 images and width w: 10 w + (9 w + 1) 2 w + (2 w + 1) 64 + 195 scalars."""

    def scalars(width: int) -> int:
        return 10 * width + (9 * width + 1) * 2 * width + (2 * width + 1) * 64 + 65 * 3

    outcome = run_cell(FedET(plan=PLAN, distillation=Plan(steps=1)), rounds=2, **CNNS)
    for round in (1, 2):
        (aggregated,) = [
            e for e in outcome.untimed if type(e).__name__ == "RoundAggregated" and e.round == round
        ]
        expected = sum(scalars(8 if k % 2 else 4) for k in aggregated.clients)
        for way in ("down", "up"):
            assert expected == sum(
                e.scalars for e in outcome.cell.traffic if (e.round, e.direction) == (round, way)
            )
    assert outcome.cell.row()["server_saw_clients"] is True


def test_warm_start_is_the_large_models(server_for: Callable[..., Server]) -> None:
    method = FedET(plan=PLAN)
    server = server_for(method, **CNNS)
    cold = method.prepare(server)
    # The order of names is of no account.
    doubled = {name: 2 * tensor for name, tensor in reversed(server.start["model"].items())}
    warm = method.prepare(replace(server, start={**server.start, "model": doubled}))
    assert torch.equal(warm["model"]["head.weight"], 2 * cold["model"]["head.weight"])
    assert torch.equal(method.downlink(warm, 0)["model"]["head.bias"], warm["model"]["head.bias"])
    assert all(torch.equal(t, cold["small"][n]) for n, t in warm["small"].items())


def test_refuses_a_head_that_does_not_fit(
    server_for: Callable[..., Server], run_cell: RunCell
) -> None:
    method = FedET(plan=PLAN, client_models=("cnn_tiny", "linear"))
    with pytest.raises(Refusal, match=r"'linear' has a head of .*\[3, 16\]"):
        method.prepare(server_for(method, **CNNS))
    assert run_cell(method, **CNNS).cell.ending.status == "refused"
    with pytest.raises(ValueError, match="client_models"):
        FedET(client_models=())
    with pytest.raises(ValueError, match="diversity=-1"):
        FedET(diversity=-1)


def test_a_warm_start_warms_all_architectures(run_cell: RunCell) -> None:
    """Large model and small encoders differ from their cold start; the head is shared."""
    inner = FedET(plan=PLAN)
    warm = GptFl(inner=inner, pretrain=Plan(epochs=1, batch_size=8))
    cold, hot = (run_cell(method, rounds=0, **CNNS) for method in (inner, warm))
    for group in ("model", "small"):
        for name, tensor in cold.state[group].items():
            assert not torch.equal(hot.state[group][name], tensor), name
    kinds = [type(event).__name__ for event in hot.untimed]
    assert kinds.count("Pretrained") == 1 + len(inner.client_models)


def softmax(z: Array) -> Array:
    p = np.exp(z - z.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)  # type: ignore[no-any-return]


@pytest.mark.parametrize("diversity", [0.0, 2.0])
def test_a_round_of_distillation_is_the_papers(
    server_for: Callable[..., Server], rounds: Callable[..., Groups], diversity: float
) -> None:
    """All models linear, one step on all public samples, in NumPy; three rounds.

    The step of the head W on features F: (softmax(F W) - onehot(y) + lambda * g(x) * (softmax(F W)
    - softmax(d))) F / N, with g(x) = 1 where a client disagrees and 0 elsewhere.
    """
    plan = Plan(epochs=1, batch_size=99, lr=0.3)
    method = FedET(
        plan=plan,
        client_models=("linear",),
        diversity=diversity,
        distillation=Plan(steps=1, batch_size=99, lr=0.3),
    )
    server = server_for(method, public=PublicSettings(source="held_out", share=0.3))
    start = server.start["model"]
    state = rounds(method, server, 3, cohort=[0, 3, 5])
    public = server.public()
    samples = [server.federation.clients[k] for k in (0, 3, 5)]
    data = [(s.batch(torch.arange(len(s)))[0].flatten(1), s.labels) for s in samples]

    def features(x: torch.Tensor) -> Array:
        return np.hstack([x.flatten(1).double().numpy(), np.ones((len(x), 1))])

    w = np.hstack([start["head.weight"].numpy(), start["head.bias"].numpy()[:, None]]).astype(float)
    f = features(public.batch(torch.arange(len(public)))[0])
    dissenting = 0
    for _ in range(3):
        locals_ = []
        for x, y in data:
            phi = features(x)
            locals_.append(w - 0.3 * (softmax(phi @ w.T) - np.eye(3)[y.numpy()]).T @ phi / len(y))
        sizes = np.array([len(y) for _, y in data])
        w = np.tensordot(sizes / sizes.sum(), np.array(locals_), 1)
        gradient = np.zeros_like(w)
        for row in f:
            s = np.array([local @ row for local in locals_])
            v = s.var(1)
            label = (v @ s / v.sum()).argmax()
            wrong = s.argmax(1) != label
            p = softmax(w @ row)
            slope = p - np.eye(3)[label]
            if wrong.any():
                slope += diversity * (p - softmax(v[wrong] @ s[wrong] / v[wrong].sum()))
                dissenting += 1
            gradient += np.outer(slope, row) / len(f)
        w = w - 0.3 * gradient
    found = torch.cat([state["model"]["head.weight"], state["model"]["head.bias"][:, None]], 1)
    np.testing.assert_allclose(found.numpy(), w, atol=1e-5, rtol=0)
    assert 0 < dissenting < 3 * len(f)
