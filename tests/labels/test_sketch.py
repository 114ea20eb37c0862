"""The label sketch: sizes as published, and a round trip for any names."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptfl_bench.labels.sketch import FIELD, Shape, Sketch

CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
NAMES = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=5
).filter(lambda name: len(name.encode()) <= 10)


def merged(clients: list[list[str]], shape: Shape) -> Sketch:
    """The sum of the clients' sketches, as the server sees it."""
    sketches = [Sketch.of(names, shape) for names in clients]
    zeros = Sketch.of([], shape)
    return Sketch(
        shape,
        sum((s.table for s in sketches), zeros.table),
        sum((s.values for s in sketches), zeros.values),
    )


def test_published_sizes() -> None:
    """TensorFlow Federated: M = int(1.1 * 1.222 * 50 / 3 + 10) = 32; 4 chunks of 3 bytes for 10."""
    shape = Shape()
    sketch = Sketch.of(CIFAR10, shape)
    assert (shape.capacity, shape.max_bytes, shape.repetitions) == (50, 10, 3)
    assert (shape.cells, shape.chunks) == (32, 4)
    assert sketch.table.shape == (3, 32, 6)
    assert sketch.table.size == 576
    assert sketch.values.size == 96
    assert FIELD == 2**31 - 1
    assert Shape(capacity=100, repetitions=4).cells == int(1.1 * 1.295 * 100 / 4 + 10)


def test_one_name_by_hand() -> None:
    """ "cat" is 0x746163 in its first chunk, the byte order being little-endian."""
    shape = Shape()
    sketch = Sketch.of(["cat", "cat"], shape)
    rows = np.argwhere(sketch.table.any(axis=2))
    assert len(rows) == 3
    assert sorted(rows[:, 0].tolist()) == [0, 1, 2]
    for row, cell in rows:
        chunks = [ord("c") + (ord("a") << 8) + (ord("t") << 16), 0, 0, 0]
        assert sketch.table[row, cell].tolist() == [*chunks, 1, shape.check(b"cat")]
        assert cell == shape.positions(b"cat")[row]
        assert sketch.values[row, cell].tolist() == [1]
    assert sketch.values.sum() == 3


def test_two_names_in_known_cells_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow Federated's layout: where names share a cell, chunks, counts and checks add up.

    Its tutorial's sizes are 100 names of 20 bytes. Two clients hold "cat" and one of them "dog";
    both lie in cell 5 of the first repetition and apart in the other two. From cell 7, which holds
    "cat" alone, the reader takes "cat" out of cell 5, and what is left there is "dog".
    """
    shape = Shape(capacity=100, max_bytes=20)
    assert (shape.cells, shape.chunks) == (int(1.1 * 1.222 * 100 / 3 + 10), 7) == (54, 7)
    places = {b"cat": [5, 7, 9], b"dog": [5, 8, 2]}
    monkeypatch.setattr(Shape, "positions", lambda self, name: places[name])
    monkeypatch.setattr(Shape, "check", lambda self, name: {b"cat": 1000, b"dog": FIELD - 1}[name])
    summed = merged([["cat"], ["cat", "dog"]], shape)
    cat = ord("c") + (ord("a") << 8) + (ord("t") << 16)
    dog = ord("d") + (ord("o") << 8) + (ord("g") << 16)
    nothing = [0] * 6
    expected = {
        (0, 5): [2 * cat + dog, *nothing, 3, 2 * 1000 - 1],
        (1, 7): [2 * cat, *nothing, 2, 2000],
        (2, 9): [2 * cat, *nothing, 2, 2000],
        (1, 8): [dog, *nothing, 1, FIELD - 1],
        (2, 2): [dog, *nothing, 1, FIELD - 1],
    }
    table = summed.table % FIELD
    found = {
        (r, c): table[r, c].tolist() for r, c in np.ndindex(table.shape[:2]) if table[r, c].any()
    }
    assert found == expected
    assert summed.values[0, 5].tolist() == [3]
    decoded = summed.decode()
    assert (decoded.counts, decoded.not_decoded) == ({"cat": 2, "dog": 1}, 0)
    assert summed.counted(["cat", "dog"]) == {"cat": 2, "dog": 1}


def test_cifar10_labels_of_a_hundred_clients() -> None:
    """The paper's use: every client tells the distinct labels it holds; counts are exact."""
    rng = np.random.default_rng(0)
    clients = [list(rng.choice(CIFAR10, rng.integers(1, 10), replace=False)) for _ in range(100)]
    decoded = merged(clients, Shape()).decode()
    assert decoded.counts == Counter(name for names in clients for name in names)
    assert decoded.not_decoded == 0
    assert set(decoded.counts) == set(CIFAR10)


