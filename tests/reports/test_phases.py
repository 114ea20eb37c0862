"""Time by phase: parts of the preparation by hand, and a sum that is the leaderboard's time."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from gptfl_reports.figures import phases
from gptfl_reports.numbers.board import Leaderboard, leaderboard
from gptfl_reports.records.cells import read_cell, read_cells
from gptfl_reports.records.events import (
    Event,
    PhaseFinished,
    Pretrained,
    RoundLost,
    SyntheticReady,
    to_line,
)
from gptfl_reports.records.schema import QUALITY_PHASE

MakeCell = Callable[..., Path]
MADE = SyntheticReady("embedded", "grammar", 100, "ab", False, 3.0)
TRAINED = Pretrained(10, 40, 0.5, False, 2.0, 1)


@pytest.fixture
def board(run_folder: Path) -> Callable[[], Leaderboard]:
    return lambda: leaderboard(read_cells(run_folder))


def prepares(folder: Path, *events: Event) -> Path:
    """Put events before a cell's other events."""
    path = folder / "events.jsonl"
    path.write_text("".join(to_line(event) + "\n" for event in events) + path.read_text())
    return folder


def test_phases_by_hand_add_up_to_the_time_of_the_cell(make_cell: MakeCell) -> None:
    """Three evaluations of 0.5 s, two rounds of 1.5 s, and one of 1 s that was lost."""
    events = (MADE, TRAINED, TRAINED, PhaseFinished("prepare", 7.5))
    look = PhaseFinished(QUALITY_PHASE, 100.0)
    cell = read_cell(prepares(make_cell("gptfl"), *events, look, RoundLost(1, "few.", 1.0)))
    found = phases.by_phase(cell)
    assert found == {
        "synthetic data": 3.0,
        "pre-training": 4.0,
        "other preparation": 0.5,
        "rounds": 4.0,
        "evaluation": 1.5,
    }
    assert sum(found.values()) == pytest.approx(cell.row()["seconds"])


def test_clocks_that_disagree_give_no_negative_time(make_cell: MakeCell) -> None:
    cell = read_cell(prepares(make_cell("gptfl"), MADE, PhaseFinished("prepare", 2.9)))
    assert phases.by_phase(cell)["other preparation"] == 0


def test_bars_are_means_over_finished_seeds_the_quickest_first(
    make_cell: MakeCell, board: Callable[[], Leaderboard]
) -> None:
    prepares(make_cell("gptfl", 0), MADE, PhaseFinished("prepare", 3.0))
    make_cell("gptfl", 1)
    make_cell("gptfl", 2, status="failed")
    make_cell("fedavg", 0)
    make_cell("moon", 0, status="diverged")
    (panel,) = phases.panels(board())
    plain, ours = panel.bars
    assert (plain.label, ours.label) == ("fedavg", "gptfl")
    assert (ours.seconds["synthetic data"].n, ours.seconds["synthetic data"].mean) == (2, 1.5)
    (ranking,) = board().rankings
    for standing in ranking.standings:
        bar = next((b for b in panel.bars if b.label == standing.entrant.label), None)
        assert (bar is None) == (standing.seconds is None)
        assert bar is None or standing.seconds is None or bar.total == standing.seconds.mean


def test_the_same_records_give_the_same_bytes_and_names_stay_text(
    make_cell: MakeCell, board: Callable[[], Leaderboard]
) -> None:
    make_cell("running", 0, status="running")
    assert set(phases.FAMILY.files(phases.panels(board())).values()) == {b""}
    assert phases.FAMILY.shown(phases.panels(board())) == []
    name = "<b>$x$</b>"
    make_cell(name, 0, run_id="odd")
    once = phases.FAMILY.files(phases.panels(board()))
    assert once == phases.FAMILY.files(phases.panels(board()))
    assert once["phases.png"].startswith(b"\x89PNG")
    words = [node.text for node in ElementTree.fromstring(once["phases.svg"].decode()).iter()]
    assert {name, "4.5 s", "pre-training"} <= set(words)
    rows = list(csv.DictReader(io.StringIO(once["phases.csv"].decode())))
    assert {row["phase"]: row["seconds"] for row in rows}["rounds"] == "3.0"
