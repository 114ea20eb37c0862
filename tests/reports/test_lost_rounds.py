"""Rounds that secure aggregation lost stand wherever the cell stands."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

from gptfl_reports.numbers.board import leaderboard
from gptfl_reports.records.cells import Cell, read_cells
from gptfl_reports.records.events import EventLog, RoundLost
from gptfl_reports.report import write_report
from gptfl_reports.tables.leaderboard import to_csv, to_markdown, to_terminal
from gptfl_reports.tables.rows import rows_table
from gptfl_reports.tables.secure import costs, secrecy_markdown

MakeCell = Callable[..., Path]
SECURE = {
    "protocol": "bonawitz", "bits": 20, "clip": 4.0, "threshold": 0.67, "dropout": 0.9,
    "schedule": "",
}  # fmt: skip


def lose(folder: Path, rounds: range) -> None:
    log = EventLog(folder / "events.jsonl")
    for number in rounds:
        log.append(RoundLost(number, f"round {number} is abandoned: too few.", 0.1))
    log.close()


def test_some_lost_rounds_are_counted_everywhere(make_cell: MakeCell, run_folder: Path) -> None:
    make_cell("fedavg", 0, [0.1, 0.5])
    config = {"secure": SECURE}
    folder = make_cell("fedprox", 0, [0.1, 0.6], secure_aggregation=True, config=config)
    lose(folder, range(2, 5))
    cells = read_cells(run_folder)
    assert [cell.row()["rounds_lost"] for cell in cells] == [0, 3]
    assert "fedprox seed 0: in 3 of 4 rounds too few clients stayed" in rows_table(cells)
    board = leaderboard(cells)
    assert " rounds lost |" in to_markdown(board)
    assert "fedprox: 3 rounds lost, too few clients stayed" in to_terminal(board)
    lines = {line["method"]: line for line in csv.DictReader(io.StringIO(to_csv(board)))}
    assert {name: line["rounds_lost"] for name, line in lines.items()} == {
        "fedavg": "0",
        "fedprox": "3",
    }


def test_nothing_lost_has_no_column(make_cell: MakeCell, run_folder: Path) -> None:
    make_cell("fedavg", 0, [0.1, 0.5])
    assert "lost" not in to_markdown(leaderboard(read_cells(run_folder)))


def test_a_cell_that_lost_all_is_in_the_table_of_costs(make_cell: MakeCell, tmp_path: Path) -> None:
    reason = "nothing was learnt, for all 4 rounds were abandoned: too few."
    folder = make_cell(
        "moon", 0, [0.1], secure_aggregation=True, config={"secure": SECURE},
        rounds=4, status="failed", reason=reason,
    )  # fmt: skip
    lose(folder, range(1, 5))
    cells: list[Cell] = read_cells(tmp_path / "run")
    board = leaderboard(cells)
    (cost,) = costs(board.rankings[0])
    assert (cost.lost, cost.asked, cost.value) == (4, 0, None)
    assert "never a sum" in secrecy_markdown(board)
    write_report(tmp_path / "run", tmp_path / "report")
    page = (tmp_path / "report" / "index.html").read_text()
    assert reason in page
    assert ">Secure aggregation<" in page
