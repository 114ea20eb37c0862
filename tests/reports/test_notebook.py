"""Results as frames, a plot and lines, from numbers worked out by hand."""

import subprocess
import sys
from collections.abc import Callable
from math import isnan, sqrt
from pathlib import Path
from typing import Any

import matplotlib
import pytest

from gptfl_reports.notebook import Results, read
from gptfl_reports.records.errors import UsageError
from gptfl_reports.records.schema import Row

matplotlib.use("Agg")
MakeCell = Callable[..., Path]


@pytest.fixture
def results(make_cell: MakeCell, tmp_path: Path) -> Results:
    """FedAvg at 0.4 and 0.6, GPT-FL at 0.7 and 0.8, and a method that was refused."""
    for seed, ours, base in ((0, 0.7, 0.4), (1, 0.8, 0.6)):
        make_cell("gptfl", seed, [0.1, ours])
        make_cell("fedavg", seed, [0.1, base])
    make_cell("feddf", 0, [], status="refused", reason="no public data", rounds=1)
    return read(tmp_path / "run")


def test_rows_have_the_contracts_columns_and_go_through(results: Results) -> None:
    assert list(results.rows.columns) == list(Row.__annotations__)
    assert len(results) == len(results.rows) == len(results.cells) == 5
    assert list(results["method"]) == ["fedavg", "fedavg", "feddf", "gptfl", "gptfl"]
    assert list(results[["method", "seed"]].columns) == ["method", "seed"]


def test_curves_have_a_row_an_evaluation_and_the_bytes_until_then(
    make_cell: MakeCell, tmp_path: Path
) -> None:
    make_cell("fedavg", 3, [0.1, 0.5, 0.8], down=1000, up=500, once=77)
    frame = read(tmp_path / "run").curves()
    assert list(frame.columns) == [
        *("run_id", "method", "dataset", "seed", "round", "metric", "value", "bytes")
    ]
    assert frame["round"].tolist() == [0, 1, 2]
    assert frame["value"].tolist() == [0.1, 0.5, 0.8]
    # What is handed over a single time is no part of it, as in the tables.
    assert frame["bytes"].tolist() == [0, 1500, 3000]
    assert set(frame["seed"]) == {3}


def test_the_leaderboard_is_over_finished_cells_and_the_best_is_first(results: Results) -> None:
    board = results.leaderboard()
    assert board["method"].tolist() == ["gptfl", "fedavg", "feddf"]
    assert board["n"].tolist() == [2, 2, 0]
    # Means of round 0 and 1, which are the last evaluations: (0.1 + 0.7) / 2 and (0.1 + 0.8) / 2.
    assert board["mean"].tolist()[:2] == pytest.approx([0.425, 0.3])
    assert board["sd"].tolist()[:2] == pytest.approx([0.05 / sqrt(2), 0.1 / sqrt(2)])
    assert isnan(board["mean"][2])
    assert board["status"].tolist() == ["finished", "finished", "refused"]


def test_differences_are_paired_and_have_an_interval(results: Results) -> None:
    compared = results.compare("fedavg").set_index("method")
    row = compared.loc["gptfl"]
    # Differences 0.15 and 0.1; Student's t with one degree of freedom is 12.706.
    assert row["n"] == 2
    assert row["difference"] == pytest.approx(0.125)
    half = 12.7062 * (0.05 / sqrt(2)) / sqrt(2)
    assert (row["low"], row["high"]) == pytest.approx((0.125 - half, 0.125 + half), abs=1e-5)
    assert compared.loc["feddf"]["n"] == 0
    with pytest.raises(UsageError, match=r"unknown baseline 'moon': .*choose from fedavg"):
        results.compare("moon")


def test_a_plot_goes_where_it_is_told(results: Results) -> None:
    import matplotlib.pyplot as plt

    _, axes = plt.subplots()
    assert results.plot(axes) is axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert lines.keys() == {"gptfl", "fedavg"}
    values: Any = lines["gptfl"].get_ydata()
    assert list(values) == pytest.approx([0.1, 0.75])
    assert axes.get_xlabel() == "round"
    assert results.plot() is not axes
    plt.close("all")


def test_nothing_finished_is_nothing_to_plot(make_cell: MakeCell, tmp_path: Path) -> None:
    make_cell("gptfl", 0, [], status="refused", reason="no generator")
    with pytest.raises(UsageError, match="no cell has finished"):
        read(tmp_path / "run").plot()


def test_cells_are_chosen_by_what_they_have(results: Results) -> None:
    assert results.select(method="gptfl")["seed"].tolist() == [0, 1]
    assert results.select(method=["gptfl", "fedavg"], seed=1)["method"].tolist() == [
        "fedavg",
        "gptfl",
    ]
    assert len(results.select(status="refused")) == 1
    with pytest.raises(UsageError, match=r"unknown method 'gptlf': did you mean gptfl"):
        results.select(method="gptlf")
    with pytest.raises(UsageError, match=r"unknown seed '7': .*choose from 0, 1"):
        results.select(seed=7)


def test_a_report_of_chosen_cells_is_theirs_alone(results: Results, tmp_path: Path) -> None:
    paths = results.select(method="gptfl").report(tmp_path / "out", baseline="fedavg")
    assert tmp_path / "out" / "index.html" in paths
    text = (tmp_path / "out" / "leaderboard.csv").read_text(encoding="utf-8")
    assert "gptfl" in text
    assert "feddf" not in text
    with pytest.raises(UsageError, match="no cell to report on"):
        Results(()).report(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_line_says_what_ran(results: Results, make_cell: MakeCell, tmp_path: Path) -> None:
    assert repr(results) == (
        "Results: 5 cells, 3 methods, 1 task; gptfl 42.5 ± 3.5 (n=2), fedavg 30.0 ± 7.1 (n=2), "
        "feddf refused"
    )
    make_cell("fedavg", 0, [0.1, 0.2], dataset={"name": "other"}, run_id="other")
    assert repr(read(tmp_path / "run")) == "Results: 6 cells, 3 methods, 2 tasks"
    assert repr(Results(())) == "Results: 0 cells, 0 methods, 0 tasks"


def test_many_methods_are_cut_short(make_cell: MakeCell, tmp_path: Path) -> None:
    for number in range(9):
        make_cell(f"m{number}", 0, [0.1, number / 10])
    assert repr(read(tmp_path / "run")).endswith("m3 20.0 (n=1) and 3 more")


def test_a_cell_is_a_line(make_cell: MakeCell, tmp_path: Path) -> None:
    make_cell("gptfl", 0, [0.1, 0.612])
    (cell,) = read(tmp_path / "run").cells
    assert repr(cell) == "Cell: gptfl-0, finished, accuracy 61.2 % after 1 round"


def test_names_are_text_in_a_notebook(make_cell: MakeCell, tmp_path: Path) -> None:
    make_cell("<b>", 0, [0.1, 0.5], run_id="bold")
    html = read(tmp_path / "run")._repr_html_()
    assert "&lt;b&gt;" in html
    assert "<b>" not in html
    assert "30.0 (n=1)" in html


def test_reading_loads_no_torch(results: Results, tmp_path: Path) -> None:
    code = (
        "import sys, gptfl_bench as gb\n"
        "print(gb.read(sys.argv[1]))\n"
        "sys.exit('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("Results: 5 cells")
