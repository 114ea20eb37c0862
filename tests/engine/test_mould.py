"""A copy of a network is whole, new each time, and leaves nothing behind for the next client."""

import torch
from torch import nn

from gptfl_bench.engine.networks import Networks


class Odd(nn.Module):
    """Has what networks of users have: layers in lists, absent ones, own values."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4, bias=False)
        self.norm = nn.BatchNorm1d(4)
        self.last = nn.Linear(4, 2)
        self.register_module("absent", None)
        self.register_buffer("kept", torch.ones(1), persistent=False)
        self.order = [self.first, self.last]
        self.by_name = {"last": self.last}
        self.sizes, self.calls = (3, (4, 2)), [0]

    def train(self, mode: bool = True) -> "Odd":
        super().train(mode)
        self.norm.eval()
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.by_name["last"](self.norm(self.order[0](x)))
        return logits


def test_references_lead_to_the_copys_own_layers() -> None:
    template = Odd()
    networks = Networks(template, torch.device("cpu"))
    copy = networks.new(networks.start)
    assert isinstance(copy, Odd)
    assert copy.order[0] is copy.first is not template.first
    assert copy.by_name["last"] is copy.last is not template.last
    assert copy.absent is None
    assert copy.first.bias is None
    assert copy.sizes == (3, (4, 2))
    assert copy.calls is not template.calls
    assert copy.training
    assert not copy.norm.training, "its own way to train"
    assert copy.state_dict().keys() == template.state_dict().keys()
    torch.testing.assert_close(copy(torch.ones(2, 3)), template.train()(torch.ones(2, 3)))


def test_what_a_client_does_to_its_network_stays_with_it() -> None:
    networks = Networks(Odd(), torch.device("cpu"))
    first = networks.new(networks.start)
    assert isinstance(first, Odd)
    first.last.register_forward_hook(lambda part, given, out: out * 0)
    first.requires_grad_(False)
    first.calls.append(1)
    first.sizes = ()  # type: ignore[assignment]
    first.last = nn.Linear(4, 9)
    with torch.no_grad():
        first.first.weight.zero_()
    second = networks.new(networks.start)
    assert isinstance(second, Odd)
    assert all(parameter.requires_grad for parameter in second.parameters())
    assert (second.calls, second.sizes, second.last.out_features) == ([0], (3, (4, 2)), 2)
    assert second(torch.ones(2, 3)).count_nonzero()


def test_frozen_weights_stay_frozen() -> None:
    template = Odd()
    template.first.requires_grad_(False)
    networks = Networks(template, torch.device("cpu"))
    frozen = {name: p.requires_grad for name, p in networks.new(networks.start).named_parameters()}
    assert not frozen["first.weight"]
    assert frozen["last.weight"]
