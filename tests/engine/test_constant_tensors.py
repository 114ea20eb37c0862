"""What never trains travels once, and whatever did change is sent."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gptfl_bench.core.groups import Groups
from gptfl_bench.engine.client import Client
from gptfl_bench.engine.method import methods
from gptfl_bench.engine.networks import Networks
from gptfl_bench.training.fit import Plan

PLAN = Plan(epochs=2, batch_size=64, lr=0.1)
FROZEN, FIXED, TRAINED = 16 * 8 + 8, 16, 8 * 3 + 3
"""Scalars of the frozen layer, of the buffer that nobody changes, and of the layer that trains."""


class HalfFrozen(nn.Module):
    """A frozen layer with its statistics and a constant scale, and a head that trains."""

    scale: Tensor

    def __init__(self, frozen: bool = True) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8))
        self.encoder.requires_grad_(not frozen)
        self.encoder[2].requires_grad_(True)
        self.head = nn.Linear(8, 3)
        self.register_buffer("scale", torch.full((16,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.encoder(x.flatten(1) * self.scale))
        return logits


NORM = 8 + 8
STATISTICS = 8 + 8 + 1


def _network() -> nn.Module:
    torch.manual_seed(3)
    return HalfFrozen()


def _scalars(outcome: Any, way: str, round: int) -> int:
    events = outcome.cell.traffic
    return sum(e.scalars for e in events if (e.direction, e.round) == (way, round))


@pytest.mark.parametrize("name", ["fedavg", "scaffold", "fedopt", "fedprox"])
def test_frozen_layers_and_constants_travel_once(run_cell: Callable[..., Any], name: str) -> None:
    kind: Any = methods.get(name)
    method = kind(plan=PLAN)
    outcome = run_cell(method, network=_network(), cohort_size=6, rounds=3)
    assert outcome.cell.ending.status == "finished"
    model = (TRAINED + NORM) * (2 if name == "scaffold" else 1)
    for round in (1, 2, 3):
        assert _scalars(outcome, "down", round) == 6 * (model + STATISTICS)
        assert _scalars(outcome, "up", round) == 6 * (model + STATISTICS)
        once = 6 * (FROZEN + FIXED) if round == 1 else 0
        assert _scalars(outcome, "once", round) == once
    row = outcome.cell.row()
    assert row["client_bytes_once"] == 4 * 6 * (FROZEN + FIXED)
    start = _network().state_dict()
    for key in ("encoder.1.weight", "encoder.1.bias"):
        assert torch.equal(outcome.state["model"][key], start[key])
    assert not torch.equal(outcome.state["model"]["head.weight"], start["head.weight"])
    assert torch.equal(outcome.state["buffers"]["scale"], start["scale"])


def test_numbers_are_those_of_sending_everything(
    run_cell: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from gptfl_bench.engine.constant import Constants

    kind: Any = methods.get("scaffold")
    method = kind(plan=PLAN)
    spared = run_cell(method, network=_network(), rounds=3)
    monkeypatch.setattr(Constants, "part", lambda self, payload: (dict(payload), {}))
    whole = run_cell(method, network=_network(), rounds=3)
    assert spared.bits[0] == whole.bits[0]
    assert [e.loss for e in spared.cell.evaluations] == [e.loss for e in whole.cell.evaluations]


def test_what_a_method_does_change_is_sent(run_cell: Callable[..., Any]) -> None:
    """A client that thaws a frozen layer, and a buffer that follows the data."""
    kind: Any = methods.get("fedavg")

    class Thaw(kind):  # type: ignore[misc]
        def client_update(self, received: Groups, client: Client) -> Groups:
            model = client.new_model(received).requires_grad_(True)
            self.train(model, received, client)
            delta = {n: p.detach() - received["model"][n] for n, p in model.named_parameters()}
            buffers = {n: b + 1 for n, b in model.named_buffers()}
            return {"delta": delta, "buffers": buffers}

    outcome = run_cell(Thaw(plan=PLAN), network=_network(), cohort_size=6, rounds=2)
    start = _network().state_dict()
    assert not torch.equal(outcome.state["model"]["encoder.1.weight"], start["encoder.1.weight"])
    torch.testing.assert_close(outcome.state["buffers"]["scale"], start["scale"] + 2)
    everything = FROZEN + FIXED + TRAINED + NORM + STATISTICS
    assert _scalars(outcome, "up", 1) == _scalars(outcome, "down", 2) == 6 * everything


def test_a_network_that_trains_whole_has_no_constants() -> None:
    networks = Networks(HalfFrozen(frozen=False), torch.device("cpu"))
    assert networks.constants.start["model"] == {}
    assert list(networks.constants.start["buffers"]) == ["scale"]
    plain = Networks(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), torch.device("cpu"))
    assert not any(plain.constants.start.values())
