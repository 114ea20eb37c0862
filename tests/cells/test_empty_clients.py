"""Clients without samples are skipped with an event, and a cohort of none changes nothing."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gptfl_bench.cells.settings import PartitionSettings
from gptfl_bench.data.partition import Partition, partitions
from gptfl_bench.engine.method import methods
from gptfl_bench.training.fit import Plan
from gptfl_reports.records.events import ClientsSkipped

PLAN = Plan(epochs=1, batch_size=4, lr=0.1)


def _holey(holding: int) -> Callable[..., Partition]:
    """Return a recipe of six clients of which the first ``holding`` have samples."""

    def recipe(labels: Any, groups: Any, **settings: Any) -> Partition:
        share = len(labels) // holding
        full = tuple(tuple(range(k * share, (k + 1) * share)) for k in range(holding))
        return Partition((*full, *((),) * (6 - holding)), "holey", {})

    return recipe


@pytest.fixture
def run(run_cell: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    def go(name: str, holding: int, **settings: Any) -> Any:
        partitions.names()
        monkeypatch.setitem(partitions._parts, "holey", _holey(holding))
        method: Any = methods.get(name)()
        if hasattr(method, "plan"):
            method = replace(method, plan=PLAN)
        partition = PartitionSettings(recipe="holey")
        return run_cell(method, partition=partition, num_clients=6, **settings)

    return go


@pytest.mark.parametrize(
    "name", ["fedavg", "scaffold", "fedopt", "moon", "feddf", "dsfl", "fedgen", "gptfl"]
)
def test_empty_clients_have_no_part(run: Callable[..., Any], name: str) -> None:
    outcome = run(name, 4, cohort_size=6, rounds=2)
    assert outcome.cell.ending.status == "finished"
    skipped = [event for event in outcome.cell.events if isinstance(event, ClientsSkipped)]
    assert skipped == [ClientsSkipped(1, [4, 5]), ClientsSkipped(2, [4, 5])]
    rounds = [event for event in outcome.untimed if type(event).__name__ == "RoundAggregated"]
    assert [event.clients for event in rounds] == [[0, 1, 2, 3]] * 2


@pytest.mark.parametrize("name", ["fedavg", "fedopt", "scaffold"])
def test_a_cohort_without_samples_changes_nothing(run: Callable[..., Any], name: str) -> None:
    """Of six clients one has samples, and a cohort is one: most rounds have none."""
    outcome = run(name, 1, cohort_size=1, rounds=6)
    assert outcome.cell.ending.status == "finished"
    skipped = {e.round for e in outcome.cell.events if isinstance(e, ClientsSkipped)}
    assert 2 <= len(skipped) <= 6
    losses = [evaluation.loss for evaluation in outcome.cell.evaluations]
    for round in range(1, 7):
        assert (losses[round] == losses[round - 1]) == (round in skipped)
    for event in outcome.cell.events:
        if type(event).__name__ == "RoundAggregated" and event.round in skipped:
            assert (event.clients, event.examples, event.steps) == ([], 0, 0)
            assert math.isnan(event.train_loss)
    assert all(traffic.round not in skipped for traffic in outcome.cell.traffic)
    assert outcome.cell.row()["rounds"] == 6
