"""What variants of one method are called, and that they don't crowd other methods out."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gptfl_reports.numbers.board import Leaderboard, leaderboard
from gptfl_reports.numbers.ranks import rank_of, ranks
from gptfl_reports.numbers.variants import labels
from gptfl_reports.page.matrix import matrix
from gptfl_reports.records.cells import read_cells

BASE = {"synthetic.multiplier": "1.0", "synthetic.real": "false", "sealed": "no"}
LESS = BASE | {"synthetic.multiplier": "0.1"}
REAL = {"synthetic.multiplier": "0.1", "synthetic.real": "true", "sealed": "no"}
SEALED = BASE | {"sealed": "bonawitz"}
MakeCell = Callable[..., Path]
RUN = "gptfl-bench run synthetic.generator=folder"


def test_the_variant_without_settings_has_the_name_alone() -> None:
    less = f"{RUN} synthetic.multiplier=0.1"
    found = labels(
        [BASE, LESS, REAL, SEALED],
        [RUN, less, f"{less} synthetic.real=true", f"{RUN} secure_aggregation=true"],
    )
    assert found == [
        "",
        "multiplier=0.1",
        "multiplier=0.1, real samples=true",
        "secure aggregation=bonawitz",
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        # From Python, or from a file: nothing is known of either.
        (RUN, RUN),
        (f"{RUN} synthetic.multiplier=0.1,1.0", f"{RUN} synthetic.multiplier=0.1,1.0"),
        (f"{RUN} synthetic.multiplier=1.0", f"{RUN} synthetic.multiplier=0.1"),
        # What is given does not set them apart.
        (RUN, f"{RUN} data.path=elsewhere"),
    ],
)
def test_all_are_told_where_it_is_not_known_who_has_the_presets(first: str, second: str) -> None:
    assert labels([BASE, LESS], [first, second]) == ["multiplier=1.0", "multiplier=0.1"]


def test_what_all_commands_give_sets_none_apart() -> None:
    common = f"{RUN} methods.gptfl.plan.lr=7"
    cold, warm = {"method.plan.lr": "7", "start": "cold"}, {"method.plan.lr": "7", "start": "warm"}
    assert labels([cold, warm], [common, f"{common} start=warm"]) == ["", "start=warm"]


@pytest.fixture
def varied(make_cell: MakeCell, run_folder: Path) -> Leaderboard:
    for rounds in (1, 2):
        make_cell("fedavg", 0, [0.1, 0.4], rounds=rounds, run_id=f"fedavg-{rounds}")
        make_cell(
            "gptfl", 0, [0.1, 0.6], rounds=rounds, run_id=f"gptfl-{rounds}", config={"epochs": 20}
        )
    for epochs in (5, 10):
        given = f"gptfl-bench run methods.gptfl.pretrain.epochs={epochs}"
        config = {"epochs": epochs}
        make_cell(
            "gptfl", 0, [0.1, 0.5], rounds=1, run_id=str(epochs), config=config, command=given
        )
    return leaderboard(read_cells(run_folder))


def test_a_method_with_variants_on_one_task_is_one_row_of_all_tasks(varied: Leaderboard) -> None:
    found = matrix(varied)
    assert found is not None
    assert {label: [place is not None for place in places] for label, places in found.rows} == {
        "gptfl": [True, True],
        "fedavg": [True, True],
        "gptfl (epochs=5)": [True, False],
        "gptfl (epochs=10)": [True, False],
    }


def test_variants_take_no_rank_from_others(varied: Leaderboard) -> None:
    assert [rank_of(ranking) for ranking in varied.rankings] == [{"gptfl": 1, "fedavg": 2}] * 2
    assert [(one.method, one.n, one.rank) for one in ranks(varied).means] == [
        ("gptfl", 2, 1.0),
        ("fedavg", 2, 2.0),
    ]
