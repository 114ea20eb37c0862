"""Numbers at the edge of what can be run: each has one outcome, the same for every method.

The table in ``docs/robustness.md`` says which.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from gptfl_bench.cells.settings import PartitionSettings
from gptfl_bench.core.errors import UsageError
from gptfl_bench.data.handed import check_task
from gptfl_bench.data.partition import Partition, partitions
from gptfl_bench.data.public import PublicSettings
from gptfl_bench.data.samples import Samples
from gptfl_bench.data.task import Task
from gptfl_bench.engine.method import methods
from gptfl_bench.training.fit import Plan

METHODS = ["fedavg", "scaffold", "fedgen", "gptfl"]


@pytest.fixture
def run(
    run_cell: Callable[..., Any], tiny_task: Task, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Return what runs a method whose first client has one sample, and each class is at one."""
    of_class = [torch.nonzero(tiny_task.train.labels == c).flatten().tolist() for c in range(3)]

    def lonely(labels: Any, groups: Any, **settings: Any) -> Partition:
        shares = (of_class[0][:1], of_class[0][1:], of_class[1], of_class[2])
        return Partition(tuple(map(tuple, shares)), "lonely", {})

    def go(name: str, plan: Plan, **settings: Any) -> Any:
        partitions.names()
        monkeypatch.setitem(partitions._parts, "lonely", lonely)
        method: Any = methods.get(name)()
        if hasattr(method, "inner"):
            method = replace(method, inner=replace(method.inner, plan=plan))
        else:
            method = replace(method, plan=plan)
        recipe = PartitionSettings(recipe="lonely")
        # Nothing is held back: every sample of the task is a client's.
        public = PublicSettings(source="none")
        values = {"rounds": 2, "num_clients": 4, "cohort_size": 4, **settings}
        return run_cell(method, partition=recipe, public=public, **values)

    return go


PLAN = Plan(batch_size=4, lr=0.1)
CASES: dict[str, tuple[Plan, dict[str, Any]]] = {
    "a client with one sample, and a cohort of all clients": (PLAN, {}),
    "classes that are absent from a cohort": (PLAN, {"cohort_size": 1}),
    "no rounds": (PLAN, {"rounds": 0}),
    "no steps": (replace(PLAN, steps=0), {}),
    "no epochs": (replace(PLAN, epochs=0), {}),
    "batches of one, and batch normalisation": (
        replace(PLAN, batch_size=1),
        {"model": "cnn_small", "model_args": {"norm": "batch"}},
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", METHODS)
def test_a_cell_ends_with_a_finite_value(run: Callable[..., Any], name: str, case: str) -> None:
    plan, settings = CASES[case]
    row = run(name, plan, **settings).cell.row()
    assert row["status"] == "finished", row["reason"]
    assert row["rounds"] == settings.get("rounds", 2)
    assert 0 <= row["value_last"] <= 1


@pytest.mark.parametrize("name", METHODS)
def test_a_loss_that_is_not_finite_is_an_outcome(run: Callable[..., Any], name: str) -> None:
    row = run(name, replace(PLAN, lr=1e38, epochs=4)).cell.row()
    assert row["status"] == "diverged"
    assert row["value_last"] is not None
    assert row["reason"]


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_out_of_range_are_refused(tiny_task: Task, label: int) -> None:
    labels = tiny_task.train.y.clone()
    labels[5] = label
    wrong = replace(tiny_task, train=Samples(tiny_task.train.x, labels))
    with pytest.raises(UsageError, match=str(label)):
        check_task(wrong)
