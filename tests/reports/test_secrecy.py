"""What secure aggregation costs, by hand, and where nothing is said about it."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from gptfl_reports.numbers.board import leaderboard
from gptfl_reports.records.cells import read_cells
from gptfl_reports.records.events import CellEnded, Event, RoundLost, SecureSum, to_line
from gptfl_reports.report import write_report
from gptfl_reports.tables.secure import costs, secrecy_csv, secrecy_tables

MakeCell = Callable[..., Path]
SECURE = {
    "protocol": "bonawitz",
    "bits": 20,
    "clip": 4.0,
    "threshold": 2 / 3,
    "dropout": 0.1,
    "schedule": "",
}
WORDS = "bonawitz, 20 bits, clip 4.0, threshold 0.67, dropout 0.1"


def seal(folder: Path, *stayed: int, lost: int = 0) -> None:
    """Put a sum for each round, one of label discovery and abandoned rounds into a cell's log."""
    sums = [
        SecureSum(n + 1, "bonawitz", 5, some, 100, 26, 3, 1e-5, n * 1e-6, 0.5)
        for n, some in enumerate(stayed)
    ]
    labels = SecureSum(0, "bonawitz", 20, 20, 672, 31, 0, 0.0, 0.0, 9.0)
    gone = [RoundLost(9 - n, "round 9 is abandoned: too few.", 0.1) for n in range(lost)]
    path = folder / "events.jsonl"
    before = path.read_text().splitlines(keepends=True)
    end = to_line(CellEnded("finished")) + "\n"
    events: list[Event] = [labels, *sums, *gone]
    added = [to_line(event) + "\n" for event in events]
    path.write_text("".join([*before[:-1], *added, end]))


@pytest.fixture
def both(make_cell: MakeCell, tmp_path: Path) -> Path:
    """Return a run folder with FedAvg on two seeds, with secure aggregation and without."""
    for seed in (0, 1):
        make_cell("fedavg", seed, [0.1, 0.5, 0.8], down=1000, up=500)
        folder = make_cell(
            "fedavg",
            seed,
            [0.1, 0.5, 0.9],
            down=3000,
            up=2500,
            run_id=f"sealed-{seed}",
            secure_aggregation=True,
            config={"secure": SECURE},
        )
        seal(folder, 5, 4, lost=seed)
    return tmp_path / "run"


def test_only_the_secured_runs_of_a_method_are_called_so(both: Path) -> None:
    (ranking,) = leaderboard(read_cells(both)).rankings
    labels = [standing.entrant.label for standing in ranking.standings]
    assert sorted(labels) == ["fedavg", f"fedavg (secure aggregation={WORDS})"]


def test_costs_by_hand(both: Path) -> None:
    (ranking,) = leaderboard(read_cells(both)).rankings
    (cost,) = costs(ranking)
    assert (cost.method, cost.protocol) == ("fedavg", WORDS)
    assert (cost.asked, cost.stayed, cost.lost) == (5, 4.5, 1)
    # A cohort of five: 2,500 bytes a round are 500 a client.
    assert (cost.up, cost.up_plain, cost.down, cost.down_plain) == (500, 100, 600, 200)
    assert cost.seconds == 0.5
    assert (cost.error, cost.bound, cost.clipped) == (1e-6, 1e-5, 12)
    assert cost.value is not None
    assert cost.value.n == 2
    assert cost.value.mean == pytest.approx(0.1 / 2)


def test_the_report_has_it_and_one_without_has_not(
    both: Path, make_cell: MakeCell, tmp_path: Path
) -> None:
    out = tmp_path / "report"
    write_report(both, out)
    assert ">Secure aggregation<" in (out / "index.html").read_text()
    (row,) = csv.DictReader(io.StringIO((out / "secure.csv").read_text()))
    assert (row["up"], row["up_plain"], row["lost"]) == ("500", "100", "1")
    make_cell("moon", run_folder=tmp_path / "plain")
    write_report(tmp_path / "plain", out)
    assert not list(out.glob("secure.*"))
    assert ">Secure aggregation<" not in (out / "index.html").read_text()


def test_without_a_plain_twin_costs_stand_alone(make_cell: MakeCell, tmp_path: Path) -> None:
    folder = make_cell("moon", 0, [0.1, 0.5], secure_aggregation=True, config={"secure": SECURE})
    seal(folder, 5)
    board = leaderboard(read_cells(tmp_path / "run"))
    (cost,) = costs(board.rankings[0])
    assert (cost.method, cost.value, cost.up_plain) == ("moon", None, None)
    (table,) = secrecy_tables(board)
    assert table.rows[0][0].detail == WORDS
    assert secrecy_csv(board).count("\n") == 2
