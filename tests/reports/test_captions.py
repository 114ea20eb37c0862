"""What the caption of a table says."""

from collections.abc import Callable
from pathlib import Path

from gptfl_reports.numbers.board import leaderboard
from gptfl_reports.records.cells import read_cells
from gptfl_reports.tables.leaderboard import to_markdown

MakeCell = Callable[..., Path]


def test_caption_says_what_the_data_were_read_from(make_cell: MakeCell, run_folder: Path) -> None:
    for seed, read in enumerate(("the archive x.tar.gz", "unpacked tree x", "unpacked tree x")):
        make_cell("fedavg", seed, dataset={"read": read})
    text = to_markdown(leaderboard(read_cells(run_folder)))
    words = "Data: digits version 1, read from the archive x.tar.gz and unpacked tree x, 1,437"
    assert words in text
    assert "digits (the archive x.tar.gz and unpacked tree x) · dirichlet" in text


def test_data_of_a_package_were_read_from_nowhere(make_cell: MakeCell, run_folder: Path) -> None:
    make_cell("fedavg", 0)
    make_cell("moon", 0, dataset={"read": ""})
    text = to_markdown(leaderboard(read_cells(run_folder)))
    assert "Data: digits version 1, 1,437 training" in text
    assert "read from" not in text


def test_caption_names_everything_that_moves_a_number(
    make_cell: MakeCell, run_folder: Path
) -> None:
    plan = {"epochs": 2, "steps": None, "batch_size": 16}
    for seed in (0, 1):
        make_cell(
            "fedavg", seed, dataset={"note": "a lossy copy."}, config={"plan": plan | {"lr": 0.1}}
        )
    make_cell(
        "moon",
        0,
        dataset={"note": "a lossy copy."},
        config={"plan": plan | {"lr": 0.3}},
        model={"method_parameters": 31470},
    )
    text = to_markdown(leaderboard(read_cells(run_folder)))
    for words in (
        "Note: a lossy copy.",
        "0ccccccccccc (seed 0), 1ccccccccccc (seed 1)",
        "dirichlet(alpha=0.1, num_clients=20)",
        "cnn_small with 9,930 parameters and 12 buffer scalars.",
        "With parts of its own: moon 31,470.",
        "2 rounds of 5 of 20 clients",
        "batch_size=16, epochs=2.",
        "Differs: lr 0.1 (fedavg), 0.3 (moon).",
        "rates from grid of June",
        "Target: 90 percent",
    ):
        assert words in text


def test_caption_names_whoever_ran_with_settings_by_hand(
    make_cell: MakeCell, run_folder: Path
) -> None:
    make_cell("moon", 0)
    make_cell("fedavg", 0, command="gptfl-bench run --methods fedavg methods.fedavg.plan.lr=7")
    text = to_markdown(leaderboard(read_cells(run_folder)))
    assert "rates from grid of June. With settings from the command line: fedavg." in text
