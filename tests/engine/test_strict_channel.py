"""Counting is encoding without the bytes: the same counts, the same tensors, the same results."""

from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gptfl_bench.core import groups as g
from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.groups import Groups
from gptfl_bench.engine.channel import STRICT, Channel


def _view(base: Tensor, kind: str) -> Tensor:
    """Return a tensor that lies in memory in another way: turned, spread out, cut or a weight."""
    if kind == "turned":
        return base.T if base.dim() == 2 else base.transpose(0, -1) if base.dim() else base
    if kind == "spread":
        return base.new_ones(()).expand(base.shape)
    if kind == "cut":
        return torch.cat([base.reshape(-1), base.reshape(-1)])[::2][: base.numel()].view(base.shape)
    if kind == "channels last" and base.dim() == 4:
        return base.contiguous(memory_format=torch.channels_last)
    return torch.nn.Parameter(base) if base.is_floating_point() else base


TENSORS = st.builds(
    lambda dtype, shape, seed, kind: _view(
        torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(seed)).to(dtype), kind
    ),
    st.sampled_from(list(g._DTYPES)),
    st.lists(st.integers(0, 3), max_size=4).map(tuple),
    st.integers(0, 99),
    st.sampled_from(["turned", "spread", "cut", "channels last", "weight"]),
)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
PAYLOADS = st.dictionaries(
    NAMES.filter(lambda name: "/" not in name),
    st.dictionaries(NAMES, TENSORS, max_size=4),
    max_size=3,
)


@settings(max_examples=150, deadline=None)
@given(payload=PAYLOADS)
def test_any_payload_is_counted_and_arrives_as_if_it_were_encoded(payload: Groups) -> None:
    """All types, shapes and layouts in memory, names of any letters, in the codec's order."""
    found = []
    # Small tensors are copied at once, large ones when they are written.
    for strict, large in ((True, g._LARGE), (False, g._LARGE), (False, 0)):
        channel = Channel(strict)
        with mock.patch.object(g, "_LARGE", large):
            arrived = [channel.send(payload, "down", 3), channel.lend(payload, "up", 3)]
        forms = [
            [
                (group, name, tensor.dtype, tensor.shape, tensor.requires_grad)
                for group, tree in groups.items()
                for name, tensor in tree.items()
                if tensor.is_contiguous()
            ]
            for groups in arrived
        ]
        # What is kept may meet kernels that choose by strides; what is lent is only added up.
        strides = [t.stride() for tree in arrived[0].values() for t in tree.values()]
        raw = [
            [bytes(g._raw(tensor)) for tree in groups.values() for tensor in tree.values()]
            for groups in arrived
        ]
        found.append((forms, strides, raw, channel.settle()))
    assert found[0] == found[1] == found[2]
    assert g.layout(payload).size == len(g.encode(payload))


@settings(max_examples=50, deadline=None)
@given(payload=PAYLOADS, large=st.sampled_from([0, g._LARGE]))
def test_what_is_sent_shares_no_memory(payload: Groups, large: int) -> None:
    with mock.patch.object(g, "_LARGE", large):
        arrived = Channel().send(payload, "down", 1)
    sent, received = (
        [
            tensor.untyped_storage().data_ptr()
            for tree in groups.values()
            for tensor in tree.values()
            if tensor.numel()
        ]
        for groups in (payload, arrived)
    )
    assert not set(received) & set(sent)
    assert len(set(received)) == len(received)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("group", ["", "a/b"])
def test_a_group_without_a_proper_name_is_refused(strict: bool, group: str) -> None:
    with pytest.raises(ValueError, match="a name without a slash is needed"):
        Channel(strict).send({group: {"w": torch.ones(1)}}, "up", 1)


@pytest.mark.parametrize("value", ["yes", "2"])
def test_other_values_are_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(STRICT, value)
    with pytest.raises(UsageError, match=rf"{STRICT}='{value}' must be 1 .* or 0"):
        Channel.as_asked()


def test_the_environment_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Channel.as_asked().strict, "tests run on a strict channel"
    for value in ("", "0"):
        monkeypatch.setenv(STRICT, value)
        assert not Channel.as_asked().strict


def test_a_wrong_count_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    encode = g.encode
    monkeypatch.setattr(g, "encode", lambda groups: encode(groups) + b" ")
    with pytest.raises(RuntimeError, match=r"a message of \d+ bytes was counted as \d+"):
        Channel(strict=True).send({"model": {"w": torch.ones(1)}}, "up", 1)
