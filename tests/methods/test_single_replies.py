"""Reading what single clients sent: declared by a method, recorded by the engine."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from gptfl_bench.core.groups import Groups
from gptfl_bench.engine.method import Need
from gptfl_bench.engine.server import Server
from gptfl_bench.training.fit import Plan
from gptfl_methods.fedavg import FedAvg
from gptfl_methods.gptfl import GptFl

RunCell = Callable[..., Any]
PLAN = Plan(epochs=2, batch_size=4, lr=0.1)


@dataclass(frozen=True)
class Nosy(FedAvg):
    """Reads what single clients sent without saying so."""

    def aggregate(self, state: Groups, cohort: Any, server: Server) -> Groups:
        assert len(cohort.replies) == len(cohort.clients)
        return super().aggregate(state, cohort, server)


@dataclass(frozen=True)
class Frank(Nosy):
    """Says so."""

    needs = frozenset({Need.REPLIES})


@dataclass(frozen=True)
class Shy(FedAvg):
    """May read single replies and does not."""

    needs = frozenset({Need.REPLIES})


def test_reading_single_replies_must_be_declared_and_is_recorded(run_cell: RunCell) -> None:
    with pytest.raises(RuntimeError, match=r"must declare Need\.REPLIES"):
        run_cell(Nosy(plan=PLAN))
    frank, shy = run_cell(Frank(plan=PLAN)), run_cell(Shy(plan=PLAN))
    assert frank.cell.row()["server_saw_clients"] is True
    assert shy.cell.row()["server_saw_clients"] is False
    wrapped = GptFl(inner=Frank(plan=PLAN), pretrain=Plan(epochs=1, batch_size=8))
    assert run_cell(wrapped).cell.row()["server_saw_clients"] is True
