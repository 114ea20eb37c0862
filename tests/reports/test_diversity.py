"""Gradient diversity: means and running means by hand, and which methods stand together."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptfl_reports.figures import diversity
from gptfl_reports.numbers.board import Leaderboard, leaderboard
from gptfl_reports.records.cells import read_cells
from gptfl_reports.records.events import Event, RoundAggregated, read_events, to_line

MakeCell = Callable[..., Path]


@pytest.fixture
def board(run_folder: Path) -> Callable[[], Leaderboard]:
    return lambda: leaderboard(read_cells(run_folder))


def differs(folder: Path, by_round: Sequence[float | None]) -> None:
    """Set the gradient diversity of a cell's rounds."""

    def put(event: Event) -> Event:
        if isinstance(event, RoundAggregated):
            return replace(event, gradient_diversity=by_round[event.round - 1])
        return event

    path = folder / "events.jsonl"
    path.write_text("".join(to_line(put(event)) + "\n" for event in list(read_events(path))))


def test_means_over_finished_seeds_by_round(
    make_cell: MakeCell, board: Callable[[], Leaderboard]
) -> None:
    differs(make_cell("fedavg", 0, [0.1, 0.2, 0.3]), [0.5, 1.0])
    differs(make_cell("fedavg", 1, [0.1, 0.2, 0.3]), [1.5, None])
    differs(make_cell("fedavg", 2, [0.1, 0.2], rounds=2, status="diverged"), [9.0])
    (panel,) = diversity.panels(board())
    (line,) = panel.lines
    assert line.rounds == (1, 2)
    assert [(v.n, v.mean) for v in line.values] == [(2, 1.0), (1, 1.0)]
    assert line.values[0].sd == pytest.approx(0.5**0.5)
    assert line.smooth == (1.0, 1.0)


def test_running_means_by_hand() -> None:
    values = {1: 3.0, 2: 0.0, 3: 6.0, 5: 1.0}
    assert diversity.smoothed(values, reach=1) == (1.5, 3.0, 3.0, 1.0)
    assert diversity.smoothed(values, reach=0) == (3.0, 0.0, 6.0, 1.0)
    assert diversity.smoothed(values, reach=9) == (2.5,) * 4


@pytest.mark.parametrize(("rounds", "reach"), [(1, 0), (30, 3), (100, 5), (500, 5)])
def test_short_runs_are_smoothed_less(
    make_cell: MakeCell, board: Callable[[], Leaderboard], rounds: int, reach: int
) -> None:
    differs(make_cell("fedavg", 0, [0.1, 0.2], rounds=rounds), [0.5])
    (panel,) = diversity.panels(board())
    assert panel.reach == reach
    (shown,) = diversity.FAMILY.shown(diversity.panels(board()))
    assert ("too few rounds" in shown.caption) == (reach == 0)


@given(st.dictionaries(st.integers(1, 40), st.floats(0, 10), min_size=1))
def test_a_running_mean_stays_within_its_values(values: dict[int, float]) -> None:
    found = diversity.smoothed(values, reach=5)
    assert len(found) == len(values)
    assert min(values.values()) - 1e-9 <= min(found)
    assert max(found) <= max(values.values()) + 1e-9


def test_a_method_stands_beside_its_start_by_gptfl(
    make_cell: MakeCell, board: Callable[[], Leaderboard]
) -> None:
    for method in ("gptfl+moon", "gptfl", "moon", "fedavg", "moon-ablated"):
        differs(make_cell(method, 0), [0.5, 0.5])
    (panel,) = diversity.panels(board())
    groups = [[line.label for line in group] for group in panel.groups]
    assert groups == [["fedavg", "gptfl"], ["moon", "gptfl+moon"]]


def test_methods_without_updates_have_no_line(
    make_cell: MakeCell, board: Callable[[], Leaderboard]
) -> None:
    """The engine knows no diversity where clients send no updates, as in DS-FL."""
    make_cell("dsfl", 0)
    assert diversity.panels(board()) == ()
    assert set(diversity.FAMILY.files(diversity.panels(board())).values()) == {b""}
    differs(make_cell("fedavg", 0), [0.0, 0.0])
    assert [line.label for line in diversity.panels(board())[0].lines] == ["fedavg"]


def test_the_same_records_give_the_same_bytes_and_names_stay_text(
    make_cell: MakeCell, board: Callable[[], Leaderboard]
) -> None:
    name = "<i>$x$</i>"
    differs(make_cell(name, 0, [0.1, 0.2], run_id="odd", preset={"quick": True}), [0.7])
    once = diversity.FAMILY.files(diversity.panels(board()))
    assert once == diversity.FAMILY.files(diversity.panels(board()))
    assert once["diversity.png"].startswith(b"\x89PNG")
    nodes = list(ElementTree.fromstring(once["diversity.svg"].decode()).iter())
    assert name in [node.text for node in nodes]
    assert any("QUICK RUN" in (node.text or "") for node in nodes)
    (row,) = csv.DictReader(io.StringIO(once["diversity.csv"].decode()))
    assert (row["method"], row["round"], row["mean"], row["sd"], row["smoothed"]) == (
        *(name, "1", "0.7", ""),
        "0.7",
    )
