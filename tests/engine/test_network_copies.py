"""Fresh networks are deep copies, whatever a network is made of."""

import copy

import pytest
import torch
from torch import nn

from gptfl_bench.engine.networks import Networks


class Recurrent(nn.Module):
    """Keeps references to its weights outside the usual dictionaries, as recurrent layers do."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(3, 4, batch_first=True, bidirectional=True)
        self.head = nn.Linear(8, 2)
        self.optional = None
        self.register_module("absent", None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.gru(x)[0].mean(1))
        return logits


def shared_layer() -> nn.Module:
    layer = nn.Linear(3, 3)
    return nn.Sequential(layer, nn.ReLU(), layer)


def lazy() -> nn.Module:
    model = nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.LazyLinear(2))
    model(torch.zeros(1, 3))
    return model


MAKERS = {
    "recurrent": (Recurrent, (5, 7, 3)),
    "shared": (shared_layer, (5, 3)),
    "lazy": (lazy, (5, 3)),
    "statistics": (lambda: nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2)), (5, 3)),
}


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_a_fresh_network_is_a_deep_copy(name: str) -> None:
    """It trains as a deep copy does, step by step, and neither changes the other's weights."""
    make, shape = MAKERS[name]
    template = make()
    networks = Networks(copy.deepcopy(template), torch.device("cpu"))
    fresh, other, deep = networks.new(networks.start), networks.new(networks.start), template
    x = torch.randn(shape)
    for _ in range(3):
        for model in (fresh, deep):
            model.zero_grad()
            model(x).square().sum().backward()
            for parameter in model.parameters():
                assert parameter.grad is not None
                parameter.data -= 0.1 * parameter.grad
    expected = deep.state_dict()
    assert fresh.state_dict().keys() == expected.keys()
    for key, tensor in fresh.state_dict().items():
        assert torch.equal(tensor, expected[key]), key
    for key, parameter in other.named_parameters():
        assert torch.equal(parameter, networks.start["model"][key])


def test_hooks_of_a_copy_belong_to_the_copy() -> None:
    model = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    networks = Networks(model, torch.device("cpu"))
    fresh = networks.new(networks.start)
    with torch.no_grad():
        for parameter in fresh.parameters():
            parameter.zero_()
        assert fresh(torch.ones(1, 3)).isnan().all() or (fresh(torch.ones(1, 3)) == 0).all()
        assert not (networks.new(networks.start)(torch.ones(1, 3)) == 0).all()
