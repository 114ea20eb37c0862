"""The page as text: what it says of cells elsewhere, and how long it takes for many."""

import itertools
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gptfl_reports.figures.figures import Figures
from gptfl_reports.numbers.board import leaderboard
from gptfl_reports.page.page import page
from gptfl_reports.records.cells import read_cells
from gptfl_reports.report import write_report
from gptfl_reports.tables.table1 import observed

MakeCell = Callable[..., Path]


def test_page_elsewhere_names_its_cells_without_links(
    make_cell: MakeCell, run_folder: Path, tmp_path: Path
) -> None:
    make_cell("fedavg", 0)
    write_report(run_folder, tmp_path / "out")
    text = (tmp_path / "out" / "index.html").read_text()
    assert "record.json" not in text
    assert ">fedavg-0</th>" in text
    assert "efefefefefef" in text
    assert "abab" * 16 in text  # the data's checksum


@pytest.mark.slow
def test_page_of_two_thousand_cells_is_quick_and_small(
    make_cell: MakeCell, run_folder: Path
) -> None:
    for task, method, seed in itertools.product(range(5), range(40), range(10)):
        values = [0.1 + 0.002 * (r + method) + seed / 1000 for r in range(101)]
        make_cell(
            f"method{method}" if method else "fedavg", seed, values,
            run_id=f"{task}-{method}-{seed}", dataset={"name": f"set{task}"},
        )  # fmt: skip
    cells = read_cells(run_folder)
    board = leaderboard(cells)
    figures = Figures.of(board)
    start = time.process_time()
    text = page(cells, board, figures, observed(cells), {}, [], "run", "../")
    seconds = time.process_time() - start
    print(f"{len(cells)} cells: {seconds:.2f} s, {len(text.encode()) / 1e6:.2f} MB")
    assert seconds < 3
    assert len(text.encode()) < 10e6
