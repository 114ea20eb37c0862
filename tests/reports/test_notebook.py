"""Results in a notebook, against values computed by hand."""

import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gptfl_reports import notebook
from gptfl_reports.notebook import Results
from gptfl_reports.records.cells import read_cell, read_cells
from gptfl_reports.records.errors import UsageError
from gptfl_reports.records.schema import Row
from gptfl_reports.report import write_report

MakeCell = Callable[..., Path]


@pytest.fixture
def results(make_cell: MakeCell, run_folder: Path) -> Results:
    """Return two methods with two seeds each on one task."""
    # The mean of the last evaluations is that of all, for there are fewer than ten.
    make_cell("fedavg", 0, (0.1, 0.2, 0.3), once=400)
    make_cell("fedavg", 1, (0.1, 0.3, 0.5), once=400)
    make_cell("gptfl", 0, (0.5, 0.6, 0.7))
    make_cell("gptfl", 1, (0.6, 0.7, 0.8))
    return notebook.read(run_folder)


def test_rows_are_those_of_cells(results: Results) -> None:
    assert list(results.rows.columns) == list(Row.__annotations__)
    assert list(results["method"]) == ["fedavg", "fedavg", "gptfl", "gptfl"]
    assert list(results["value_last"]) == [0.3, 0.5, 0.7, 0.8]
    assert len(results) == len(results.rows) == 4
    assert tuple(results) == results.cells


def test_curves_count_both_directions_until_the_round(results: Results) -> None:
    curves = results.curves()
    assert list(curves.columns) == ["method", "seed", "round", "metric", "value", "bytes"]
    first = curves[(curves["method"] == "fedavg") & (curves["seed"] == 1)]
    assert first["round"].tolist() == [0, 1, 2]
    assert first["value"].tolist() == [0.1, 0.3, 0.5]
    # 1000 down and 500 up a round; 400 handed out once are no part of it.
    assert first["bytes"].tolist() == [0, 1500, 3000]
    assert set(curves["metric"]) == {"accuracy"}
    assert len(curves) == 12


def test_bytes_of_a_curve_are_those_of_the_row(make_cell: MakeCell, run_folder: Path) -> None:
    make_cell("fedavg", 0, (0.1, 0.5, 0.95, 0.96))
    results = notebook.read(run_folder)
    curves, row = results.curves(), results.rows.iloc[0]
    reached = curves[curves["round"] == row["rounds_to_target"]]
    assert reached["bytes"].tolist() == [row["bytes_to_target"]] == [3000]
    assert curves["bytes"].iloc[-1] == row["bytes_down"] + row["bytes_up"] == 4500


def test_the_leaderboard_has_mean_and_spread(results: Results) -> None:
    board = results.leaderboard()
    assert list(board.columns) == ["task", "method", "n", "mean", "spread"]
    assert board["method"].tolist() == ["gptfl", "fedavg"]
    assert board["n"].tolist() == [2, 2]
    # Means of a cell: 0.65 and 0.75; 0.25 and 0.4. Two values a distance d apart have d / sqrt(2).
    assert board["mean"].tolist() == pytest.approx([0.7, 0.325])
    assert board["spread"].tolist() == pytest.approx([0.1 / math.sqrt(2), 0.15 / math.sqrt(2)])


def test_a_comparison_is_paired_and_has_students_interval(
    make_cell: MakeCell, run_folder: Path
) -> None:
    for seed, value in enumerate((0.5, 0.7)):
        make_cell("fedavg", seed, (0.1, 0.4))
        make_cell("gptfl", seed, (0.1, value))
    make_cell("gptfl", 2, (0.1, 0.9))
    results = notebook.read(run_folder)
    found = results.compare()
    assert list(found.columns) == ["task", "method", "n", "difference", "low", "high"]
    assert found[["method", "n"]].to_numpy().tolist() == [["gptfl", 2]]
    # Differences 0.1 and 0.3: sd sqrt(0.02), standard error 0.1, t of one degree 12.706.
    expected = [0.2, 0.2 - 1.2706, 0.2 + 1.2706]
    assert found.iloc[0, 3:].tolist() == pytest.approx(expected, abs=1e-4)
    assert results.compare("gptfl")["difference"].tolist() == pytest.approx([-0.2])
    with pytest.raises(UsageError, match="unknown baseline 'moon': choose from fedavg, gptfl"):
        results.compare("moon")


