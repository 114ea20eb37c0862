"""Round 0 is in no ranked value, and fewer than ten evaluations are said wherever it stands."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from gptfl_reports.figures import pareto, sweeps, sweeps_figure
from gptfl_reports.figures.figures import Figures
from gptfl_reports.numbers.averaged import averaged, evaluations
from gptfl_reports.numbers.board import leaderboard
from gptfl_reports.page.page import page
from gptfl_reports.records.cells import read_cells
from gptfl_reports.tables.ablations import ablation_tables
from gptfl_reports.tables.comparison import comparison_markdown, differences
from gptfl_reports.tables.leaderboard import to_csv, to_markdown, to_terminal

MakeCell = Callable[..., Path]


def test_a_good_start_is_no_lead(make_cell: MakeCell, run_folder: Path) -> None:
    """Evaluated before and after: with the start in the mean GPT-FL would lead by 20.25 points."""
    for seed in (0, 1):
        make_cell("fedavg", seed, [0.1, 0.9])
        make_cell("gptfl", seed, [0.5, 0.905])
    board = leaderboard(read_cells(run_folder))
    (difference,) = differences(board.rankings[0])
    assert difference.mean == pytest.approx(0.005)
    assert "mean of last 1 |" in to_markdown(board)
    assert "mean of last 1 " in to_terminal(board)
    assert "the last 1 evaluation, all there are after round 0;" in to_markdown(board)
    assert "the last 1 evaluation, all there are after round 0, in" in comparison_markdown(board)
    assert ablation_tables(board)[0].columns[2].title == "mean of last 1, difference"
    assert {
        line["evaluations_averaged"] for line in csv.DictReader(io.StringIO(to_csv(board)))
    } == {"1"}
    (shown,) = pareto.FAMILY.shown(pareto.panels(board))
    assert "(mean of the last 1 evaluation, all there are after round 0)" in shown.caption
    text = page(read_cells(run_folder), board, Figures.of(board), [], {}, [], "run")
    assert ">mean of last 1</th>" in text
    assert "mean of last 10" not in text


def test_ten_are_ten(make_cell: MakeCell, run_folder: Path) -> None:
    values = [0.9, *(r / 100 for r in range(1, 13))]
    make_cell("fedavg", 0, values)
    cells = read_cells(run_folder)
    assert cells[0].row()["value_mean_last"] == pytest.approx(0.075)  # rounds 3 to 12
    assert evaluations(averaged(cells)) == "the last 10 evaluations"
    make_cell("fedprox", 0, [0.1, 0.2, 0.3], rounds=12)
    assert averaged(read_cells(run_folder)) == "2 to 10"
    make_cell("moon", 0, [0.1, 0.2], rounds=12, status="running")
    assert averaged(read_cells(run_folder)) == "2 to 10"


def test_a_sweep_says_how_many(make_cell: MakeCell, run_folder: Path) -> None:
    for size in (1, 5):
        config = {"cohort_size": size}
        make_cell("fedavg", 0, [0.1, 0.4, 0.6], run_id=f"c{size}", cohort_size=size, config=config)
    (panel,) = sweeps.panels(leaderboard(read_cells(run_folder)))
    assert [dot.end.mean for dot in panel.lines[0].dots] == pytest.approx([0.5, 0.5])
    (shown,) = sweeps_figure.FAMILY.shown([panel])
    assert "(mean of the last 2 evaluations, all there are after round 0)" in shown.caption


def test_a_cell_without_a_trained_round_has_no_ranked_value(
    make_cell: MakeCell, run_folder: Path
) -> None:
    make_cell("gptfl", 0, [0.7])
    (row,) = [cell.row() for cell in read_cells(run_folder)]
    assert (row["value_mean_last"], row["value_last"]) == (None, 0.7)
    board = leaderboard(read_cells(run_folder))
    assert board.rankings[0].standings[0].mean_last is None
    assert "gptfl" in to_markdown(board)
