"""Accuracy against bytes: the front by definition, names that don't overlap, what is drawn."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptfl_reports.drawing.labels import Mark, apart, grouped
from gptfl_reports.figures import pareto
from gptfl_reports.numbers.board import Leaderboard, leaderboard
from gptfl_reports.records.cells import read_cells

MakeCell = Callable[..., Path]
points = st.tuples(st.integers(0, 5), st.integers(0, 5))


@pytest.fixture
def board(run_folder: Path) -> Callable[[], Leaderboard]:
    return lambda: leaderboard(read_cells(run_folder))


def test_the_front_by_hand() -> None:
    found = pareto.front([(1, 0.5), (2, 0.5), (2, 0.7), (3, 0.6), (4, 0.9), (4, 0.9)])
    assert found == [True, False, True, False, True, True]


@given(st.lists(points, min_size=1, max_size=12))
def test_whatever_is_not_on_the_front_is_dominated_by_what_is(
    some: list[tuple[int, int]],
) -> None:
    ahead = [point for point, best in zip(some, pareto.front(some), strict=True) if best]
    assert ahead
    for cost, value in some:
        better = [(c, v) for c, v in ahead if c <= cost and v >= value]
        assert better
        if (cost, value) in ahead:
            assert set(better) == {(cost, value)}


def test_points_are_means_over_finished_seeds_of_both_directions(
    make_cell: MakeCell, board: Callable[[], Leaderboard]
) -> None:
    make_cell("fedavg", 0, [0.2, 0.4], once=9000)
    make_cell("fedavg", 1, [0.4, 0.8], rounds=1, down=3000)
    make_cell("fedavg", 2, [0.9, 0.9], rounds=1, status="diverged")
    make_cell("moon", 0, [0.1, 0.2], down=7000)
    make_cell("gptfl", 0, [0.5, 0.7], down=0, up=0)
    (panel,) = pareto.panels(board())
    free, plain, dear = panel.points
    assert (free.label, free.nbytes.mean, free.front) == ("gptfl", 0, True)
    assert (plain.n, plain.nbytes.mean) == (2, (1500 + 3500) / 2)
    assert plain.value.mean == pytest.approx((0.4 + 0.8) / 2)
    assert [point.front for point in (plain, dear)] == [False, False]
    (shown,) = pareto.FAMILY.shown(pareto.panels(board()))
    assert "gptfl 70.0 (0 B)" in shown.svg


@given(st.lists(st.tuples(st.floats(0, 4), st.floats(0, 1)), min_size=1, max_size=12))
def test_no_name_covers_another_name_or_marker(places: list[tuple[float, float]]) -> None:
    width, gap = 1.8, 0.04
    marks = [Mark(str(n), False, x, y) for n, (x, y) in enumerate(sorted(places))]
    named = [mark for group in grouped(marks, width, gap) for mark in group]
    assert sorted(mark.name for mark in named) == sorted(mark.name for mark in marks)
    for n, one in enumerate(named):
        assert 0 <= one.row <= 1
        for other in named[n + 1 :]:
            if abs(one.column - other.column) < width:
                assert abs(one.row - other.row) >= gap - 1e-9
        for other in named:
            inside = one.column < other.x < one.column + width
            assert not (inside and abs(one.row - other.y) < gap)


def test_heights_are_moved_no_further_than_needed() -> None:
    assert apart([0.2, 0.8], 0.1) == [0.2, 0.8]
    assert apart([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])
    assert apart([0.0, 0.01, 0.5], 0.1) == pytest.approx([0.0, 0.1, 0.5])


def test_the_same_records_give_the_same_bytes_and_names_stay_text(
    make_cell: MakeCell, board: Callable[[], Leaderboard]
) -> None:
    make_cell("running", 0, status="running")
    assert set(pareto.FAMILY.files(pareto.panels(board())).values()) == {b""}
    name = "<b>$x$</b>"
    make_cell(name, 0, [0.1, 0.5, 1.0], run_id="odd")
    once = pareto.FAMILY.files(pareto.panels(board()))
    assert once == pareto.FAMILY.files(pareto.panels(board()))
    assert once["pareto.png"].startswith(b"\x89PNG")
    nodes = ElementTree.fromstring(once["pareto.svg"].decode()).iter()
    assert f"{name} 75.0" in [node.text for node in nodes]
    (row,) = csv.DictReader(io.StringIO(once["pareto.csv"].decode()))
    assert (row["method"], row["bytes"], row["value"], row["front"]) == (
        *(name, "3000", "0.75"),
        "true",
    )
