import csv
import io
import itertools
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gptfl_bench.cli import main
from gptfl_reports.numbers.board import Leaderboard, leaderboard
from gptfl_reports.numbers.intervals import (
    bootstrap_interval,
    chi_square_above,
    t_interval,
    t_quantile,
)
from gptfl_reports.numbers.ranks import friedman, nemenyi_quantile, ranked, ranks
from gptfl_reports.records.cells import read_cells
from gptfl_reports.report import write_report
from gptfl_reports.tables.comparison import (
    comparison_csv,
    comparison_markdown,
    comparison_tables,
    differences,
    ranks_csv,
    ranks_table,
)

MakeCell = Callable[..., Path]


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 9, 30, 99])
def test_distributions_agree_with_scipy(freedom: int) -> None:
    assert t_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), abs=1e-9)
    for value in (0.0, 0.3, 4.0, 40.0):
        expected = stats.chi2.sf(value, freedom)
        assert chi_square_above(value, freedom) == pytest.approx(expected, abs=1e-12)


def test_t_interval_is_that_of_a_table() -> None:
    # Mean 2, standard deviation 1, t = 4.3027 for two degrees of freedom.
    low, high = t_interval([1.0, 2.0, 3.0]) or (0, 0)
    assert (low, high) == pytest.approx((2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), abs=1e-4)


def test_bootstrap_of_four_seeds_is_that_of_all_resamples() -> None:
    values = [0.0, 0.1, 0.35, 0.8]
    means = sorted(sum(draw) / 4 for draw in itertools.product(values, repeat=4))
    low, high = bootstrap_interval(values) or (0, 0)
    # The ends lie between those of a slightly wider and a slightly narrower share of all 256.
    assert means[math.floor(0.020 * 256)] <= low <= means[math.ceil(0.030 * 256)]
    assert means[math.floor(0.970 * 256)] <= high <= means[math.ceil(0.980 * 256)]


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=8), st.floats(-1, 1))
def test_intervals_move_with_the_values(values: list[float], shift: float) -> None:
    moved = [value + shift for value in values]
    for interval in (t_interval, bootstrap_interval):
        low, high = interval(values) or (1, 0)
        assert low <= high
        assert interval(moved) == pytest.approx((low + shift, high + shift), abs=1e-9)
    low, high = bootstrap_interval(values) or (1, 0)
    assert min(values) - 1e-12 <= low <= high <= max(values) + 1e-12


def test_one_seed_has_no_interval() -> None:
    assert t_interval([0.5]) is None
    assert bootstrap_interval([]) is None


def test_differences_pair_seeds_that_both_finished(make_cell: MakeCell, run_folder: Path) -> None:
    for seed, (ours, base) in enumerate([(0.6, 0.5), (0.8, 0.6), (0.5, 0.6), (0.9, 0.1)]):
        make_cell("moon", seed, [0.1, ours])
        make_cell("fedavg", seed, [0.1, base], status="finished" if seed < 3 else "diverged")
    make_cell("dsfl", 9, [0.1, 0.9])
    (ranking,) = leaderboard(read_cells(run_folder)).rankings
    by_method = {one.method: one for one in differences(ranking)}
    moon = by_method["moon"]
    assert (moon.seeds, moon.higher) == (3, 2)
    assert moon.mean == pytest.approx(0.2 / 3)
    low, high = stats.t.interval(0.95, 2, 0.2 / 3, stats.sem([0.1, 0.2, -0.1]))
    assert moon.by_t == pytest.approx((low, high))
    assert moon.by_bootstrap == pytest.approx((-0.1, 0.2))
    assert (by_method["dsfl"].seeds, by_method["dsfl"].mean) == (0, None)


def test_any_method_can_be_the_baseline(make_cell: MakeCell, run_folder: Path) -> None:
    for method, value in (("fedavg", 0.5), ("moon", 0.7)):
        make_cell(method, 0, [0.1, value])
    cells = read_cells(run_folder)
    (one,) = differences(leaderboard(cells, "moon").rankings[0])
    assert one.method == "fedavg"
    assert one.mean == pytest.approx(-0.2)
    assert differences(leaderboard(cells, "scaffold").rankings[0]) == ()


@pytest.mark.parametrize(
    ("method", "given", "known"),
    [
        ("fedavg", "methods.fedavg.plan.lr=7", True),
        ("fedavg", "++methods.fedavg.plan.lr=7", True),
        ("fedavg-ablated", "methods.fedavg.plan.lr=7", True),
        ("gptfl", "methods.gptfl.pretrain.epochs=7", True),
        ("gptfl", "warm.fedavg.plan.lr=7", True),
        ("gptfl+fedprox", "warm.fedprox.mu=7", True),
        ("gptfl+fedprox", "warm.fedavg.plan.lr=7", False),
        # A warm start's settings don't reach the method by itself.
        ("fedavg", "warm.fedavg.plan.lr=7", False),
        ("fedavg", "methods.gptfl.pretrain.epochs=7", False),
        ("fedavg", "plan.lr=7", False),
    ],
)
def test_of_two_variants_the_one_without_settings_by_hand_is_the_baseline(
    method: str, given: str, known: bool, make_cell: MakeCell, run_folder: Path
) -> None:
    command = f"gptfl-bench run --methods all {given}"
    make_cell(method, 0, [0.1, 0.5], config={"a": 1})
    make_cell(method, 0, [0.1, 0.9], config={"a": 7}, command=command, run_id="other")
    make_cell("moon", 0, [0.1, 0.7])
    board = leaderboard(read_cells(run_folder), method)
    apart = {one.method: one.mean for one in differences(board.rankings[0])}
    other = f"{method} (a=7)"
    assert apart == (pytest.approx({"moon": 0.2, other: 0.4}) if known else {})


