"""A copy takes memory when it is written, and neither it nor what it was made of shows that."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gptfl_bench.architectures.network import models
from gptfl_bench.core import groups as g
from gptfl_bench.core.groups import Groups
from gptfl_bench.core.randomness import isolated_torch_rng
from gptfl_bench.engine.networks import Networks

Bits = Callable[[Groups], object]
LARGE = 2**16


def _promised(tensor: Tensor) -> bool:
    return bool(torch._C._is_cow_tensor(tensor))  # type: ignore[attr-defined]


def _writes() -> dict[str, Callable[[Tensor], object]]:
    def through_numpy(tensor: Tensor) -> None:
        tensor.numpy()[:] = 5

    def through_a_view(tensor: Tensor) -> None:
        tensor.view(2, -1)[1] = 5

    return {
        "in place": lambda tensor: tensor.add_(1),
        "many at once": lambda tensor: torch._foreach_add_([tensor], [tensor], alpha=2),
        "an item": lambda tensor: tensor.__setitem__(3, 7.0),
        "a view": through_a_view,
        "NumPy": through_numpy,
        "out": lambda tensor: torch.mul(tensor, 2, out=tensor),
        "a random filler": lambda tensor: tensor.normal_(),
    }


@pytest.mark.parametrize("write", _writes().values(), ids=_writes())
@pytest.mark.parametrize("which", [0, 1, 2])
def test_what_is_written_to_one_does_not_reach_the_others(
    write: Callable[[Tensor], object], which: int
) -> None:
    first = torch.rand(LARGE)
    expected = first.numpy().copy()
    tensors = [first, g.copy(first)]
    tensors.append(g.copy(tensors[1]))
    assert all(map(_promised, tensors))
    write(tensors[which])
    for number, tensor in enumerate(tensors):
        assert np.array_equal(tensor.numpy(), expected) == (number != which)


def test_only_writing_takes_memory() -> None:
    tensor = torch.rand(LARGE)
    copied = g.copy(tensor)
    g.is_finite({"w": copied})
    g.squared_norm({"w": copied})
    g.subtract({"w": copied}, {"w": tensor})
    F.linear(torch.ones(2, 256), copied.view(-1, 256))
    assert _promised(copied)


def test_a_part_does_not_keep_the_whole_in_memory() -> None:
    whole = torch.rand(100 * LARGE)
    for part in (whole[:LARGE], whole[LARGE : 2 * LARGE], whole.view(100, -1).T[::2]):
        copied = g.copy(part)
        assert torch.equal(copied, part)
        assert copied.untyped_storage().nbytes() == part.nbytes


def test_memory_of_others_is_copied_at_once() -> None:
    array = np.ones(LARGE, np.float32)
    copied = g.copy(torch.from_numpy(array))
    array[:] = 2
    assert bool((copied == 1).all())


def test_a_parameter_is_copied_without_its_gradient() -> None:
    weight = nn.Parameter(torch.rand(LARGE))
    copied = g.copy(weight)
    assert type(copied) is Tensor
    assert not copied.requires_grad
    with torch.no_grad():
        weight.zero_()
    assert bool(copied.any())


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("cnn_small", (1, 8, 8)),
        ("convnet_small", (3, 32, 32)),
        ("resnet18", (3, 32, 32)),
        ("conv_gru_tiny", (40, 101)),
    ],
)
def test_training_a_copy_changes_nothing_but_the_copy(
    name: str, shape: tuple[int, ...], bits: Bits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Convolutions, statistics that layers renew in place, and recurrent layers; many steps."""

    def trained(start: Groups) -> Groups:
        model = networks.new(start)
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        rng = torch.Generator().manual_seed(1)
        with isolated_torch_rng(0, "dropout"):
            for _ in range(3):
                optimizer.zero_grad()
                x = torch.rand(4, *shape, generator=rng)
                F.cross_entropy(model(x), torch.arange(4) % 3).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        return g.model_groups(model)

    networks = Networks.build(models.get(name), shape, 3, {}, 0, torch.device("cpu"))
    before = bits(networks.start)
    ended = trained(networks.start)
    monkeypatch.setattr(g, "_LARGE", 0)
    received = g.copied(networks.start)
    again = trained(received)
    assert bits(again) == bits(ended) != before
    assert bits(networks.start) == before
    assert bits(received) == bits(g.decode(g.encode(networks.start)))
