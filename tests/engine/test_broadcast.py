"""A broadcast is encoded once, and no change to what is sent can hide behind that."""

import pytest
import torch

from gptfl_bench.core import groups as g
from gptfl_bench.engine.channel import Channel


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows with every payload that is encoded."""
    calls: list[int] = []
    encode = g.encode

    def counted(payload: g.Groups) -> bytes:
        calls.append(len(payload))
        return encode(payload)

    monkeypatch.setattr(g, "encode", counted)
    return calls


def test_the_same_tensors_are_encoded_once_and_counted_each_time(encoded: list[int]) -> None:
    channel, weights = Channel(), torch.ones(3)
    encoded.clear()
    received = [channel.send({"model": {"w": weights}}, "down", 1) for _ in range(4)]
    assert len(encoded) == 1
    (count,) = channel.settle()
    assert (count.messages, count.scalars, count.nbytes) == (4, 12, 48)
    received[0]["model"]["w"].zero_()
    assert received[1]["model"]["w"].tolist() == [1, 1, 1]
    assert weights.tolist() == [1, 1, 1]


def test_a_change_in_place_is_sent() -> None:
    channel, weights = Channel(), torch.ones(3)
    channel.send({"model": {"w": weights}}, "down", 1)
    weights.mul_(2)
    assert channel.send({"model": {"w": weights}}, "down", 2)["model"]["w"].tolist() == [2, 2, 2]


def test_other_tensors_or_names_are_sent() -> None:
    channel, weights = Channel(), torch.ones(3)
    channel.send({"model": {"w": weights}}, "down", 1)
    assert channel.send({"model": {"w": torch.zeros(3)}}, "down", 1)["model"]["w"].sum() == 0
    assert "v" in channel.send({"model": {"v": weights}}, "down", 1)["model"]
    assert "other" in channel.send({"other": {"v": weights}}, "down", 1)
    assert channel.send({}, "down", 1) == {}
