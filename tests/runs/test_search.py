"""Searching rates: equal budgets, held-out data, and a preset as the result."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.progress import Silent
from gptfl_bench.runs import experiment, search
from gptfl_bench.runs.config import load
from gptfl_bench.runs.search import Grid, Trial
from gptfl_reports.records.cells import read_cells

TRIALS = [
    Trial("fedavg", {"methods.fedavg.plan.lr": 0.1}, (0.5, 0.7)),
    Trial("fedavg", {"methods.fedavg.plan.lr": 0.3}, (0.9, 0.4)),
    Trial("fedavg", {"methods.fedavg.plan.lr": 0.8}, (0.99, None)),
    Trial("gptfl", {"warm.fedavg.plan.lr": 0.1}, (None, None)),
    Trial("gptfl", {"warm.fedavg.plan.lr": 0.3}, (0.2, 0.2)),
]


def test_the_best_mean_wins_and_divergence_never_does() -> None:
    """Means are 0.6, 0.65 and none, since one seed diverged; then none and 0.2."""
    chosen = search.best(TRIALS)
    assert {arm: dict(trial.point) for arm, trial in chosen.items()} == {
        "fedavg": {"methods.fedavg.plan.lr": 0.3},
        "gptfl": {"warm.fedavg.plan.lr": 0.3},
    }


def test_the_result_is_a_part_of_a_preset() -> None:
    assert OmegaConf.to_container(OmegaConf.create(search.as_preset(TRIALS))) == {
        "methods": {"fedavg": {"plan": {"lr": 0.3}}},
        "warm": {"fedavg": {"plan": {"lr": 0.3}}},
    }


def test_every_trial_is_in_the_table() -> None:
    lines = search.as_csv(TRIALS, (7, 8)).splitlines()
    assert lines[0] == "arm,settings,seed_7,seed_8,mean,chosen"
    assert lines[2] == "fedavg,methods.fedavg.plan.lr=0.3,90.00,40.00,65.00,yes"
    assert lines[3] == "fedavg,methods.fedavg.plan.lr=0.8,99.00,diverged,diverged,"
    assert len(lines) == 6


def test_arms_with_unequal_budgets_are_refused() -> None:
    grid = Grid("digits", (1,), {"fedavg": {"rounds": [1, 2]}, "gptfl": {"rounds": [1, 2, 3]}})
    with pytest.raises(UsageError, match=r"different numbers of trials: .*'gptfl': 3"):
        _ = grid.trials


@pytest.mark.parametrize("dataset", ["digits", "mnist5k"])
def test_shipped_grids_are_fair_and_their_settings_exist(dataset: str) -> None:
    grid = search.read_grid(dataset)
    assert grid.trials >= 4
    for arm in grid.arms:
        # All points of an arm set the same keys.
        point = list(grid.points(arm))[-1]
        config = load(dataset, "default", [f"{key}={value}" for key, value in point.items()])
        config.method(arm)


def test_trials_are_scored_on_held_out_training_samples(tmp_path: Path) -> None:
    """The test set stays out of reach: a fifth of 1,437 training images is for scoring."""
    grid = Grid("digits", (100,), {"fedavg": {"methods.fedavg.plan.lr": [0.05, 0.1]}})
    context = experiment.context(tmp_path / "trials", cache=tmp_path / "cache")
    trials = search.search(grid, "quick", ["rounds=1"], context, Silent())
    assert [trial.point for trial in trials] == list(grid.points("fedavg"))
    cells = read_cells(tmp_path / "trials")
    assert {cell.record["dataset"]["evaluated_on"] for cell in cells} == {"validation"}
    assert {cell.record["dataset"]["test"] for cell in cells} == {287}
    assert {cell.record["dataset"]["train"] for cell in cells} == {1150}
    scores = {cell.row()["value_mean_last"] for cell in cells}
    assert {trial.scores[0] for trial in trials} == scores
