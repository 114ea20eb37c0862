"""Networks handed to clients are their own, and start where the seed says."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from gptfl_bench.architectures.network import models
from gptfl_bench.core import groups as g
from gptfl_bench.engine.networks import Networks

CPU = torch.device("cpu")
Bits = Callable[[g.Groups], object]


def template() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2))


def moved(groups: g.Groups) -> g.Groups:
    return {group: {n: t + 1 for n, t in tree.items()} for group, tree in groups.items()}


def test_a_new_network_holds_copies_of_what_was_given(bits: Bits) -> None:
    networks = Networks(template(), CPU)
    given = moved(networks.start)
    expected = bits(given)
    model = networks.new(given)
    assert bits(g.model_groups(model)) == expected
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    model(torch.ones(4, 2)).sum().backward()
    optimizer.step()
    assert bits(given) == expected, "training changed what was given"
    again = networks.new(given)
    assert bits(g.model_groups(again)) == expected, "training changed the template"
    assert again.training


def test_statistics_that_did_not_travel_are_the_starts(bits: Bits) -> None:
    networks = Networks(template(), CPU)
    model = networks.new({"model": moved(networks.start)["model"]})
    model(torch.ones(4, 2))
    later = networks.new({"model": networks.start["model"], "buffers": {}})
    assert bits({"b": g.model_groups(later)["buffers"]}) == bits({"b": networks.start["buffers"]})


def test_evaluation_changes_nothing(bits: Bits) -> None:
    networks = Networks(template(), CPU)
    groups = moved(networks.start)
    before = bits(groups)
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    logits = networks.apply(groups, x)
    with torch.no_grad():
        torch.testing.assert_close(logits, networks.new(groups).eval()(x))
    assert bits(groups) == before
    assert networks.new(groups).training, "a client trains after an evaluation"


def test_groups_that_do_not_fit_are_refused() -> None:
    networks = Networks(template(), CPU)
    missing = dict(networks.start["model"])
    del missing["0.bias"]
    with pytest.raises(ValueError, match="'model'"):
        networks.new({"model": missing})
    with pytest.raises((ValueError, RuntimeError)):
        networks.new({"model": {**networks.start["model"], "0.bias": torch.zeros(7)}})


def test_frozen_weights_stay_frozen() -> None:
    """A network whose encoder the user froze is fine-tuned in its head only."""
    frozen = template()
    frozen[0].requires_grad_(False)  # type: ignore[index]
    model = Networks(frozen, CPU).new({})
    found = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    assert [name for name, trained in found.items() if not trained] == ["0.weight", "0.bias"]


def test_tied_weights_stay_tied() -> None:
    tied = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    tied[1].weight = tied[0].weight
    networks = Networks(tied, CPU)
    assert list(networks.start["model"]) == ["0.weight"]
    model = networks.new(networks.start)
    assert model[0].weight is model[1].weight  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "args"),
    [("linear", {}), ("cnn_small", {"norm": "batch"}), ("cnn_small", {"norm": "group"})],
)
def test_start_weights_depend_on_the_seed_alone(
    name: str, args: dict[str, Any], bits: Bits
) -> None:
    def start(seed: int) -> object:
        torch.rand(seed + 3)
        return bits(Networks.build(models.get(name), (1, 4, 4), 3, args, seed, CPU).start)

    assert start(0) == start(0)
    assert start(0) != start(1)
    own = template()
    assert bits(Networks.build(own, (2,), 2, {}, 0, CPU).start) == bits(g.model_groups(own))
    with pytest.raises(TypeError, match="network or a factory"):
        Networks.build(3, (2,), 2, {}, 0, CPU)  # type: ignore[arg-type]
