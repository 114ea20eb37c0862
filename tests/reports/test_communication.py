"""The cost of reaching the target: by hand, by seed, and where it never was reached."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from gptfl_reports.figures import communication
from gptfl_reports.figures.communication import Bar, CostPanel
from gptfl_reports.numbers.board import Leaderboard, leaderboard
from gptfl_reports.records.cells import read_cells

MakeCell = Callable[..., Path]


@pytest.fixture
def board(run_folder: Path) -> Callable[[], Leaderboard]:
    return lambda: leaderboard(read_cells(run_folder))


def bars(board: Leaderboard) -> dict[str, Bar]:
    (panel,) = communication.panels(board)
    return {bar.label: bar for bar in panel.bars}


def texts(svg: str) -> list[str]:
    return [node.text or "" for node in ElementTree.fromstring(svg).iter() if "text" in node.tag]


def test_traffic_counts_up_to_the_round_that_reached_the_target(
    make_cell: MakeCell, board: Callable[[], Leaderboard]
) -> None:
    """Two rounds to 90 % at 1000 down and 500 up a round, and three in the other seed."""
    make_cell("fedavg", 0, [0.1, 0.5, 0.9, 0.95], once=4000)
    make_cell("fedavg", 1, [0.1, 0.5, 0.8, 0.95], down=2000)
    bar = bars(board())["fedavg"]
    assert (bar.cells, bar.reached, bar.bytes.in_vain) == (2, 2, None)
    assert bar.bytes.down is not None
    assert bar.bytes.up is not None
    assert bar.bytes.total is not None
    assert bar.scalars.total is not None
    assert bar.bytes.down.mean == (2 * 1000 + 3 * 2000) / 2
    assert bar.bytes.up.mean == (2 * 500 + 3 * 500) / 2
    assert bar.bytes.total.mean == (3000 + 7500) / 2
    assert bar.bytes.total.sd == pytest.approx((2 * 2250.0**2) ** 0.5)
    assert bar.scalars.total.mean == bar.bytes.total.mean / 4


def test_totals_are_those_of_the_leaderboard(
    make_cell: MakeCell, board: Callable[[], Leaderboard]
) -> None:
    for seed in range(3):
        make_cell("fedavg", seed, [0.2, 0.91 if seed else 0.5, 0.92, 0.7])
    (ranking,) = board().rankings
    (standing,) = ranking.standings
    bar = bars(board())["fedavg"]
    assert bar.bytes.total == standing.bytes_to_target
    assert bar.scalars.total == standing.scalars_to_target


def test_seeds_that_never_got_there_are_shown_with_all_they_sent(
    make_cell: MakeCell, board: Callable[[], Leaderboard]
) -> None:
    make_cell("fedavg", 0, [0.1, 0.95, 0.2])
    make_cell("fedavg", 1, [0.1, 0.5, 0.8])
    make_cell("dsfl", 0, [0.1, 0.2, 0.3], down=10_000)
    make_cell("moon", 0, status="diverged", reason="diverged in round 1.")
    found = bars(board())
    assert list(found) == ["fedavg", "dsfl", "moon"]
    half, never, gone = found.values()
    assert (half.cells, half.reached) == (2, 1)
    assert half.bytes.total is not None
    assert half.bytes.in_vain is not None
    assert (half.bytes.total.mean, half.bytes.in_vain.mean) == (1500, 3000)
    assert (never.reached, never.bytes.total) == (0, None)
    assert never.bytes.in_vain is not None
    assert never.bytes.in_vain.mean == 2 * 10_500
    assert (gone.fate, gone.bytes.total, gone.bytes.in_vain) == ("not converged", None, None)
    words = texts(communication.FAMILY.shown(communication.panels(board()))[0].svg)
    assert {"1.50 kB, 1 of 2 seeds", "not reached (21.0 kB)", "not converged"} <= set(words)


def test_a_target_reached_before_the_first_round_costs_nothing(
    make_cell: MakeCell, board: Callable[[], Leaderboard]
) -> None:
    make_cell("gptfl", 0, [0.95, 0.96])
    make_cell("fedavg", 0, [0.1, 0.95])
    found = bars(board())
    assert list(found) == ["gptfl", "fedavg"]
    assert found["gptfl"].bytes.total is not None
    assert found["gptfl"].bytes.total.mean == 0
    assert "0 B" in texts(communication.FAMILY.shown(communication.panels(board()))[0].svg)


def test_without_a_target_or_a_finished_cell_there_is_nothing_to_draw(
    make_cell: MakeCell, board: Callable[[], Leaderboard]
) -> None:
    make_cell("fedavg", 0, target=None)
    make_cell("fedavg", 0, status="failed", run_id="other", rounds=7)
    assert communication.panels(board()) == ()
    assert set(communication.FAMILY.files(communication.panels(board())).values()) == {b""}
    assert communication.FAMILY.shown(communication.panels(board())) == []


def test_the_same_records_give_the_same_bytes_and_names_stay_text(
    make_cell: MakeCell, board: Callable[[], Leaderboard]
) -> None:
    name = "<b>$x$&amp;</b>"
    make_cell(name, 0, [0.1, 0.95], run_id="odd")
    make_cell("fedavg", 0, [0.1, 0.2])
    once, twice = (
        communication.FAMILY.files(communication.panels(board())),
        communication.FAMILY.files(communication.panels(board())),
    )
    assert once == twice
    assert once["communication.png"].startswith(b"\x89PNG")
    assert name in texts(once["communication.svg"].decode())
    rows = list(csv.DictReader(io.StringIO(once["communication.csv"].decode())))
    assert [(row["method"], row["unit"], row["total"], row["in_vain"]) for row in rows] == [
        (name, "scalars", "375", ""),
        (name, "bytes", "1500", ""),
        ("fedavg", "scalars", "", "375"),
        ("fedavg", "bytes", "", "1500"),
    ]


def test_ablated_methods_are_not_drawn_beside_whole_ones(
    make_cell: MakeCell, board: Callable[[], Leaderboard]
) -> None:
    make_cell("moon", 0)
    make_cell("moon-ablated", 0)
    panel: CostPanel
    (panel,) = communication.panels(board())
    assert [bar.label for bar in panel.bars] == ["moon"]
