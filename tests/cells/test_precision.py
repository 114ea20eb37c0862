"""In how many bits networks compute: what stays in float32, and which cells are kept apart."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gptfl_bench.architectures.network import models
from gptfl_bench.cells.spec import CellSpec
from gptfl_bench.cli import main
from gptfl_bench.core.errors import UsageError
from gptfl_bench.data.samples import Samples
from gptfl_bench.engine.method import methods
from gptfl_bench.engine.networks import Networks
from gptfl_bench.training.fit import Plan, fit
from gptfl_bench.training.precision import check_precision, products_in

CPU = torch.device("cpu")
WORDS = [
    "run",
    "--methods",
    "fedavg",
    "--seeds",
    "0",
    "--preset",
    "quick",
    "rounds=1",
    "device=cpu",
]


def test_the_usual_precision_is_in_no_cell_id(make_spec: Callable[..., CellSpec]) -> None:
    """Cells that were made before there was a choice are found again."""
    usual = make_spec(methods.get("fedavg")())
    assert "precision" not in usual.identity()
    ids = {usual.run_id} | {
        make_spec(methods.get("fedavg")(), precision=name).run_id for name in ("bfloat16", "tf32")
    }
    assert len(ids) == 3


def test_pre_training_is_kept_apart(make_spec: Callable[..., CellSpec]) -> None:
    specs = [make_spec(methods.get("gptfl")(), precision=p) for p in ("float32", "bfloat16")]
    assert specs[0].start_key != specs[1].start_key


@pytest.mark.parametrize("name", ["fedavg", "moon", "fedgen", "feddf", "gptfl"])
def test_methods_train_in_bfloat16(name: str, run_cell: Callable[..., Any]) -> None:
    outcomes = [
        run_cell(methods.get(name)(), model="cnn_tiny", rounds=2, precision=precision)
        for precision in ("float32", "bfloat16")
    ]
    usual, lowered = (outcome.state["model"] for outcome in outcomes)
    assert outcomes[1].cell.ending.status == "finished"
    assert outcomes[1].cell.record["config"]["precision"] == "bfloat16"
    assert "precision" not in outcomes[0].cell.record["config"]
    assert {tensor.dtype for tensor in lowered.values()} == {torch.float32}
    apart = max(float((usual[n] - lowered[n]).abs().max()) for n in usual)
    # Two rounds of a few steps: the rounding shows, and no more than that.
    assert 1e-6 < apart < 0.1


class _Seen(nn.Module):
    """A network that remembers in what its product was made."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.kinds: dict[str, None] = {}

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.layer(x)
        self.kinds[str(made.dtype)] = None
        return made


@pytest.mark.parametrize(("precision", "kind"), [("float32", "float32"), ("bfloat16", "bfloat16")])
def test_products_are_rounded_and_nothing_else(precision: Any, kind: str) -> None:
    networks = Networks(_Seen(), CPU, precision=precision)
    model = networks.new(networks.start)
    losses: list[Tensor] = []

    def loss(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        logits = net(x)
        assert logits.dtype == torch.float32
        losses.append(F.cross_entropy(logits, y))
        return losses[-1]

    data = Samples(torch.randn(8, 3), torch.arange(8) % 2)
    fit(model, data, Plan(batch_size=4), torch.Generator().manual_seed(0), loss=loss)
    assert isinstance(model, _Seen)
    assert list(model.kinds) == [f"torch.{kind}"]
    assert {value.dtype for value in losses} == {torch.float32}
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert networks.apply(networks.start, data.x).dtype == torch.float32


def test_a_copy_of_a_network_works_for_itself() -> None:
    """Methods keep copies as frozen teachers."""
    networks = Networks(_Seen(), CPU, precision="bfloat16")
    model = networks.new(networks.start)
    teacher = copy.deepcopy(model)
    x = torch.randn(4, 3)
    before = teacher(x)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(1)
    assert torch.equal(teacher(x), before)
    assert not torch.equal(model(x), before)
    assert isinstance(teacher, _Seen)
    assert teacher.kinds == {"torch.bfloat16": None}


def test_a_prediction_is_rounded_as_training_is() -> None:
    x = torch.randn(16, 1, 8, 8)
    made = {}
    for precision in ("float32", "bfloat16"):
        networks = Networks.build(
            models.get("cnn_tiny"), (1, 8, 8), 3, {}, 0, CPU, precision=precision
        )
        applied = networks.apply(networks.start, x)
        with torch.no_grad():
            copied = networks.new(networks.start).eval()(x)
        assert torch.equal(applied, copied)
        made[precision] = applied
    apart = (made["float32"] - made["bfloat16"]).abs().max()
    assert 0 < apart < 0.05


def test_variants_compute_as_the_task_does() -> None:
    networks = Networks.build(
        models.get("cnn_tiny"), (1, 8, 8), 3, {}, 0, CPU, precision="bfloat16"
    )
    assert networks.variant("cnn_narrow").precision == "bfloat16"


@pytest.mark.parametrize(
    ("value", "said"), [("tf32", "can't be had on device='cpu'"), ("float16", "'float16'")]
)
def test_what_can_not_be_had_is_wrong_use(
    value: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "runs"
    assert main([*WORDS, f"precision={value}", "--out", str(out)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert "float32" in line
    assert not out.exists()


def test_tf32_needs_a_gpu_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    for capability, fits in (((7, 5), False), ((8, 0), True), ((9, 0), True)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, c=capability: c)
        if fits:
            check_precision("tf32", gpu)
        else:
            with pytest.raises(UsageError, match="from Ampere on"):
                check_precision("tf32", gpu)


@pytest.mark.parametrize(
    ("precision", "kind"), [("float32", "ieee"), ("tf32", "tf32"), ("bfloat16", "ieee")]
)
def test_switches_of_a_gpu_are_set_and_put_back(precision: Any, kind: str) -> None:
    switches = [torch.backends.cuda.matmul, torch.backends.cudnn.conv]  # type: ignore[attr-defined]
    before = [switch.fp32_precision for switch in switches]
    with products_in(precision, torch.device("cuda")):
        assert [switch.fp32_precision for switch in switches] == [kind, kind]
    assert [switch.fp32_precision for switch in switches] == before


def test_calibrations_are_kept_apart() -> None:
    networks = Networks(nn.Linear(3, 2), CPU)
    assert str(networks) == str(nn.Linear(3, 2))
    assert str(Networks(nn.Linear(3, 2), CPU, precision="bfloat16")) != str(networks)


def test_settings_differ_by_it_alone(make_spec: Callable[..., CellSpec]) -> None:
    spec = make_spec(methods.get("fedavg")())
    other = replace(spec, settings=replace(spec.settings, precision="bfloat16"))
    assert {
        key for key in other.identity() if other.identity()[key] != spec.identity().get(key)
    } == {"precision"}
