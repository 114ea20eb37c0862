"""Groups: the codec, tree arithmetic and what a network gives and takes."""

import math
from collections.abc import Callable

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gptfl_bench.core import groups as g
from gptfl_bench.core.groups import Groups

Bits = Callable[[Groups], object]
DTYPES = (torch.float32, torch.float64, torch.int64, torch.int32, torch.uint8, torch.bool)
SHAPES = st.lists(st.integers(0, 3), max_size=3).map(tuple)
TENSORS = st.builds(
    lambda dtype, shape, seed: torch.randint(
        0, 2, shape, generator=torch.Generator().manual_seed(seed)
    ).to(dtype),
    st.sampled_from(DTYPES),
    SHAPES,
    st.integers(0, 99),
)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
GROUPS = st.dictionaries(
    NAMES.filter(lambda name: "/" not in name),
    st.dictionaries(NAMES, TENSORS, max_size=4),
    max_size=3,
)


@settings(max_examples=60, deadline=None)
@given(groups=GROUPS)
def test_codec_gives_back_what_it_took(bits: Bits, groups: Groups) -> None:
    """All dtypes and shapes, scalars and tensors without entries; an empty group is no group."""
    found = g.decode(g.encode(groups))
    assert bits(found) == bits(groups)
    assert set(found) == {group for group, tree in groups.items() if tree}


@settings(max_examples=30, deadline=None)
@given(groups=GROUPS)
def test_codec_keeps_one_order(groups: Groups) -> None:
    """Sums over a tree, and the length of a message's header, depend on the order of names."""
    data = g.encode(groups)
    once = g.decode(data)
    for _ in range(3):
        again = g.decode(data)
        assert list(again) == list(once)
        assert [list(tree) for tree in again.values()] == [list(tree) for tree in once.values()]
    assert g.encode(once) == data


def test_codec_is_the_safetensors_format() -> None:
    """The library reads it under ``group/name``; values that no equality shows are kept too."""
    values = torch.tensor([math.nan, math.inf, -0.0, 1e-45])
    data = g.encode({"model": {"encoder.0/weight": values}, "none": {}})
    read = safetensors.torch.load(data)
    assert list(read) == ["model/encoder.0/weight"]
    assert read["model/encoder.0/weight"].numpy().tobytes() == values.numpy().tobytes()
    assert list(g.decode(data)["model"]) == ["encoder.0/weight"]


def test_codec_of_views() -> None:
    """Tensors that share or only partly fill their storage arrive as separate values."""
    base = torch.arange(12.0).reshape(3, 4)
    tree = {"all": base, "turned": base.T, "row": base[1], "one": base[2, 3], "again": base}
    tree["wide"] = base[:1].expand(5, 4)
    found = g.decode(g.encode({"x": tree}))["x"]
    for name, tensor in tree.items():
        assert torch.equal(found[name], tensor), name
    found["all"].zero_()
    assert torch.equal(found["again"], torch.arange(12.0).reshape(3, 4))
    assert base.sum() == 66


@pytest.mark.parametrize("name", ["", "a/b", "/"])
def test_group_names_without_slash(name: str) -> None:
    with pytest.raises(ValueError, match="without a slash"):
        g.encode({name: {"w": torch.zeros(1)}})


def test_tree_arithmetic_by_hand() -> None:
    a = {"u": torch.tensor([1.0, 2.0]), "v": torch.tensor(3.0)}
    b = {"v": torch.tensor(5.0), "u": torch.tensor([10.0, 20.0])}
    assert [t.tolist() for t in g.add(a, b, 0.5).values()] == [[6.0, 12.0], 5.5]
    assert [t.tolist() for t in g.subtract(b, a).values()] == [2.0, [9.0, 18.0]]
    assert g.squared_norm(a) == pytest.approx(14.0)
    assert (g.scalars(a), g.nbytes(a)) == (3, 12)
    assert g.nbytes({"n": torch.zeros(2, dtype=torch.int64), "b": torch.zeros(3).bool()}) == 19
    assert not g.is_finite({**a, "w": torch.tensor([1.0, math.nan])})
    with pytest.raises(ValueError, match="differ in their names"):
        g.add(a, {"u": torch.zeros(2)})
    zeros = g.zeros_like({"n": torch.ones(2, dtype=torch.int64)})
    assert zeros["n"].tolist() == [0, 0]
    assert zeros["n"].dtype == torch.int64


def test_groups_of_a_network_are_copies() -> None:
    first = nn.Linear(2, 3)
    model = nn.Sequential(first, nn.BatchNorm1d(3))
    groups = g.model_groups(model)
    assert set(groups["model"]) == {"0.weight", "0.bias", "1.weight", "1.bias"}
    assert set(groups["buffers"]) == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    before = first.bias.detach().clone()
    groups["model"]["0.bias"].add_(1)
    assert torch.equal(first.bias, before)
    assert not any(tensor.requires_grad for tensor in groups["model"].values())


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 999), scale=st.sampled_from([1.0, -1.0, 0.3, 1e-3, -7.0]))
def test_arithmetic_rounds_as_an_expression_does(seed: int, scale: float) -> None:
    """Bit for bit, of any size and sign; one fused operation would round once where two do."""
    rng = torch.Generator().manual_seed(seed)
    a, b = (
        {name: torch.randn(size, generator=rng) for name, size in (("w", 37), ("b", 1))}
        for _ in range(2)
    )
    a["z"], b["z"] = torch.tensor([-0.0, 0.0, 1e-45]), torch.tensor([-0.0, -0.0, -1e-45])
    for name in a:
        added, taken = g.add(a, b, scale)[name], g.subtract(a, b)[name]
        for found, expected in ((added, a[name] + scale * b[name]), (taken, a[name] - b[name])):
            assert found.numpy().tobytes() == expected.numpy().tobytes()
    norms = [float(torch.linalg.vector_norm(tensor)) for tensor in a.values()]
    assert g.squared_norm(a) == math.fsum(norm**2 for norm in norms)


def test_trees_of_nothing_and_of_integers() -> None:
    assert g.add({}, {}) == g.subtract({}, {}) == {}
    assert g.squared_norm({}) == 0
    whole = {"n": torch.tensor([3, 4])}
    assert g.add(whole, whole)["n"].tolist() == [6, 8]
    assert g.add(whole, whole, 0.5)["n"].tolist() == [4.5, 6]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("place", [0, 500, 998])
def test_one_bad_scalar_is_found_anywhere(bad: float, dtype: torch.dtype, place: int) -> None:
    tree = {"a": torch.ones(999, dtype=dtype), "n": torch.ones(3, dtype=torch.int64)}
    tree |= {"none": torch.ones(0), "wide": torch.full((2,), 1e300, dtype=torch.float64)}
    assert g.is_finite(tree)
    tree["a"][place] = bad
    assert not g.is_finite(tree)
