"""Settings with several values: which combinations they make, and in which order cells run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gptfl_bench as gb
from gptfl_bench.core.errors import UsageError
from gptfl_bench.data.task import Task
from gptfl_bench.runs import config, grid

SMALL: dict[str, Any] = {"num_clients": 4, "partition": {"min_size": 1}, "model": "linear"}


def _settings(*overrides: str) -> list[tuple[str, ...]]:
    words = ["num_clients=20", *overrides]
    return [point.settings for point in grid.plan(["fedavg"], "digits", "quick", [0], words).points]


def test_values_with_commas_are_combined() -> None:
    assert _settings("partition.alpha=0.1,0.5", "cohort_size=1,10") == [
        ("partition.alpha=0.1", "cohort_size=1"),
        ("partition.alpha=0.1", "cohort_size=10"),
        ("partition.alpha=0.5", "cohort_size=1"),
        ("partition.alpha=0.5", "cohort_size=10"),
    ]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("rounds=range(1,6,2)", ["rounds=1", "rounds=3", "rounds=5"]),
        ("rounds=choice(2,4)", ["rounds=2", "rounds=4"]),
        ("target=null,0.5", ["target=null", "target=0.5"]),
        ("rounds=3,3", []),
        ("rounds=3", []),
    ],
)
def test_values_are_read_as_hydra_reads_them(text: str, values: list[str]) -> None:
    assert [setting for point in _settings(text) for setting in point] == values


@pytest.mark.parametrize("value", ["'a,b'", '"a, b"', "[a,b]", "/a (1),b"])
def test_a_comma_in_quotes_or_brackets_is_a_value(value: str) -> None:
    assert len(grid._values(f"data.path={value}")) == 1


def test_a_grid_is_refused_whole(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cohort_size=99"):
        gb.run("fedavg", out=tmp_path / "runs", preset="quick", grid={"cohort_size": [1, 99]})
    assert not list(tmp_path.iterdir())


def test_a_partition_that_one_point_can_not_have_refuses_all(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="min_size 100"):
        gb.run(
            "fedavg",
            out=tmp_path / "runs",
            cache=tmp_path / "cache",
            preset="quick",
            grid={"partition.min_size": [1, 100]},
        )
    assert not list(tmp_path.rglob("record.json"))


def test_a_grid_from_python_is_tasks_in_one_folder(tiny_task: Task, tmp_path: Path) -> None:
    results = gb.run(
        ["fedprox", "fedavg"],
        tiny_task,
        [1, 0],
        tmp_path / "runs",
        rounds=1,
        grid={"cohort_size": [1, 2], "plan.lr": [0.1]},
        **SMALL,
    )
    rows = results.rows
    assert [*rows["method"]] == ["fedprox", "fedprox", "fedavg", "fedavg"] * 2
    assert [*rows["seed"]] == [1, 0] * 4
    assert [*rows["cohort_size"]] == [1] * 4 + [2] * 4
    alone = gb.run(["fedavg"], tiny_task, [0], rounds=1, cohort_size=2, **SMALL, plan={"lr": 0.1})
    (row,) = alone.rows.to_dict("records")
    (same,) = rows[rows["run_id"] == row["run_id"]].to_dict("records")
    del row["seconds"], same["seconds"]
    assert json.dumps(row) == json.dumps(same)


@pytest.mark.parametrize("values", [[], 3, "0.1,0.5", [{"lr": 1, "epochs": 2}]])
def test_values_that_are_no_list_of_values_are_refused(values: Any) -> None:
    with pytest.raises(UsageError, match="plan"):
        gb.run("fedavg", preset="quick", grid={"plan": values})


def test_a_comparison_stands_after_each_seed() -> None:
    methods = ["moon", "gptfl+fedopt", "gptfl", "fedavg"]
    words = ["cohort_size=1,2"]
    cells = grid.in_turn(grid.plan(methods, "digits", "quick", [3, 1], words).cells)
    turns = [(cell.seed, cell.name, cell.settings.cohort_size) for cell in cells]
    names = ["fedavg", "gptfl", "moon", "gptfl+fedopt"]
    assert turns == [(seed, name, size) for seed in (3, 1) for name in names for size in (1, 2)]


def test_points_that_differ_in_nothing_that_counts_are_one_cell() -> None:
    cells = grid.plan(["fedavg"], "digits", "quick", [0], ["search=a,b", "rounds=1,2"]).cells
    assert [cell.settings.rounds for cell in cells] == [1, 2]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    return lambda there: monkeypatch.setattr("torch.cuda.is_available", lambda: there)


def test_auto_takes_the_preset_that_fits_the_machine(gpu: Callable[[bool], None]) -> None:
    gpu(False)
    assert config.load("digits", "auto", []).preset == "default"
    assert config.load("cifar10", "auto", []).preset == "cpu"
    assert config.fitting_preset("a task of one's own")[0] == "default"
    assert config.load("cifar10", "auto", []).tree == config.load("cifar10", "cpu", []).tree
    gpu(True)
    assert config.load("cifar10", "auto", []).preset == "default"
    assert config.load("cifar10", "auto", ["device=cpu"]).preset == "cpu"


def test_records_name_the_preset_that_auto_took(tiny_task: Task, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    words: dict[str, Any] = {"rounds": 1, "cohort_size": 2, **SMALL}
    (cell,) = gb.run("fedavg", tiny_task, [0], out, **words).cells
    assert cell.record["preset"]["name"] == "default"
    (again,) = gb.run("fedavg", tiny_task, [0], out, preset="default", **words).cells
    assert again.record == cell.record
    assert len(list(out.glob("*/record.json"))) == 1