def test_tables_show_points_and_files_fractions(make_cell: MakeCell, run_folder: Path) -> None:
    for seed in (0, 1):
        make_cell("fedavg", seed, [0.1, 0.5])
        make_cell("moon", seed, [0.1, 0.45 + seed / 10])
    board = leaderboard(read_cells(run_folder))
    (table,) = comparison_tables(board)
    texts = [entry.text for entry in table.rows[0]]
    assert texts == [
        "moon", "2", "+0.00", "\N{MINUS SIGN}63.53 to +63.53", "\N{MINUS SIGN}5.00 to +5.00",
        "1 of 2",
    ]  # fmt: skip
    assert "| moon" in comparison_markdown(board)
    (line,) = csv.DictReader(io.StringIO(comparison_csv(board)))
    assert float(line["bootstrap_high"]) == pytest.approx(0.05)
    assert float(line["t_low"]) == pytest.approx(-12.7062 * 0.05, abs=1e-5)
    assert ranks_csv(board) == ""
    assert ranks_table(board).rows == ()


def test_ranks_share_ties() -> None:
    assert ranked({"a": 0.9, "b": 0.5, "c": 0.9, "d": 0.1}) == {"a": 1.5, "c": 1.5, "b": 3, "d": 4}


@given(st.lists(st.lists(st.integers(0, 4), min_size=4, max_size=4), min_size=5, max_size=9))
def test_friedman_agrees_with_scipy(values: list[list[int]]) -> None:
    tasks = [dict(zip("abcd", row, strict=True)) for row in values]
    test = friedman([ranked(task) for task in tasks])
    if all(len(set(row)) == 1 for row in values):
        assert (test.statistic, test.p) == (0.0, 1.0)
        return
    statistic, p = stats.friedmanchisquare(*zip(*values, strict=True))
    assert test.statistic == pytest.approx(statistic)
    assert test.p == pytest.approx(p)


def test_critical_difference_is_demsars() -> None:
    # Table 5(a) of the paper, cut after three decimals; its example: 4 classifiers, 14 data sets.
    table = [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164]
    for k, expected in enumerate(table, 2):
        assert nemenyi_quantile(k) == pytest.approx(expected, abs=1e-3)
    assert nemenyi_quantile(22) == pytest.approx(
        stats.studentized_range.ppf(0.95, 22, math.inf) / math.sqrt(2), abs=1e-4
    )
    tasks = [dict(zip("abcd", (1.0, 2.0, 3.0, 4.0), strict=True))] * 14
    assert friedman(tasks).critical == pytest.approx(1.25, abs=0.01)


def over_tasks(make_cell: MakeCell, run_folder: Path, tasks: int) -> Leaderboard:
    """Return a board in which a is always first; c misses task 0, and d is ablated."""
    for n in range(tasks):
        for method, value in (("a", 0.9), ("b", 0.7 - n / 100), ("e", 0.5), ("d-ablated", 0.99)):
            make_cell(method, 0, [0.1, value], run_id=f"{method}{n}", dataset={"name": f"set{n}"})
        status = "finished" if n else "failed"
        make_cell("c", 0, [0.1, 0.8], run_id=f"c{n}", dataset={"name": f"set{n}"}, status=status)
    return leaderboard(read_cells(run_folder))


def test_ranks_over_tasks_and_their_test(make_cell: MakeCell, run_folder: Path) -> None:
    board = over_tasks(make_cell, run_folder, 5)
    found = ranks(board)
    assert [(one.method, one.n, one.rank) for one in found.means] == [
        ("a", 5, 1.0),
        ("b", 5, pytest.approx((2 + 3 * 4) / 5)),
        ("e", 5, pytest.approx((3 + 4 * 4) / 5)),
        ("c", 4, 2.0),
    ]
    assert found.test is not None
    assert (found.test.tasks, found.test.methods) == (5, 3)
    assert [one.tested for one in found.means] == [1.0, 2.0, 3.0, None]
    assert found.test.p == pytest.approx(math.exp(-5))  # chi-square of 10, two degrees
    text = comparison_markdown(board)
    assert "chi-square = 10.00, p = 0.007" in text
    assert "1.48 apart" in text


def test_few_tasks_have_ranks_and_no_test(
    make_cell: MakeCell, run_folder: Path, tmp_path: Path
) -> None:
    board = over_tasks(make_cell, run_folder, 4)
    assert ranks(board).test is None
    assert "No test: it needs 5 tasks" in comparison_markdown(board)
    written = {path.name: path for path in write_report(run_folder, tmp_path / "out")}
    lines = list(csv.DictReader(written["ranks.csv"].open()))
    assert [line["method"] for line in lines] == ["a", "b", "e", "c"]
    assert lines[0]["rank_tested"] == ""


def test_the_command_compares_with_any_method(
    make_cell: MakeCell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (0, 1):
        make_cell("fedavg", seed, [0.1, 0.5])
        make_cell("moon", seed, [0.1, 0.7])
    out = ["--out", str(tmp_path / "report"), "--baseline"]
    assert main(["report", str(tmp_path / "run"), *out, "mon"]) == 2
    assert "did you mean moon?" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()
    assert main(["report", str(tmp_path / "run"), *out, "moon"]) == 0
    (row,) = csv.DictReader((tmp_path / "report" / "comparison.csv").read_text().splitlines())
    assert (row["method"], row["baseline"]) == ("fedavg", "moon")
    assert float(row["mean"]) == pytest.approx(-0.2)
    assert "report run --baseline moon" in (tmp_path / "report" / "index.html").read_text()