def test_one_seed_has_no_spread_and_no_interval(make_cell: MakeCell, run_folder: Path) -> None:
    make_cell("fedavg", 0, (0.1, 0.4))
    make_cell("gptfl", 0, (0.1, 0.5))
    results = notebook.read(run_folder)
    assert results.leaderboard()["spread"].isna().all()
    compared = results.compare()
    assert compared["low"].isna().all()
    assert compared["high"].isna().all()
    assert repr(results).endswith("; gptfl 50.0 (n=1), fedavg 40.0 (n=1)")


def test_the_line_names_what_there_is(results: Results) -> None:
    assert repr(results) == (
        "Results: 4 cells, 2 methods, 1 task; gptfl 70.0 ± 7.1 (n=2), fedavg 32.5 ± 10.6 (n=2)"
    )
    assert repr(Results([])) == "Results: 0 cells, 0 methods, 0 tasks"


def test_the_line_names_six_methods_at_most(make_cell: MakeCell, run_folder: Path) -> None:
    for n in range(8):
        make_cell(f"method{n}", 0, (0.1, 0.1 * n))
    text = repr(notebook.read(run_folder))
    assert text.endswith("method3 30.0 (n=1), method2 20.0 (n=1), and 2 more")
    assert "\n" not in text


def test_two_tasks(make_cell: MakeCell, run_folder: Path) -> None:
    make_cell("fedavg", 0, (0.2, 0.4), run_id="a")
    make_cell("fedavg", 0, (0.6, 0.8), run_id="b", dataset={"name": "mnist5k"})
    make_cell("gptfl", 0, (0.7, 0.9), run_id="c", dataset={"name": "mnist5k"})
    results = notebook.read(run_folder)
    assert repr(results) == "Results: 3 cells, 2 methods, 2 tasks"
    curves = results.curves()
    assert list(curves.columns)[6:] == ["dataset", "partition", "task"]
    assert curves["dataset"].tolist() == ["digits"] * 2 + ["mnist5k"] * 4
    assert set(curves["partition"]) == {"dirichlet(alpha=0.1, num_clients=20)"}
    board = results.leaderboard()
    assert board["method"].tolist() == ["fedavg", "gptfl", "fedavg"]
    assert board["mean"].tolist() == pytest.approx([0.4, 0.9, 0.8])
    assert board["task"].nunique() == 2
    assert results.compare()["difference"].tolist() == pytest.approx([0.1])
    assert results._repr_html_().count("<table>") == 2
    with pytest.raises(UsageError, match=r"a plot shows one task, not 2; .*'mnist5k · "):
        results.plot()
    digits = results.select(dataset="digits")
    assert digits.plot().get_xlabel() == "round"
    (title,) = set(digits.leaderboard()["task"])
    assert results.select(task=title).cells == digits.cells


def test_a_refused_cell_has_no_values(make_cell: MakeCell, run_folder: Path) -> None:
    make_cell("fedavg", 0, (0.1, 0.4))
    make_cell("dsfl", 0, (), status="refused", reason="it needs public data.", rounds=1)
    results = notebook.read(run_folder)
    assert repr(results) == "Results: 2 cells, 2 methods, 1 task; fedavg 40.0 (n=1), dsfl refused"
    board = results.leaderboard()
    assert board["n"].tolist() == [1, 0]
    assert board["mean"].isna().tolist() == [False, True]
    assert set(results.curves()["method"]) == {"fedavg"}
    compared = results.compare()
    assert compared["n"].tolist() == [0]
    assert compared["difference"].isna().all()
    refused = results.select(status="refused")
    assert [repr(cell) for cell in refused] == ["Cell(dsfl-0, refused)"]
    assert refused.leaderboard()["mean"].isna().all()
    with pytest.raises(UsageError, match="no cell has finished"):
        refused.plot()
    assert len(results.select(status="failed")) == 0


