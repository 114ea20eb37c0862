"""What a reader sees first: verdict in words, short leaderboard, the numbers of the chart."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gptfl_reports.figures import curves
from gptfl_reports.numbers.board import leaderboard
from gptfl_reports.numbers.standings import Ranking
from gptfl_reports.page.chart import chart, names
from gptfl_reports.page.matrix import matrix
from gptfl_reports.page.short_board import short_board
from gptfl_reports.page.summary import question, sentences
from gptfl_reports.records.cells import read_cells

MakeCell = Callable[..., Path]


@pytest.fixture
def ranking(run_folder: Path) -> Callable[[], Ranking]:
    return lambda: leaderboard(read_cells(run_folder)).rankings[0]


def test_the_question_in_a_line(make_cell: MakeCell, ranking: Callable[[], Ranking]) -> None:
    make_cell("fedavg", 0)
    make_cell("moon", 0)
    make_cell("moon", 1)
    assert question(ranking()) == (
        "2 methods on digits: 1,437 samples at 20 clients, 5 of them in each of 2 rounds; "
        "tested on 360 samples, 2 seeds."
    )


def test_who_is_ahead_by_how_much_and_who_is_there_first(
    make_cell: MakeCell, ranking: Callable[[], Ranking]
) -> None:
    for seed in range(3):
        make_cell("fedavg", seed, [0.1, 0.7, 0.9])
        make_cell("gptfl", seed, [0.6, 0.9 + seed / 100, 0.9 + seed / 100])
    ahead, first = sentences(ranking())
    # Means of the last two: 90, 91 and 92 against 80; t is 4.303, the half width 2.5 points.
    assert ahead == (
        "gptfl ends highest, at 91.0 % accuracy (3 seeds), 11.0 points above FedAvg "
        "(95 % interval +8.5 to +13.5, n=3)."
    )
    assert first == (
        "gptfl reaches 90 % first, after 1 round and 1.50 kB; FedAvg takes 2 rounds and 3.00 kB."
    )


def test_noise_ties_and_cells_without_an_end_are_said(
    make_cell: MakeCell, ranking: Callable[[], Ranking]
) -> None:
    for seed, shift in enumerate((0.0, 0.06, -0.06)):
        make_cell("fedavg", seed, [0.1, 0.5 - shift])
        make_cell("moon", seed, [0.1, 0.51 + shift])
    make_cell("dsfl", 0, (), status="refused", reason="no data", rounds=1)
    ahead, first, tied, missing = sentences(ranking())
    assert ahead.startswith("moon ends highest, at 51.0 % accuracy (3 seeds), 1.0 points above")
    assert ahead.endswith("n=3), so the difference may be noise.")
    assert first == "No method reaches 90 % in every seed."
    assert tied == "fedavg lies within one standard deviation of moon."
    assert missing == "Not all cells of dsfl finished."


def test_one_seed_is_no_verdict_and_the_baseline_may_be_ahead(
    make_cell: MakeCell, ranking: Callable[[], Ranking]
) -> None:
    make_cell("fedavg", 0, [0.1, 0.5], target=None)
    make_cell("moon", 0, [0.1, 0.4], target=None)
    assert sentences(ranking()) == [
        "FedAvg ends highest, at 50.0 % accuracy (1 seed), 10.0 points above moon; "
        "one seed says nothing about noise."
    ]


def test_nothing_finished(make_cell: MakeCell, ranking: Callable[[], Ranking]) -> None:
    make_cell("fedavg", 0, status="running")
    assert sentences(ranking()) == ["No cell has finished yet."]
    assert chart(ranking(), {}) == ""


def test_bars_are_shares_of_the_largest_and_intervals_share_an_axis(
    make_cell: MakeCell, ranking: Callable[[], Ranking]
) -> None:
    for seed in range(2):
        make_cell("fedavg", seed, [0.1, 0.5, 0.9, 0.9, 0.9])
        make_cell("gptfl", seed, [0.1, 0.9, 0.9, 0.9 + seed / 100, 0.9])
        make_cell("moon", seed, [0.1, 0.2, 0.3, 0.4, 0.5])
    board = short_board(ranking())
    gptfl, fedavg, moon = board.lines
    assert [line.label for line in board.lines] == ["gptfl", "fedavg", "moon"]
    assert gptfl.rounds is not None
    assert fedavg.rounds is not None
    assert (gptfl.rounds.width, fedavg.rounds.width, moon.rounds) == (50, 100, None)
    assert gptfl.interval is not None
    assert moon.interval is not None
    assert fedavg.interval is None
    assert gptfl.interval.zero == moon.interval.zero
    assert moon.interval.middle < moon.interval.zero < gptfl.interval.middle
    for line in (gptfl, moon):
        assert line.interval is not None
        assert line.interval.low >= 0
        assert line.interval.low + line.interval.width <= 100


def test_chart_has_what_was_sent_until_each_round(
    make_cell: MakeCell, ranking: Callable[[], Ranking], run_folder: Path
) -> None:
    odd = "</script>"
    make_cell("fedavg", 0, [0.1, 0.5, 0.9], once=4000)
    make_cell("fedavg", 1, [0.1, 0.7, 0.9], down=3000)
    make_cell(odd, 0, [0.1, 0.2, 0.3], run_id="odd")
    found = ranking()
    style = curves.styles(curves.panels(leaderboard(read_cells(run_folder))))
    text = chart(found, style)
    assert odd not in text
    content = json.loads(text)
    fedavg, other = content["series"]
    assert (fedavg["name"], other["name"]) == ("fedavg", odd)
    assert fedavg["rounds"] == [0, 1, 2]
    # 1,500 and 3,500 bytes a round, four bytes a scalar; what is handed out once is left out.
    assert fedavg["bytes"] == [0, 2500, 5000]
    assert fedavg["scalars"] == [0, 625, 1250]
    assert fedavg["mean"] == [10, 60, 90]
    assert fedavg["sd"][0] == 0
    assert fedavg["n"] == [2, 2, 2]
    assert other["sd"] == [None, None, None]
    assert [kind for kind, _ in names(found, style)] == ["standard"]


def test_several_tasks_are_named_by_what_differs_and_ranked_side_by_side(
    make_cell: MakeCell, run_folder: Path
) -> None:
    for alpha, shift in ((0.1, 0.0), (0.5, 0.2)):
        partition = {"settings": {"alpha": alpha, "num_clients": 20, "seed": 0}}
        for method, value in (("fedavg", 0.5), ("moon", 0.6 - 2 * shift), ("central", 0.9)):
            profile = {"reference": "pooled"} if method == "central" else {}
            make_cell(
                method, 0, [0.1, value], run_id=f"{method} {alpha}",
                partition=partition, profile=profile,
            )  # fmt: skip
    make_cell("dsfl", 0, (), status="refused", reason="no data", rounds=1)
    found = matrix(leaderboard(read_cells(run_folder)))
    assert found is not None
    assert found.titles == ("digits · alpha=0.1", "digits · alpha=0.5")
    rows = {label: [p and (p.text, p.detail, p.shade) for p in row] for label, row in found.rows}
    assert rows["fedavg"] == [("50.00 ± n/a", "2 of 2", 3), ("50.00 ± n/a", "1 of 2", 1)]
    assert rows["moon"] == [("60.00 ± n/a", "1 of 2", 1), ("20.00 ± n/a", "2 of 2", 3)]
    assert rows["central"][0] == ("90.00 ± n/a", "", 0)


def test_one_task_needs_no_matrix(make_cell: MakeCell, run_folder: Path) -> None:
    make_cell("fedavg", 0)
    assert matrix(leaderboard(read_cells(run_folder))) is None


def test_a_task_alone_on_its_data_is_named_by_them(make_cell: MakeCell, run_folder: Path) -> None:
    for rounds in (10, 20):
        make_cell("fedavg", 0, [0.1, 0.5], run_id=f"a {rounds}", cohort_size=rounds)
    make_cell("fedavg", 0, [0.1, 0.5], run_id="b", dataset={"name": "speech_commands"}, rounds=7)
    found = matrix(leaderboard(read_cells(run_folder)))
    assert found is not None
    assert [title.startswith("digits · ") for title in found.titles] == [True, True, False]
    assert found.titles[2] == "speech_commands"
