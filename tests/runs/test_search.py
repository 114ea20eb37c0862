"""Searching rates: equal budgets, held-out data, and a preset as the result."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from gptfl_bench.cli import main
from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.progress import Silent
from gptfl_bench.runs import experiment, search
from gptfl_bench.runs.config import load
from gptfl_bench.runs.search import Grid, Trial
from gptfl_reports.records.cells import read_cells
from gptfl_reports.records.events import CellEnded

DIVERGED = CellEnded("diverged", "the loss is not finite")
REFUSED = CellEnded("refused", "no images")
TRIALS = [
    Trial("fedavg", {"methods.fedavg.plan.lr": 0.1}, None, (0.5, 0.7)),
    Trial("fedavg", {"methods.fedavg.plan.lr": 0.3}, None, (0.9, 0.4)),
    Trial("fedavg", {"methods.fedavg.plan.lr": 0.8}, None, (0.99, DIVERGED)),
    Trial("gptfl", {"warm.fedavg.plan.lr": 0.1}, None, (DIVERGED, DIVERGED)),
    Trial("gptfl", {"warm.fedavg.plan.lr": 0.3}, None, (0.2, 0.2)),
]


def test_the_best_mean_wins_and_divergence_never_does() -> None:
    """Means are 0.6, 0.65 and none, since one seed diverged; then none and 0.2."""
    chosen = search.best(TRIALS)
    assert {arm: dict(trial.point) for arm, trial in chosen.items()} == {
        "fedavg": {"methods.fedavg.plan.lr": 0.3},
        "gptfl": {"warm.fedavg.plan.lr": 0.3},
    }


def test_an_arm_without_a_score_has_no_best_trial_and_its_reason_is_told() -> None:
    """DynaFed on sound was once written down as diverged, its first setting as the best."""
    key = "methods.dynafed.plan.lr"
    refused = [Trial("dynafed", {key: rate}, None, (REFUSED, REFUSED)) for rate in (0.1, 0.3)]
    trials = [*TRIALS, *refused]
    assert list(search.best(trials)) == ["fedavg", "gptfl"]
    assert search.as_preset(trials) == search.as_preset(TRIALS)
    assert (
        search.as_csv(trials, (7, 8)).splitlines()[6]
        == f"dynafed,{key}=0.1,refused,refused,refused,"
    )
    assert search.troubles(trials) == {"dynafed": REFUSED}


def test_where_all_trials_diverge_it_is_told_and_where_some_do_it_is_not() -> None:
    lost = Trial("scaffold", {"methods.scaffold.plan.lr": 9.0}, None, (DIVERGED, 0.1))
    assert search.troubles([*TRIALS, lost]) == {"scaffold": DIVERGED}


def test_a_refused_search_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    limit = "methods.dynafed.memory_limit_gib=0.000001"
    command = ["search", "--methods", "dynafed", "--preset", "quick", "rounds=1", limit]
    assert main(command) == 0
    printed = capsys.readouterr()
    assert "dynafed has trials without a score, the first of them refused: dynafed needs about" in (
        printed.err
    )
    lines = Path("searches/digits.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) > 4
    assert all(line.endswith(",") and "diverged" not in line for line in lines[1:])


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


@pytest.mark.parametrize(
    ("dataset", "regime"),
    [
        ("digits", "short"),
        ("digits", "long"),
        ("mnist5k", "short"),
        ("cifar10", "short"),
        ("speech_commands", "short"),
    ],
)
def test_shipped_grids_are_fair_and_their_settings_exist(dataset: str, regime: str) -> None:
    grid = search.read_grid(dataset, regime)
    assert grid.trials >= 4
    for arm in grid.arms:
        # All points of an arm set the same keys.
        point = list(grid.points(arm))[-1]
        config = load(dataset, "default", [f"{key}={value}" for key, value in point.items()])
        config.method(arm)


def test_trials_are_scored_on_held_out_training_samples(tmp_path: Path) -> None:
    """The test set stays out of reach: a fifth of 1,437 training images is for scoring.

    Of the 1,150 left a fifth is kept from the clients as public data.
    """
    grid = Grid("digits", (100,), {"fedavg": {"methods.fedavg.plan.lr": [0.05, 0.1]}})
    context = experiment.context(tmp_path / "trials", cache=tmp_path / "cache")
    trials = search.search(grid, "quick", ["rounds=1"], context, Silent())
    assert [trial.point for trial in trials] == list(grid.points("fedavg"))
    cells = read_cells(tmp_path / "trials")
    assert {cell.record["dataset"]["evaluated_on"] for cell in cells} == {"validation"}
    assert {cell.record["dataset"]["test"] for cell in cells} == {287}
    assert {cell.record["dataset"]["train"] for cell in cells} == {1150 - 230}
    scores = {cell.row()["value_mean_last"] for cell in cells}
    assert {trial.scores[0] for trial in trials} == scores


RATES: dict[str, dict[str, list[object]]] = {
    "fedavg": {"methods.fedavg.plan.lr": [0.001, 0.5, 1.0]}
}


def test_only_the_best_of_a_short_first_run_go_on(tmp_path: Path) -> None:
    """Three trials run two of four rounds on the first seed, then the best one all on both."""
    grid = Grid("digits", (100, 101), RATES, first=search.First(share=0.5, keep=1))
    context = experiment.context(tmp_path / "trials", cache=tmp_path / "cache")
    settings = ["rounds=4", "model=linear", "evaluation.every=1"]
    trials = search.search(grid, "quick", settings, context, Silent())
    first = [trial.first for trial in trials]
    assert all(isinstance(score, float) for score in first)
    (gone_on,) = [trial for trial in trials if trial.scores]
    assert gone_on.first == max(score for score in first if isinstance(score, float))
    assert search.best(trials) == {"fedavg": gone_on}
    rounds = sorted((c.record["rounds"], c.record["seed"]) for c in read_cells(tmp_path / "trials"))
    assert rounds == [(2, 100)] * 3 + [(4, 100), (4, 101)]
    lines = search.as_csv(trials, grid.seeds).splitlines()
    assert lines[0] == "arm,settings,first,seed_100,seed_101,mean,chosen"
    assert sum(line.endswith(",,,,") for line in lines) == 2


def test_who_diverged_at_first_does_not_go_on() -> None:
    trials = [Trial("fedavg", {"lr": rate}, first, ()) for rate, first in ((1, DIVERGED), (2, 0.1))]
    assert search._kept(trials, 1) == [trials[1]]


@pytest.mark.parametrize(("rate", "told"), [(0.001, True), (0.5, False), (1.0, True)])
def test_a_best_value_at_the_edge_of_what_was_tried_is_said(rate: float, told: bool) -> None:
    key = "methods.fedavg.plan.lr"
    trials = [Trial("fedavg", {key: value}, None, (0.9,)) for value in (0.001, 0.5, 1.0)]
    trials.append(Trial("gptfl", {"warm.fedavg.plan.lr": 3.0}, None, (0.9,)))
    trial = Trial("fedavg", {key: rate}, None, (0.9,))
    assert search.at_edge(trial, trials) == ([key] if told else [])


@pytest.mark.parametrize(
    ("point", "beyond"),
    [
        # 0.03 * 0.03 / 0.01 and 1 * 1 / 2, each with the other setting at its best.
        ({"lr": 0.03, "mu": 1.0}, [{"lr": 0.09, "mu": 1.0}, {"lr": 0.03, "mu": 0.5}]),
        # 0.01 * 0.01 / 0.03 and 5 * 5 / 2, to one digit.
        ({"lr": 0.01, "mu": 5.0}, [{"lr": 0.003, "mu": 5.0}, {"lr": 0.01, "mu": 10.0}]),
        ({"lr": 0.01, "mu": 2.0}, [{"lr": 0.003, "mu": 2.0}]),
    ],
)
def test_a_grid_is_extended_by_its_own_step(
    point: dict[str, object], beyond: list[dict[str, object]]
) -> None:
    grid = Grid("digits", (1,), {"moon": {"lr": [0.03, 0.01], "mu": [1.0, 2.0, 5.0]}})
    assert list(grid.beyond(Trial("moon", point, None, (0.9,)))) == beyond


def test_a_name_a_single_value_or_zero_has_nothing_beyond() -> None:
    arms: dict[str, list[object]] = {"model": ["linear", "convnet"], "lr": [0.1], "mu": [0.0, 0.1]}
    grid = Grid("digits", (1,), {"fedavg": arms})
    for mu in (0.0, 0.1):
        point = {"model": "linear", "lr": 0.1, "mu": mu}
        assert not list(grid.beyond(Trial("fedavg", point, None, (0.9,))))


def test_beyond_whole_numbers_lies_a_whole_number() -> None:
    grid = Grid("digits", (1,), {"fedavg": {"epochs": [1, 2]}})
    ((_, value),) = next(grid.beyond(Trial("fedavg", {"epochs": 2}, None, (0.9,)))).items()
    assert (value, type(value)) == (4, int)


def test_an_arm_at_an_edge_gets_one_more_trial(tmp_path: Path) -> None:
    """After one round of a linear model the largest of these tiny rates is the best."""
    key = "methods.fedavg.plan.lr"
    arms: dict[str, dict[str, list[object]]] = {"fedavg": {key: [0.0001, 0.001, 0.01]}}
    context = experiment.context(tmp_path / "trials", cache=tmp_path / "cache")
    grid = Grid("digits", (100,), arms, extend=True)
    trials = search.search(grid, "quick", ["rounds=1", "model=linear"], context, Silent())
    assert [trial.point[key] for trial in trials] == [0.0001, 0.001, 0.01, 0.1]
    assert all(trial.scores for trial in trials)


def test_a_regime_has_a_file_of_its_own_and_arms_are_chosen_by_name() -> None:
    grid = search.read_grid("digits", "long")
    assert (grid.name, grid.regime) == ("digits-long", "long")
    assert list(grid.only(["moon"]).arms) == ["moon"]
    with pytest.raises(UsageError, match="unknown arm of the search 'mon': did you mean moon"):
        grid.only(["mon"])
    with pytest.raises(UsageError, match="mnist5k-long"):
        search.read_grid("mnist5k", "long")
