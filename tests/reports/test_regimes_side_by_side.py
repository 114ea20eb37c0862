"""A task in two regimes: one table of both, nothing averaged or compared across them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gptfl_reports.numbers.board import leaderboard
from gptfl_reports.records.cells import read_cells
from gptfl_reports.report import write_report
from gptfl_reports.tables.ablations import gains
from gptfl_reports.tables.comparison import regimes_tables

MakeCell = Callable[..., Path]
LONG = {"regime": "long", "plan": {"epochs": 10, "batch_size": 16}}
SOURCES = ({"source": "held_out", "always": True}, {"source": "synthetic", "always": True})


@pytest.fixture
def both(make_cell: MakeCell, run_folder: Path) -> Path:
    """FedAvg and MOON, two seeds each, in both regimes; FedDF in the long one alone.

    Long: MOON is .1 and .3 above FedAvg, so .2 on average; by Student's t with one degree of
    freedom (12.706) the interval is .2 -+ 12.706 * .1414 / sqrt(2) = .2 -+ 1.2706.
    """
    for seed, (short, long) in enumerate([(0.9, 0.5), (0.8, 0.6)]):
        make_cell("fedavg", seed, (0.1, short))
        make_cell("moon", seed, (0.1, short - 0.2))
        make_cell("fedavg", seed, (0.1, long), config=LONG, run_id=f"fedavg-long-{seed}")
        gain = (0.1, 0.3)[seed]
        make_cell("moon", seed, (0.1, long + gain), config=LONG, run_id=f"moon-long-{seed}")
    make_cell("feddf", 0, (0.1, 0.7), config=LONG, run_id="feddf-long-0")
    return run_folder


def test_each_regime_has_its_own_columns(both: Path) -> None:
    (table,) = regimes_tables(leaderboard(read_cells(both)))
    titles = [column.title for column in table.columns]
    assert titles == [
        "method",
        "short: mean of last 1",
        "vs FedAvg, 95 % interval",
        "long: mean of last 1",
        "vs FedAvg, 95 % interval",
    ]
    rows = {row[0].text: [(entry.text, entry.detail) for entry in row[1:]] for row in table.rows}
    assert rows["fedavg"] == [
        ("85.00 ± 7.07", ""),
        ("baseline", ""),
        ("55.00 ± 7.07", ""),
        ("baseline", ""),
    ]
    assert rows["moon"][0] == ("65.00 ± 7.07", "")
    assert rows["moon"][3] == ("+20.00", "−107.06 to +147.06, n=2")
    assert rows["feddf"][:2] == [("–", ""), ("–", "")]
    assert rows["feddf"][3] == ("+20.00", "–, n=1")
    assert table.notes[0] == "Short: 1 rounds of 5 of 20 clients, 1 local epochs."
    assert table.notes[1] == (
        "Long: 1 rounds of 5 of 20 clients, long local training, 10 local epochs."
    )


def test_it_follows_the_tasks_on_the_page_and_is_first_in_the_file(
    both: Path, tmp_path: Path
) -> None:
    write_report(both, tmp_path / "report")
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert page.rindex("Leaderboard in short") < page.index('<h2 id="regimes">')
    text = (tmp_path / "report" / "comparison.md").read_text(encoding="utf-8")
    assert "regimes side by side" in text.splitlines()[2]


def test_one_regime_alone_has_no_such_table(make_cell: MakeCell, run_folder: Path) -> None:
    make_cell("fedavg")
    make_cell("moon")
    assert regimes_tables(leaderboard(read_cells(run_folder))) == ()


def test_an_ablation_stands_beside_the_method_with_the_same_public_data(
    make_cell: MakeCell, run_folder: Path
) -> None:
    for number, public in enumerate(SOURCES):
        make_cell("dsfl", 0, (0.1, 0.5), config={"public": public}, run_id=f"dsfl-{number}")
    make_cell("dsfl-ablated", 0, (0.1, 0.4), config={"public": SOURCES[0]})
    make_cell("fedavg", 0, (0.1, 0.4))
    (ranking,) = leaderboard(read_cells(run_folder)).rankings
    assert [(gain.method, gain.without) for gain in gains(ranking)] == [
        ("dsfl (public data=held_out)", "dsfl-ablated")
    ]
