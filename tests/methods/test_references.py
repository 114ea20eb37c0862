"""Training that is not federated: by hand, and out of the ranking."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

import gptfl_bench as gb
from gptfl_bench.core.groups import Groups
from gptfl_bench.engine.method import Method, methods
from gptfl_bench.engine.server import Server
from gptfl_bench.runs.experiment import expand
from gptfl_bench.training.fit import Plan
from gptfl_reports.numbers.board import leaderboard
from gptfl_reports.records.cells import read_cells
from gptfl_reports.tables.leaderboard import leaderboard_tables, to_markdown

CLIENTS = [[1.0, 3.0], [5.0, 5.0, 5.0, 9.0]]
"""Six scalars; a step of size 1 on all at once goes to their mean, 28 / 6."""


def _reference(name: str, **plan: Any) -> Method:
    return methods.get(name)(plan=Plan(batch_size=100, **plan))  # type: ignore[call-arg]


def test_central_takes_gradients_of_all_samples_together(
    parabola: Callable[..., Server], rounds: Callable[..., Groups]
) -> None:
    found = rounds(_reference("central", lr=0.5), parabola(CLIENTS), 2)
    # From 0 half of the way to the mean, twice.
    assert found["model"]["w"].item() == pytest.approx(28 / 6 * 0.75)


def test_a_central_step_is_fedavgs_where_clients_take_one_of_all_they_hold(
    parabola: Callable[..., Server], rounds: Callable[..., Groups]
) -> None:
    (ours, fedavg) = (
        rounds(_reference(name, lr=0.3), parabola(CLIENTS), 3)["model"]["w"].item()
        for name in ("central", "fedavg")
    )
    assert ours == pytest.approx(fedavg)


@pytest.mark.parametrize(
    ("plan", "cohort", "steps"),
    [
        # Two epochs of the cohort's samples, and so many steps of each of its clients.
        (Plan(epochs=2, batch_size=3), (0, 1), 4),
        (Plan(epochs=2, batch_size=3), (0,), 2),
        (Plan(steps=5, batch_size=3), (0, 1), 10),
    ],
)
def test_a_central_round_sees_as_many_samples_as_a_cohort(
    plan: Plan,
    cohort: tuple[int, ...],
    steps: int,
    parabola: Callable[..., Server],
    rounds: Callable[..., Groups],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken: list[int] = []
    central = methods.get("central")
    module = __import__(central.__module__, fromlist=["fit"])
    fit = module.fit

    def counted(*args: Any, **keywords: Any) -> Any:
        taken.append(fit(*args, **keywords).steps)

    monkeypatch.setattr(module, "fit", counted)
    rounds(central(plan=plan), parabola(CLIENTS), cohort=cohort)  # type: ignore[call-arg]
    assert taken == [steps]


def test_local_clients_learn_from_their_own_samples_alone(
    parabola: Callable[..., Server], rounds: Callable[..., Groups]
) -> None:
    found = rounds(_reference("local", lr=0.5), parabola(CLIENTS), 2)
    ends = {name: tree["w"].item() for name, tree in found.items() if "w" in tree}
    # Half of the way to one's own mean, twice.
    assert ends == pytest.approx({"model 0": 2 * 0.75, "model 1": 6 * 0.75})


def test_few_clients_train_alone_always_the_same_ones(parabola: Callable[..., Server]) -> None:
    local = methods.get("local")(clients=2)  # type: ignore[call-arg]
    drawn = {
        tuple(name for name in local.prepare(parabola([[0.0]] * 9, seed=seed)) if "model" in name)
        for seed in (0, 0, 1, 2, 3, 4)
    }
    assert {len(names) for names in drawn} == {2}
    assert 1 < len(drawn) <= 5


def test_the_tested_value_is_the_mean_over_clients(parabola: Callable[..., Server]) -> None:
    """Of two clients one has a loss of 1, on half of the samples."""
    local, server = _reference("local"), parabola([[0.0], [0.0]])
    state = {"model 0": {"w": torch.tensor([0.0])}, "model 1": {"w": torch.tensor([9.0])}}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        near = local.predict(state, server, torch.zeros(2000, 1))[:, 0] == -1
    assert near.float().mean().item() == pytest.approx(0.5, abs=0.04)


def test_references_are_asked_for_by_name_and_have_no_rank(tmp_path: Any) -> None:
    assert not {"central", "local"} & set(methods.names())
    asked = expand(["references"])
    assert asked == ["central", "local", "gptfl+central", "gptfl+local"]
    few: dict[str, Any] = {
        **{"model": "linear", "rounds": 2, "plan.lr": 0.1, "quality.samples": 0},
        **{"synthetic.multiplier": 0.05, "synthetic.generator": "renderer"},
        "methods.gptfl.pretrain.epochs": 1,
    }
    gb.run(["fedavg", *asked], "digits", preset="quick", seeds=[0], out=tmp_path, **few)
    cells = list(read_cells(tmp_path))
    rows = {cell.row()["method"]: cell.row() for cell in cells}
    assert {row["status"] for row in rows.values()} == {"finished"}
    assert rows["central"]["bytes_down"] == rows["central"]["bytes_up"] == 0
    local, central = (rows[name]["value_best"] for name in ("local", "central"))
    assert local is not None
    assert central is not None
    assert local <= central
    board = leaderboard(cells)
    (ranking,) = board.rankings
    # FedAvg is the only method, so it is first and best, whatever the references reach.
    assert [s.mark for s in ranking.standings] == ["best", "", "", "", ""]
    assert ranking.standings[0].entrant.label == "fedavg"
    assert len(leaderboard_tables(board)[0].rows) == 5
    assert "not federated, so without a rank" in to_markdown(board)


def test_references_are_refused_where_the_server_sees_sums_alone(
    run_cell: Callable[..., Any],
) -> None:
    cell = run_cell(methods.get("central")(), secure_aggregation=True).cell
    assert cell.ending.status == "refused"
    assert "which secure aggregation hides" in cell.ending.reason
