"""One setting varied: which cells form a line, its means by hand, and what is no sweep."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from gptfl_reports.figures import sweeps, sweeps_figure
from gptfl_reports.numbers.board import Leaderboard, leaderboard
from gptfl_reports.records.cells import read_cells
from gptfl_reports.records.events import SyntheticReady, to_line

MakeCell = Callable[..., Path]
PLAN = {"epochs": 1, "steps": None, "batch_size": 16, "lr": 0.1}


@pytest.fixture
def board(run_folder: Path) -> Callable[[], Leaderboard]:
    return lambda: leaderboard(read_cells(run_folder))


@pytest.fixture
def asks(make_cell: MakeCell) -> Callable[..., Path]:
    """Return a writer of a cell with so many clients a round."""

    def make(method: str, cohort: int, seed: int, last: float, lr: float = 0.1) -> Path:
        return make_cell(
            method,
            seed,
            [last, last],
            run_id=f"{method}-{cohort}-{seed}-{lr}",
            cohort_size=cohort,
            config={"cohort_size": cohort, "seed": seed, "plan": PLAN | {"lr": lr}},
        )

    return make


@pytest.fixture
def amounts(make_cell: MakeCell) -> Callable[..., Path]:
    """Return a writer of a cell with so much synthetic data."""

    def make(
        method: str, amount: float, seed: int, start: float, last: float, used: bool = True
    ) -> Path:
        folder = make_cell(
            method,
            seed,
            [start, *[last] * 10],
            run_id=f"{method}-{amount}-{seed}",
            config={"synthetic": {"multiplier": amount}, "seed": seed},
        )
        if used:
            path = folder / "events.jsonl"
            ready = SyntheticReady("embedded", "grammar", 100, "ab", False, 3.0)
            path.write_text(to_line(ready) + "\n" + path.read_text())
        return folder

    return make


def test_clients_a_round_by_hand(
    asks: Callable[..., Path], board: Callable[[], Leaderboard]
) -> None:
    for cohort, seed, last in ((1, 0, 0.4), (1, 1, 0.6), (10, 0, 0.9)):
        asks("gptfl", cohort, seed, last)
    asks("fedavg", 1, 0, 0.2)
    (panel,) = sweeps.panels(board())
    assert panel.sweep.setting == "cohort_size"
    (line,) = panel.lines
    one, ten = line.dots
    assert (line.label, one.at, ten.at) == ("gptfl", 1, 10)
    assert (one.end.n, one.end.mean, ten.end.mean) == (2, 0.5, 0.9)
    assert one.end.sd == pytest.approx(0.02**0.5)
    assert (one.start, ten.end.sd) == (None, None)
    assert panel.title.endswith("1 rounds, 20 clients")


def test_cells_that_differ_in_something_else_are_no_line(
    asks: Callable[..., Path], board: Callable[[], Leaderboard]
) -> None:
    asks("fedavg", 1, 0, 0.4, lr=0.1)
    asks("fedavg", 2, 0, 0.5, lr=0.2)
    assert sweeps.panels(board()) == ()
    assert set(sweeps_figure.FAMILY.files(sweeps.panels(board())).values()) == {b""}
    asks("fedavg", 2, 0, 0.6, lr=0.1)
    asks("fedavg", 4, 0, 0.7, lr=0.2)
    (panel,) = sweeps.panels(board())
    found = {line.label: [dot.end.mean for dot in line.dots] for line in panel.lines}
    assert found == {"fedavg (lr=0.1)": [0.4, 0.6], "fedavg (lr=0.2)": [0.5, 0.7]}


def test_the_amount_of_synthetic_data_shows_the_start_too(
    amounts: Callable[..., Path], board: Callable[[], Leaderboard]
) -> None:
    for amount, start, last in ((0.5, 0.3, 0.7), (1.0, 0.4, 0.8), (10.0, 0.5, 0.9)):
        amounts("gptfl", amount, 0, start, last)
        amounts("fedavg", amount, 0, 0.1, 0.5, used=False)
    (panel,) = sweeps.panels(board())
    (line,) = panel.lines
    assert line.label == "gptfl"
    assert [dot.at for dot in line.dots] == [0.5, 1, 10]
    assert [dot.end.mean for dot in line.dots] == pytest.approx([0.7, 0.8, 0.9])
    assert [dot.start and dot.start.mean for dot in line.dots] == [0.3, 0.4, 0.5]
    (ranking,) = board().rankings
    assert panel.title == ranking.task.title


def test_epochs_on_synthetic_samples_show_the_start_too(
    make_cell: MakeCell, board: Callable[[], Leaderboard]
) -> None:
    for epochs, start, last in ((1, 0.3, 0.7), (20, 0.5, 0.8)):
        method = {"pretrain": {"epochs": epochs}}
        make_cell("gptfl", 0, [start, *[last] * 10], run_id=f"e{epochs}", config={"method": method})
    make_cell("fedavg", 0, [0.1, 0.5], run_id="avg", config={"method": {"plan": PLAN}})
    (panel,) = sweeps.panels(board())
    (line,) = panel.lines
    assert panel.sweep.words == "epochs on synthetic samples"
    assert line.label == "gptfl"
    assert [(dot.at, dot.start and dot.start.mean) for dot in line.dots] == [(1, 0.3), (20, 0.5)]
    assert [dot.end.mean for dot in line.dots] == pytest.approx([0.7, 0.8])


def test_repeated_runs_of_a_seed_are_lines_of_their_own(
    asks: Callable[..., Path], make_cell: MakeCell, board: Callable[[], Leaderboard]
) -> None:
    for cohort in (1, 2):
        asks("moon", cohort, 0, 0.4)
        asks("moon-ablated", cohort, 0, 0.3)
        config = {"cohort_size": cohort, "seed": 0, "plan": PLAN}
        again = f"again-{cohort}"
        make_cell("moon", 0, [0.8, 0.8], run_id=again, cohort_size=cohort, config=config)
    (panel,) = sweeps.panels(board())
    found = {line.label: [dot.end.mean for dot in line.dots] for line in panel.lines}
    assert found == {"moon (run again-1)": [0.8, 0.8], "moon (run moon-1-0-0.1)": [0.4, 0.4]}


def test_unfinished_cells_are_no_points(
    asks: Callable[..., Path], make_cell: MakeCell, board: Callable[[], Leaderboard]
) -> None:
    asks("gptfl", 1, 0, 0.4)
    config = {"cohort_size": 2, "seed": 0, "plan": PLAN}
    make_cell("gptfl", status="diverged", cohort_size=2, config=config, rounds=1)
    assert sweeps.panels(board()) == ()


def test_the_same_records_give_the_same_bytes_and_names_stay_text(
    asks: Callable[..., Path], make_cell: MakeCell, board: Callable[[], Leaderboard]
) -> None:
    name = "<b>$x$</b>"
    for cohort in (1, 4, 16):
        config = {"cohort_size": cohort}
        make_cell(name, 0, [0.5, 0.5], run_id=f"odd{cohort}", cohort_size=cohort, config=config)
    once = sweeps_figure.FAMILY.files(sweeps.panels(board()))
    assert once == sweeps_figure.FAMILY.files(sweeps.panels(board()))
    assert once["sweeps.png"].startswith(b"\x89PNG")
    words = [node.text for node in ElementTree.fromstring(once["sweeps.svg"].decode()).iter()]
    assert {f"{name} 50.0", "1", "4", "16"} <= set(words)
    rows = list(csv.DictReader(io.StringIO(once["sweeps.csv"].decode())))
    assert [(row["at"], row["value"], row["start"]) for row in rows] == [
        ("1", "0.5", ""),
        ("4", "0.5", ""),
        ("16", "0.5", ""),
    ]
