"""What makes cells one task: seeds belong together, also where the data differ with them."""

from collections.abc import Callable
from pathlib import Path

from gptfl_reports.numbers.board import leaderboard
from gptfl_reports.page.summary import question
from gptfl_reports.records.cells import read_cells

MakeCell = Callable[..., Path]


def test_clients_that_the_data_decide_may_differ_in_number_from_seed_to_seed(
    make_cell: MakeCell, run_folder: Path
) -> None:
    """Where clients are speakers, held-out samples leave one seed with fewer of them."""
    for seed, count in ((0, 181), (1, 182)):
        settings = {"min_size": 1, "num_clients": count, "seed": seed}
        shared = {"recipe": "group", "settings": settings, "sizes": [1] * count}
        make_cell(
            "fedavg", seed, (0.1, 0.5), num_clients=count, config={"num_clients": 0},
            partition=shared,
        )  # fmt: skip
    (ranking,) = leaderboard(read_cells(run_folder)).rankings
    assert "group(min_size=1)" in ranking.task.title
    assert "clients" in ranking.task.title
    assert "18" not in ranking.task.title
    assert ranking.standings[0].n == 2
    assert "at 181 to 182 clients, " in question(ranking)


def test_runs_with_conventions_lifted_are_a_table_of_their_own(
    make_cell: MakeCell, run_folder: Path
) -> None:
    """Each has its own FedAvg to be compared with."""
    for lifted, last in ((False, 0.5), (True, 0.6)):
        for method, more in (("fedavg", 0.0), ("moon", 0.2)):
            name = f"{method}-{lifted}"
            config = {"lift_conventions": lifted}
            make_cell(method, 0, (0.1, last + more), run_id=name, config=config)
    usual, other = leaderboard(read_cells(run_folder)).rankings
    assert other.task.title == f"{usual.task.title}, conventions lifted"
    assert [ranking.baseline for ranking in (usual, other)] == ["fedavg", "fedavg"]