def test_select_takes_one_or_several_and_knows_what_there_is(results: Results) -> None:
    assert [cell.record["seed"] for cell in results.select(method="gptfl")] == [0, 1]
    assert len(results.select(method=["gptfl", "fedavg"], seed=1)) == 2
    assert len(results.select(seed={0, 1}, status=("finished", "running"))) == 4
    assert len(results.select()) == 4
    for asked, message in (
        (
            {"method": "gptfl+"},
            r"unknown method 'gptfl\+': did you mean gptfl\? choose from fedavg",
        ),
        ({"seed": 7}, "unknown seed '7': choose from 0, 1"),
        ({"dataset": ["digits", "digitz"]}, "unknown dataset 'digitz': did you mean digits"),
        ({"task": "x"}, "unknown task 'x': choose from digits · "),
        ({"status": "done"}, "unknown status 'done': choose from diverged, failed, finished"),
    ):
        with pytest.raises(UsageError, match=message):
            results.select(**asked)


def test_a_plot_goes_where_it_is_told(results: Results) -> None:
    from matplotlib.figure import Figure

    axis = Figure().add_subplot()
    assert results.plot(axis) is axis
    lines = {
        str(line.get_label()): np.asarray(line.get_ydata()).tolist() for line in axis.get_lines()
    }
    assert lines["gptfl"] == pytest.approx([0.55, 0.65, 0.75])
    assert lines["fedavg"] == pytest.approx([0.1, 0.25, 0.4])
    assert len(axis.collections) == 2  # a band each
    legend = axis.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["gptfl", "fedavg"]


def test_names_are_escaped_in_html(make_cell: MakeCell, run_folder: Path) -> None:
    make_cell(
        "<b>&x", 0, (0.1, 0.5), run_id="x", dataset={"name": "<script>"}, preset={"quick": True}
    )
    html = notebook.read(run_folder)._repr_html_()
    assert "<th>&lt;b&gt;&amp;x</th><td>1</td><td>50.0</td>" in html
    assert "<caption>QUICK RUN - not for comparison &lt;script&gt; · dirichlet" in html
    assert "<script>" not in html
    assert "<b>" not in html


def test_the_report_is_that_of_the_run_folder(
    results: Results, run_folder: Path, tmp_path: Path
) -> None:
    written = write_report(run_folder, tmp_path / "one")
    again = Results(reversed(results.cells)).report(tmp_path / "two")
    assert [path.name for path in again] == [path.name for path in written]
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in written]
    # The folder of a run may be gone, as that of a run without --out.
    shutil.rmtree(run_folder)
    assert len(results.report(tmp_path / "three", baseline="gptfl")) == len(written)


def test_a_report_is_of_one_run_folder(make_cell: MakeCell, tmp_path: Path) -> None:
    cells = [make_cell("fedavg", 0, run_folder=tmp_path / name) for name in ("a", "b")]
    with pytest.raises(UsageError, match="of one run folder"):
        Results(map(read_cell, cells)).report(tmp_path / "out")
    with pytest.raises(UsageError, match="these are of none"):
        Results([]).report(tmp_path / "out")


def test_cells_print_in_a_line(make_cell: MakeCell, run_folder: Path) -> None:
    make_cell("fedavg", 0, (0.1, 0.6124))
    make_cell("gptfl", 0, (0.1, 0.2, 0.8), metric="macro_f1", status="running")
    assert list(map(repr, read_cells(run_folder))) == [
        "Cell(fedavg-0, finished, accuracy 0.612 after 1 round)",
        "Cell(gptfl-0, running, macro_f1 0.400 after 2 rounds)",
    ]


def test_reading_loads_neither_torch_nor_pandas() -> None:
    code = (
        "import sys, gptfl_reports.notebook; "
        "sys.exit(bool({'torch', 'pandas', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
