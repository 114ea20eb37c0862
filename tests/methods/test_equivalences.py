"""Methods that must be another one for some value of a field: bit for bit on a CPU."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from gptfl_bench.core.groups import Groups
from gptfl_bench.engine.method import Method
from gptfl_bench.training.fit import Plan
from gptfl_methods.fedavg import FedAvg
from gptfl_methods.fedopt import FedOpt
from gptfl_methods.fedprox import FedProx
from gptfl_methods.gptfl import GptFl
from gptfl_methods.scaffold import Scaffold

RunCell = Callable[..., Any]
Bits = Callable[[Groups], object]
PLAN = Plan(epochs=2, batch_size=4, lr=0.1)
WITH_ALL = Plan(
    epochs=2, batch_size=4, momentum=0.9, weight_decay=1e-3, clip_norm=1.0, schedule="cosine"
)


def scores(outcome: Any) -> list[tuple[float, float, float]]:
    return [(e.accuracy, e.macro_f1, e.loss) for e in outcome.cell.evaluations]


@pytest.mark.parametrize("model", ["linear", "cnn_small"])
@pytest.mark.parametrize("plan", [PLAN, WITH_ALL], ids=["plain", "with everything"])
@pytest.mark.parametrize(
    "other",
    [
        lambda plan: FedProx(plan=plan, mu=0.0),
        lambda plan: FedOpt(plan=plan, optimizer="momentum", beta1=0.0, server_lr=1.0),
    ],
    ids=["fedprox with mu 0", "fedopt with plain steps of size 1"],
)
def test_equals_fedavg(
    run_cell: RunCell,
    bits: Bits,
    other: Callable[[Plan], Method],
    plan: Plan,
    model: str,
) -> None:
    args = {"norm": "batch", "width": 2, "hidden": 4} if model == "cnn_small" else {}
    keywords = {"model": model, "model_args": args, "rounds": 4}
    expected = run_cell(FedAvg(plan=plan), **keywords)
    found = run_cell(other(plan), **keywords)
    for group in ("model", "buffers"):
        assert bits({group: found.state.get(group, {})}) == bits(
            {group: expected.state.get(group, {})}
        )
    assert scores(found) == scores(expected)
    assert len({loss for _, _, loss in scores(expected)}) == 5, "every round must change the model"


@pytest.mark.parametrize("weighting", ["uniform", "examples"])
def test_scaffold_starts_as_uniform_fedavg(run_cell: RunCell, bits: Bits, weighting: Any) -> None:
    """All control variates are zero in round 1; only its later rounds differ."""
    fedavg = run_cell(FedAvg(plan=PLAN, weighting="uniform"), rounds=1)
    found = run_cell(Scaffold(plan=PLAN, weighting=weighting), rounds=1)
    assert bits({"": found.state["model"]}) == bits({"": fedavg.state["model"]})
    by_examples = run_cell(FedAvg(plan=PLAN), rounds=1)
    assert bits({"": by_examples.state["model"]}) != bits({"": fedavg.state["model"]})
    later = [
        scores(run_cell(m, rounds=3))
        for m in (FedAvg(plan=PLAN, weighting="uniform"), Scaffold(plan=PLAN))
    ]
    assert later[0][:2] == later[1][:2]
    assert later[0][2:] != later[1][2:]


@pytest.mark.parametrize("epochs", [1, 2])
@pytest.mark.parametrize("clip", [None, 0.5])
def test_scaffold_server_variate_is_the_mean_of_the_clients(
    run_cell: RunCell, epochs: int, clip: float | None
) -> None:
    """Full participation, option II: c is the mean of all c_k after every round."""
    plan = Plan(epochs=epochs, batch_size=4, clip_norm=clip, schedule="cosine")
    for rounds in (1, 2, 3):
        outcome = run_cell(Scaffold(plan=plan), rounds=rounds, cohort_size=6)
        assert sorted(outcome.clients) == list(range(6))
        for name, control in outcome.state["control"].items():
            own = torch.stack([state["control"][name] for state in outcome.clients.values()])
            torch.testing.assert_close(control, own.mean(0), atol=1e-6, rtol=0)
            assert control.abs().max() > 1e-3


@pytest.mark.parametrize(
    "inner",
    [
        FedAvg(plan=PLAN),
        FedProx(plan=PLAN, mu=0.1),
        Scaffold(plan=PLAN),
        FedOpt(plan=PLAN, optimizer="yogi"),
    ],
    ids=lambda method: type(method).__name__,
)
def test_gptfl_without_pretraining_is_the_wrapped_method(run_cell: RunCell, inner: Method) -> None:
    alone = run_cell(inner)
    wrapped = run_cell(GptFl(inner=inner, pretrain=Plan(epochs=0)))
    assert wrapped.bits == alone.bits
    assert scores(wrapped) == scores(alone)


def test_gptfl_starts_from_the_pretrained_weights(run_cell: RunCell) -> None:
    """With pre-training the start differs, and round 0 is tested with it."""
    cold = run_cell(FedAvg(plan=PLAN), rounds=0)
    warm = run_cell(GptFl(inner=FedAvg(plan=PLAN), pretrain=PLAN), rounds=0)
    assert warm.bits != cold.bits
    assert scores(warm) != scores(cold)
    (pretrained,) = [warm.cell.pretrained]
    # 0.5 x 60 samples, ten of each label; a tenth is for validation, the rest in batches of 4:
    # 7 steps a pass, two passes.
    assert (pretrained.steps, pretrained.examples) == (14, 54)
