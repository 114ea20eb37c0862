"""What each idea gains: who is compared with whom, worked out by hand."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from gptfl_reports.figures.curves import panels
from gptfl_reports.numbers.board import leaderboard
from gptfl_reports.records.cells import read_cells
from gptfl_reports.report import write_report
from gptfl_reports.tables.ablations import ablation_tables, ablations_csv, gains, verdict

MakeCell = Callable[..., Path]


def test_a_method_against_itself_without_its_idea(make_cell: MakeCell, run_folder: Path) -> None:
    """Means of all three evaluations: moon .5, .6 and .7; without .4, .6 and .4.

    Differences .1, 0 and .3: mean .1333, sample deviation .1528; higher in two of three. Moon
    reaches .9 in round 1, 1 and never; without it 2, 2 and 2: sooner in two of three seeds, by one
    round in each of the two that reached it in both.
    """
    for seed, (ours, theirs) in enumerate(
        [((0.1, 0.9, 0.5), (0.1, 0.3, 0.9)), ((0.1, 0.9, 0.8), (0.4, 0.8, 0.9))]
    ):
        make_cell("moon", seed, ours)
        make_cell("moon-ablated", seed, theirs, config={"method": {"mu": 0.0}})
    make_cell("moon", 2, (0.6, 0.7, 0.8))
    make_cell("moon-ablated", 2, (0.1, 0.0, 0.9), config={"method": {"mu": 0.0}})
    (ranking,) = leaderboard(read_cells(run_folder)).rankings
    (gain,) = gains(ranking)
    assert (gain.method, gain.without, gain.changed) == ("moon", "moon-ablated", "mu=0.0")
    assert gain.value is not None
    assert gain.rounds is not None
    assert (gain.value.n, gain.higher) == (3, 2)
    assert gain.value.mean == pytest.approx(0.4 / 3)
    assert gain.value.sd == pytest.approx(0.15275, abs=1e-5)
    assert (gain.rounds.n, gain.rounds.mean, gain.rounds.sd) == (2, -1.0, 0.0)
    assert gain.sooner == 2
    (table,) = ablation_tables(leaderboard(read_cells(run_folder)))
    texts = [entry.text for entry in table.rows[0]]
    assert texts == [
        "moon",
        "moon-ablated",
        "+13.33 ± 15.28",
        "in 2 of 3 seeds",
        "−1.0 ± 0.0",
        "in 2 of 3 seeds",
    ]


def test_who_stands_against_whom(make_cell: MakeCell, run_folder: Path) -> None:
    names = ["fedavg", "scaffold", "moon", "moon-ablated", "gptfl", "gptfl+moon", "gptfl+feddf"]
    for name in [*names, "gptfl+moon-ablated"]:
        make_cell(name, 0)
    (ranking,) = leaderboard(read_cells(run_folder)).rankings
    assert [(gain.method, gain.without) for gain in gains(ranking)] == [
        ("gptfl", "fedavg"),
        ("gptfl+moon", "gptfl+moon-ablated"),
        ("moon", "moon-ablated"),
        ("scaffold", "fedavg"),
    ]


def test_only_seeds_that_finished_in_both_count(make_cell: MakeCell, run_folder: Path) -> None:
    make_cell("fedavg", 0, (0.1, 0.2))
    make_cell("scaffold", 0, (0.3, 0.4))
    make_cell("fedavg", 1, (0.1, 0.9))
    make_cell("scaffold", 1, (0.1, 0.1), status="diverged", reason="not converged: boom.")
    (ranking,) = leaderboard(read_cells(run_folder)).rankings
    (gain,) = gains(ranking)
    assert gain.n == 1
    assert gain.value is not None
    assert gain.value.mean == pytest.approx(0.2)
    assert gain.rounds is None
    assert gain.sooner == 0


def test_verdicts() -> None:
    assert [verdict(c, n) for c, n in ((3, 3), (0, 3), (1, 3), (1, 1), (0, 1), (0, 0))] == [
        "yes",
        "no",
        "in 1 of 3 seeds",
        "yes (one seed)",
        "no (one seed)",
        "–",
    ]


def test_two_settings_of_a_method_are_not_compared(make_cell: MakeCell, run_folder: Path) -> None:
    """Which of them the other is to be compared with nobody can know."""
    make_cell("fedavg", 0)
    for mu in (0.1, 1.0):
        make_cell("moon", 0, run_id=f"moon-{mu}", config={"method": {"mu": mu}})
    (ranking,) = leaderboard(read_cells(run_folder)).rankings
    assert gains(ranking) == ()


def test_curves_are_of_whole_methods(make_cell: MakeCell, run_folder: Path) -> None:
    """Unless there is nothing else."""
    make_cell("moon-ablated", 0)
    (alone,) = panels(leaderboard(read_cells(run_folder)))
    assert [curve.label for curve in alone.curves] == ["moon-ablated"]
    make_cell("moon", 0)
    (panel,) = panels(leaderboard(read_cells(run_folder)))
    assert [curve.label for curve in panel.curves] == ["moon"]


def test_files(make_cell: MakeCell, run_folder: Path, tmp_path: Path) -> None:
    make_cell("fedavg", 0, (0.25, 0.25))
    make_cell("scaffold", 0, (0.5, 0.5))
    write_report(run_folder, tmp_path / "out")
    lines = list(csv.DictReader(io.StringIO((tmp_path / "out" / "ablations.csv").read_text())))
    assert [(line["method"], line["without"], line["value_mean"]) for line in lines] == [
        ("scaffold", "fedavg", "0.25")
    ]
    text = (tmp_path / "out" / "ablations.md").read_text()
    assert "| scaffold | fedavg" in " ".join(text.split())
    assert "What each method's idea gains" in (tmp_path / "out" / "index.html").read_text().replace(
        "&#39;", "'"
    )


def test_without_pairs_there_is_no_table(make_cell: MakeCell, run_folder: Path) -> None:
    make_cell("fedavg", 0)
    board = leaderboard(read_cells(run_folder))
    assert ablation_tables(board)[0].rows == ()
    assert ablations_csv(board).count("\n") == 1
