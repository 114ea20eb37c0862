"""The two budgets of a preset: many rounds of short local training, or few of long."""

from pathlib import Path

import pytest

from gptfl_bench.core.errors import UsageError
from gptfl_bench.data.task import tasks
from gptfl_bench.runs import experiment
from gptfl_bench.runs.config import PRESETS, load
from gptfl_bench.runs.launchers import execute
from gptfl_reports.numbers.tasks import group
from gptfl_reports.tables.captions import caption

SMALL = ["model=linear", "methods.fedavg.plan.lr=0.1"]


@pytest.mark.parametrize("dataset", ["any", *tasks.names()])
@pytest.mark.parametrize("preset", PRESETS)
def test_the_long_regime_trains_longer_in_fewer_rounds(dataset: str, preset: str) -> None:
    short, long = (load(dataset, preset, [f"regime={name}"]) for name in ("short", "long"))
    assert load(dataset, preset, []) == short
    assert long.settings.rounds < short.settings.rounds
    assert long.settings.plan.epochs > short.settings.plan.epochs
    # Every method follows it, warm or cold.
    for name in ("moon", "fedgen", "gptfl+feddf"):
        method = long.method(name)
        plan = getattr(getattr(method, "inner", method), "plan", None)
        assert plan is not None
        assert plan.epochs == long.settings.plan.epochs


def test_what_is_given_beside_it_wins() -> None:
    settings = load("digits", "default", ["rounds=3", "regime=long", "plan.epochs=2"]).settings
    assert (settings.regime, settings.rounds, settings.plan.epochs) == ("long", 3, 2)


def test_another_regime_is_refused() -> None:
    with pytest.raises(UsageError, match=r"regime='medium' does not fit: .*'short' or 'long'"):
        load("digits", "default", ["regime=medium"])


def test_both_stand_side_by_side_and_are_never_mixed(tmp_path: Path) -> None:
    """Even with equal rounds and epochs, for the regimes' rates differ."""
    context = experiment.context(tmp_path, cache=tmp_path / "cache")
    equal = [*SMALL, "rounds=2", "plan.epochs=2"]
    cells = [
        cell
        for regime in ("short", "long")
        for cell in execute(
            experiment.plan(["fedavg"], "digits", "quick", [0], [*equal, f"regime={regime}"]).cells,
            context,
        )
    ]
    short, long = group(cells)
    assert "regime" not in short.cells[0].record["config"]
    assert short.title.endswith("2 rounds of 10 of 20 clients")
    assert long.title.endswith("2 rounds of 10 of 20 clients, long local training")
    assert any("long local training" in sentence for sentence in caption(long))
    assert short.cells[0].record["run_id"] != long.cells[0].record["run_id"]
    # The settings are the same, so the numbers are.
    assert short.cells[0].trained_values == long.cells[0].trained_values