@settings(max_examples=40, deadline=None)
@given(
    clients=st.lists(st.lists(NAMES, max_size=4), min_size=1, max_size=6), seed=st.integers(0, 9)
)
def test_round_trip(clients: list[list[str]], seed: int) -> None:
    """At most 24 names in a table for 100, where peeling does not fail."""
    shape = Shape(seed=seed, repetitions=5, capacity=100)
    decoded = merged(clients, shape).decode()
    assert decoded.counts == Counter(name for names in clients for name in set(names))
    assert decoded.not_decoded == 0


@settings(max_examples=25, deadline=None)
@given(names=st.lists(NAMES, max_size=8), data=st.data())
def test_order_does_not_matter_and_merging_is_adding(names: list[str], data: st.DataObject) -> None:
    shape = Shape()
    other = data.draw(st.permutations(names))
    assert np.array_equal(Sketch.of(names, shape).table, Sketch.of(other, shape).table)
    cut = data.draw(st.integers(0, len(names)))
    a, b = merged([names[:cut], names[cut:]], shape), merged([names[cut:], names[:cut]], shape)
    assert np.array_equal(a.table, b.table)
    assert np.array_equal(a.values, b.values)


def test_a_negative_count_takes_a_name_away() -> None:
    """Subtracting a client's sketch in the field is as if it had not taken part."""
    shape = Shape()
    both = merged([["cat", "dog"], ["dog", "eel"]], shape)
    second = Sketch.of(["dog", "eel"], shape)
    left = Sketch(shape, (both.table - second.table) % FIELD, both.values - second.values).decode()
    assert left.counts == {"cat": 1, "dog": 1}
    assert left.not_decoded == 0


def test_decoding_leaves_the_sketch_alone() -> None:
    sketch = merged([CIFAR10], Shape())
    before = sketch.table.copy()
    assert sketch.decode() == sketch.decode()
    assert np.array_equal(sketch.table, before)


@pytest.mark.parametrize(("distinct", "whole"), [(10, 20), (50, 15), (100, 0)])
def test_what_does_not_fit_is_reported(distinct: int, whole: int) -> None:
    """Capacity 50: 50 names are nearly always read, 100 never; a failure always says so."""
    complete = 0
    for seed in range(20):
        names = [f"label {number}" for number in range(distinct)]
        decoded = merged([names] * 3, Shape(seed=seed)).decode()
        missing = distinct - len(decoded.counts)
        assert (decoded.not_decoded == 0) == (missing == 0)
        assert 0 <= decoded.not_decoded <= missing
        assert set(decoded.counts) <= set(names), "never a name that no one has"
        assert set(decoded.counts.values()) <= {3}
        complete += missing == 0
    assert complete >= whole
    assert whole > 0 or complete == 0


@pytest.mark.parametrize("name", ["", "aquarium_fish", "a\0b", "äöüäöü"])
def test_names_that_do_not_fit_are_refused(name: str) -> None:
    """Cutting them would merge labels; the last has six letters and twelve bytes."""
    with pytest.raises(ValueError, match="1 to 10 without NUL"):
        Sketch.of(["cat", name], Shape())
    assert Sketch.of(["aquarium_fish"], Shape(max_bytes=13)).decode().counts == {"aquarium_fish": 1}


@pytest.mark.parametrize("values", [{"capacity": 0}, {"max_bytes": 0}, {"repetitions": 2}])
def test_impossible_shapes_are_refused(values: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        Shape(**values)
