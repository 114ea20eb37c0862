"""The channel counts what is sent, and nothing else gets through."""

import json

import pytest
import torch

from gptfl_bench.core import groups as g
from gptfl_bench.engine.channel import ENVELOPE_BYTES, Channel
from gptfl_reports.records.events import TrafficCounted


def test_counts_by_hand() -> None:
    """Two messages of 6 floats and 2 integers of 64 bits: 24 and 16 bytes each, and a header."""
    channel = Channel()
    payload = {
        "model": {"w": torch.zeros(2, 2), "b": torch.zeros(2)},
        "buffers": {"count": torch.zeros(2, dtype=torch.int64)},
        "none": {},
    }
    for _ in range(2):
        channel.send(payload, "up", 3)
    channel.send({"model": {"w": torch.zeros(5)}}, "down", 3)
    sent = {(e.direction, e.group): e for e in channel.settle()}
    assert list(sent) == [("down", "model"), ("up", "buffers"), ("up", "model")]
    model, buffers = sent["up", "model"], sent["up", "buffers"]
    assert (model.round, model.messages, model.scalars, model.nbytes) == (3, 2, 12, 48)
    assert (buffers.messages, buffers.scalars, buffers.nbytes) == (2, 4, 32)
    assert model.wire_bytes + buffers.wire_bytes == 2 * (len(g.encode(payload)) + ENVELOPE_BYTES)
    down = sent["down", "model"]
    assert (down.messages, down.scalars, down.nbytes) == (1, 5, 20)
    assert channel.settle() == [], "counted once"


def test_wire_bytes_are_the_header_and_the_tensors() -> None:
    """Safetensors: 8 bytes of length, the header padded to 8, the data; 24 bytes of envelope."""
    channel = Channel()
    channel.send({"delta": {"w": torch.zeros(10)}}, "up", 1)
    header = json.dumps(
        {"delta/w": {"dtype": "F32", "shape": [10], "data_offsets": [0, 40]}}, separators=(",", ":")
    )
    (count,) = channel.settle()
    assert count == TrafficCounted(
        1, "up", "delta", 1, 10, 40, 24 + 8 + -(-len(header) // 8) * 8 + 40
    )


def test_wire_bytes_do_not_depend_on_the_order_of_names() -> None:
    """A resumed run meets its tensors in another order and must count the same."""
    big, small = torch.zeros(300), torch.zeros(2)
    found = []
    for tree in ({"a": big, "b": small, "c": small}, {"c": small, "b": small, "a": big}):
        channel = Channel()
        channel.send({"x": tree, "y": {"w": small}}, "up", 1)
        channel.send({"y": {"w": small}, "x": tree}, "up", 1)
        found.append(channel.settle())
    assert found[0] == found[1]


def test_rounds_and_directions_are_kept_apart_and_in_order() -> None:
    channel = Channel()
    for round, direction in ((2, "up"), (1, "down"), (2, "down"), (1, "up")):
        channel.send({"z": {"w": torch.zeros(1)}, "a": {"w": torch.zeros(1)}}, direction, round)  # type: ignore[arg-type]
    seen = [(e.round, e.direction, e.group) for e in channel.settle()]
    assert seen == [(r, d, n) for r in (1, 2) for d in ("down", "up") for n in ("a", "z")]


def test_nothing_is_shared_between_sender_and_receiver() -> None:
    channel = Channel()
    weights = torch.ones(3, requires_grad=True)
    first = channel.send({"model": {"w": weights}}, "down", 1)
    second = channel.send({"model": {"w": weights}}, "down", 1)
    assert not first["model"]["w"].requires_grad
    first["model"]["w"].zero_()
    assert weights.tolist() == [1, 1, 1]
    assert second["model"]["w"].tolist() == [1, 1, 1]


def test_what_was_not_sent_does_not_arrive() -> None:
    received = Channel().send({"model": {"w": torch.ones(1)}, "control": {}}, "down", 1)
    for group in ("control", "secret"):
        with pytest.raises(KeyError):
            received[group]
    channel = Channel()
    assert channel.send({}, "down", 1) == {}
    assert channel.settle() == []
