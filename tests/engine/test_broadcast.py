"""A broadcast is counted for each client and copied once for each, and no change can hide."""

import pytest
import torch

from gptfl_bench.core import groups as g
from gptfl_bench.engine.channel import Channel

STRICT = pytest.mark.parametrize("strict", [False, True])


def test_counting_encodes_nothing_and_copies_each_tensor_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copies: list[int] = []
    clone = torch.Tensor.clone

    def counted(tensor: torch.Tensor, **options: torch.memory_format) -> torch.Tensor:
        copies.append(tensor.numel())
        return clone(tensor, **options)

    monkeypatch.setattr(torch.Tensor, "clone", counted)
    monkeypatch.setattr(g, "encode", lambda groups: pytest.fail("encoded"))
    channel, tree = Channel(), {"w": torch.ones(3), "b": torch.ones(2)}
    for _ in range(4):
        channel.send({"model": tree}, "down", 1)
    assert sorted(copies) == [2] * 4 + [3] * 4
    (count,) = channel.settle()
    assert (count.messages, count.scalars, count.nbytes) == (4, 20, 80)
    channel.lend({"model": tree}, "up", 1)
    assert len(copies) == 8, "what is only read is not copied"


@STRICT
def test_a_client_that_changes_what_it_got_changes_nobody_elses(strict: bool) -> None:
    channel, weights = Channel(strict), torch.ones(3)
    received = [channel.send({"model": {"w": weights}}, "down", 1) for _ in range(3)]
    received[0]["model"]["w"].data.zero_()
    received[1]["model"]["w"].numpy()[:] = 7
    assert received[2]["model"]["w"].tolist() == [1, 1, 1]
    assert weights.tolist() == [1, 1, 1]
    assert channel.send({"model": {"w": weights}}, "down", 1)["model"]["w"].tolist() == [1, 1, 1]


@STRICT
def test_a_change_in_place_is_sent(strict: bool) -> None:
    channel, weights = Channel(strict), torch.ones(3)
    channel.send({"model": {"w": weights}}, "down", 1)
    weights.data.mul_(2)
    assert channel.send({"model": {"w": weights}}, "down", 2)["model"]["w"].tolist() == [2, 2, 2]


@STRICT
def test_other_tensors_or_names_are_sent(strict: bool) -> None:
    channel, weights = Channel(strict), torch.ones(3)
    channel.send({"model": {"w": weights}}, "down", 1)
    assert channel.send({"model": {"w": torch.zeros(3)}}, "down", 1)["model"]["w"].sum() == 0
    assert "v" in channel.send({"model": {"v": weights}}, "down", 1)["model"]
    assert "other" in channel.send({"other": {"v": weights}}, "down", 1)
    assert channel.send({}, "down", 1) == {}


@STRICT
def test_weights_that_two_names_share_arrive_apart(strict: bool) -> None:
    tied = torch.ones(2)
    received = Channel(strict).send({"model": {"a": tied, "b": tied}}, "down", 1)["model"]
    received["a"].zero_()
    assert received["b"].tolist() == [1, 1]
