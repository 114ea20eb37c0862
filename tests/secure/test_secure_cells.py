"""Cells under secure aggregation: equal to within a step, and a server that sees sums alone."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chi2

import gptfl_bench
from gptfl_bench.cells.assemble import build_server
from gptfl_bench.cells.world import build_world
from gptfl_bench.core import groups as g
from gptfl_bench.core.cache import Artifacts
from gptfl_bench.core.errors import Refusal, RoundAbandoned
from gptfl_bench.core.groups import Groups, Tree
from gptfl_bench.core.progress import Silent
from gptfl_bench.engine.channel import Channel
from gptfl_bench.engine.cohort import Cohort
from gptfl_bench.engine.method import Method, Need, methods
from gptfl_bench.engine.server import Server
from gptfl_bench.secure.settings import SecureSettings
from gptfl_bench.training.fit import Plan
from gptfl_methods.dsfl import DsFl
from gptfl_methods.dynafed import DynaFed
from gptfl_methods.fedavg import FedAvg
from gptfl_methods.fedopt import FedOpt
from gptfl_methods.fedprox import FedProx
from gptfl_methods.gptfl import GptFl
from gptfl_methods.scaffold import Scaffold
from gptfl_reports.records.events import Direction, LabelsDiscovered, RoundLost, SecureSum

RunCell = Callable[..., Any]
PLAN = Plan(epochs=1, batch_size=4, lr=0.1)
OBSERVED = Path(gptfl_bench.__file__).parent / "conf" / "observed.csv"


@pytest.fixture
def server(make_spec: Callable[..., Any], tmp_path: Path) -> Callable[..., Server]:
    """Return a maker of servers on the tiny task, secure unless told otherwise."""

    def make(method: Method | None = None, *, secure: bool = True, **fields: Any) -> Server:
        spec = make_spec(
            method or FedAvg(plan=PLAN),
            secure_aggregation=secure,
            secure=SecureSettings(**fields),
        )
        world = build_world(spec)
        place = tmp_path / f"server-{len(list(tmp_path.iterdir()))}"
        return build_server(spec, world, place, Artifacts(place), lambda event: None, Silent())

    return make


def exchange(server: Server, clients: list[int], round: int = 1) -> Cohort:
    method = FedAvg(plan=PLAN)
    state = dict(server.start)
    return server.federation.exchange(
        round, clients, lambda k: method.downlink(state, k), method.client_update
    )


def apart(ours: Tree, theirs: Tree) -> float:
    assert ours.keys() == theirs.keys() != set()
    return max(float((tensor - theirs[name]).abs().max()) for name, tensor in ours.items())


@pytest.mark.parametrize(
    "method",
    [
        FedAvg(plan=PLAN),
        FedAvg(plan=PLAN, weighting="uniform"),
        FedProx(plan=PLAN, mu=0.1),
        Scaffold(plan=PLAN),
        FedOpt(plan=PLAN, optimizer="momentum", server_lr=1.0),
        DsFl(plan=PLAN),
        DynaFed(plan=PLAN),
        GptFl(inner=FedAvg(plan=PLAN), pretrain=PLAN),
    ],
    ids=lambda method: type(method).__name__,
)
def test_a_round_differs_by_no_more_than_a_step(run_cell: RunCell, method: Method) -> None:
    """A coordinate of a mean is off by c / 2**b at most: 4 / 2**20 with the defaults."""
    plain = run_cell(method, rounds=1)
    sealed = run_cell(method, rounds=1, secure_aggregation=True)
    assert sealed.cell.ending.status == "finished"
    step = 4 / 2**20
    groups = {"model", "teacher"} & plain.state.keys()
    for group in groups:
        # SCAFFOLD sums over clients, DS-FL distils what is off by a step.
        assert apart(sealed.state[group], plain.state[group]) <= 20 * step, group
    sums = [e for e in sealed.cell.events if isinstance(e, SecureSum) and e.round == 1]
    assert len(sums) == 1
    assert sums[0].error <= sums[0].bound * (1 + 1e-2) + 1e-7
    assert (sums[0].asked, sums[0].stayed, sums[0].clipped) == (3, 3, 0)
    assert sealed.cell.row()["secure_aggregation"]
    assert not sealed.cell.row()["server_saw_clients"]


def test_the_mean_is_off_by_its_bound_at_most(server: Callable[..., Server]) -> None:
    for weighting in ("examples", "uniform"):
        method = FedAvg(plan=PLAN, weighting=weighting)
        for bits in (8, 14, 20):
            cohort = exchange(server(method, bits=bits), [0, 2, 3, 5])
            plain = exchange(server(method, secure=False), [0, 2, 3, 5])
            assert cohort.examples == plain.examples
            # Half a step of 2 * 4 / 2**bits, and what float32 rounds.
            off = apart(cohort.mean("delta", weighting), plain.mean("delta", weighting))
            assert 0 < off <= 4 / 2**bits + 1e-7
            assert cohort.gradient_diversity == plain.gradient_diversity


def test_every_method_runs_or_is_refused_as_observed(
    run_cell: RunCell, fake_generator: str
) -> None:
    """The published claim is the observation: who reads single replies is refused, no one else."""
    with OBSERVED.open() as lines:
        observed = {row["method"]: row for row in csv.DictReader(lines)}
    for name in ("fedavg", "feddf", "fedet", "fedgen", "fedftg"):
        method = methods.get(name)()
        refused = Need.REPLIES in method.needs
        assert name in observed
        outcome = run_cell(method, secure_aggregation=True, rounds=1)
        assert (outcome.cell.ending.status == "refused") == refused
        if refused:
            assert "which secure aggregation hides" in outcome.cell.ending.reason


def test_replies_are_hidden_from_a_method_that_reads_them_undeclared(
    server: Callable[..., Server],
) -> None:
    cohort = exchange(server(), [0, 1, 2])
    with pytest.raises(Refusal, match="secure aggregation hides"):
        _ = cohort.replies
    assert not cohort.saw_clients


def test_a_weighting_that_was_not_announced_is_an_error(server: Callable[..., Server]) -> None:
    cohort = exchange(server(), [0, 1, 2])
    with pytest.raises(RuntimeError, match=r"'uniform' must be among .*weightings"):
        cohort.mean("delta", "uniform")
    with pytest.raises(RuntimeError, match="uniform"):
        cohort.sum("delta")


class Tapped(Channel):
    """A channel whose messages to the server are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Groups] = []

    def send(self, payload: Any, direction: Direction, round: int) -> Groups:
        arrived = super().send(payload, direction, round)
        if direction == "up":
            self.heard.append(arrived)
        return arrived


def test_the_server_hears_masked_vectors_that_look_like_noise(
    server: Callable[..., Server],
) -> None:
    """Nothing but protocol messages goes up; masked entries are uniform, whatever is under them.

    Chi-square over 256 buckets at a significance of one in a million.
    """
    made = server()
    made.federation.channel = tapped = Tapped()
    for round in range(1, 11):
        exchange(made, [0, 1, 2, 3, 4, 5], round)
    assert {group for message in tapped.heard for group in message} == {
        "advertise_keys",
        "share_keys",
        "masked_input",
        "unmask",
    }
    vectors = [
        message["masked_input"]["values"] for message in tapped.heard if "masked_input" in message
    ]
    assert len(vectors) == 60
    assert len({vector.numpy().tobytes() for vector in vectors}) == 60
    pooled = torch.cat(vectors).numpy().astype(np.int64)
    top = 1 << int(pooled.max()).bit_length()
    assert top == 2**26, "60 samples of 20 bits"
    counts = np.bincount(pooled * 256 // top, minlength=256)
    statistic = float(((counts - len(pooled) / 256) ** 2 / (len(pooled) / 256)).sum())
    assert chi2.sf(statistic, 255) > 1e-6


@pytest.mark.parametrize(
    ("schedule", "stay"),
    [("1:2:before", [0, 1, 3, 4, 5]), ("1:2:after", [0, 1, 2, 3, 4, 5]), ("2:2:before", range(6))],
)
def test_lost_clients_leave_the_sum_of_the_others(
    server: Callable[..., Server], schedule: str, stay: list[int]
) -> None:
    """Whoever is lost before it sent its vector is as if it had not been asked."""
    cohort = exchange(server(schedule=schedule), [0, 1, 2, 3, 4, 5])
    plain = exchange(server(secure=False), list(stay))
    assert cohort.clients == list(stay)
    assert cohort.examples == plain.examples
    assert apart(cohort.mean("delta"), plain.mean("delta")) <= 4 / 2**20 + 1e-7


def test_too_few_clients_abandon_the_round_and_leave_all_as_it_was(run_cell: RunCell) -> None:
    """Of three clients two must stay; in the second round two are lost."""
    method = Scaffold(plan=PLAN)
    schedule = ",".join(f"2:{client}:before" for client in range(6))
    lossy = run_cell(
        method, rounds=2, secure_aggregation=True, secure=SecureSettings(schedule=schedule)
    )
    one = run_cell(method, rounds=1, secure_aggregation=True)
    (lost,) = [event for event in lossy.cell.events if isinstance(event, RoundLost)]
    assert lost.round == 2
    assert "0 of 3 clients were left at masked_input, and 2 are needed" in lost.reason
    assert lossy.bits == one.bits
    assert lossy.clients.keys() == one.clients.keys()
    assert lossy.cell.row()["rounds"] == 2
    assert lossy.cell.ending.status == "finished"
    first, second = lossy.cell.evaluations[1:]
    assert (first.accuracy, first.loss) == (second.accuracy, second.loss)


def test_a_lost_round_is_followed_by_one_that_works(run_cell: RunCell) -> None:
    schedule = ",".join(f"1:{client}:after" for client in range(6))
    secure = SecureSettings(schedule=schedule)
    lossy = run_cell(FedAvg(plan=PLAN), rounds=3, secure_aggregation=True, secure=secure)
    kinds = [type(e).__name__ for e in lossy.cell.events if isinstance(e, RoundLost | SecureSum)]
    assert kinds == ["RoundLost", "SecureSum", "SecureSum"]


def test_clients_keep_nothing_of_an_abandoned_exchange(server: Callable[..., Server]) -> None:
    made = server(schedule="3:0:before,3:1:before,3:2:after")
    exchange(made, [0, 1, 2], round=2)
    before = dict(made.federation.store.versions)
    with pytest.raises(RoundAbandoned):
        exchange(made, [0, 1, 2], round=3)
    assert made.federation.store.versions == before


def test_clients_get_lost_at_the_stated_rate() -> None:
    settings = SecureSettings(dropout=0.3)
    lost = [settings.lost(0, round, range(100)) for round in range(50)]
    stages = [stage for some in lost for stage in some.values()]
    assert len(stages) / 5000 == pytest.approx(0.3, abs=0.03)
    assert stages.count("masked_input") / len(stages) == pytest.approx(0.5, abs=0.06)
    assert settings.lost(0, 7, range(100)) == lost[7] != settings.lost(1, 7, range(100))


def test_label_discovery_is_sealed_too(run_cell: RunCell) -> None:
    sealed = run_cell(
        GptFl(inner=FedAvg(plan=PLAN), pretrain=PLAN), rounds=0, secure_aggregation=True
    )
    (told,) = [e for e in sealed.cell.events if isinstance(e, LabelsDiscovered)]
    assert told.counts == {"cat": 5, "dog": 5, "eel": 5}
    (sums,) = [e for e in sealed.cell.events if isinstance(e, SecureSum)]
    assert (sums.round, sums.entries, sums.modulus_bits, sums.error) == (0, 672, 31, 0.0)
    ups = {t.group: t for t in sealed.cell.traffic if t.direction == "up"}
    assert "labels" not in ups
    # Six clients send 672 entries of 32 bits and a header.
    assert ups["masked_input"].messages == 6
    assert ups["masked_input"].nbytes == 6 * (672 * 4 + 3 * 8)


def test_one_client_hides_nothing(run_cell: RunCell) -> None:
    alone = run_cell(FedAvg(plan=PLAN), cohort_size=1, secure_aggregation=True)
    assert alone.cell.ending.status == "refused"
    assert "set cohort_size to 2 or more" in alone.cell.ending.reason


def test_counters_of_normalisation_are_summed_exactly(run_cell: RunCell) -> None:
    settings = {"model": "cnn_small", "model_args": {"norm": "batch"}, "rounds": 2}
    plain = run_cell(FedAvg(plan=PLAN), **settings)
    if not plain.state.get("buffers"):
        pytest.skip("the network has no statistics")
    sealed = run_cell(FedAvg(plan=PLAN), secure_aggregation=True, **settings)
    for name, tensor in plain.state["buffers"].items():
        if not tensor.is_floating_point():
            assert torch.equal(tensor, sealed.state["buffers"][name])


def test_clipped_coordinates_are_counted(server: Callable[..., Server]) -> None:
    cohort = exchange(server(clip=1e-3), [0, 1, 2])
    assert cohort.sealed is not None
    assert cohort.sealed.clipped > 0
    assert cohort.sealed.error > cohort.sealed.bound
    assert g.squared_norm(cohort.mean("delta")) > 0


@pytest.mark.parametrize(
    "values",
    [
        {"clip": 0.0},
        {"bits": 1},
        {"threshold": 0.5},
        {"dropout": 1.0},
        {"schedule": "1:2"},
        {"schedule": "a:2:before"},
    ],
)
def test_impossible_settings_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        SecureSettings(**values)
    assert replace(SecureSettings(), bits=12).least(10) == 7


def test_a_cell_that_lost_every_round_is_no_result(run_cell: RunCell) -> None:
    """All three clients fall silent: the values are those of the start, however good it is."""
    outcome = run_cell(
        FedAvg(plan=PLAN), secure_aggregation=True, secure=SecureSettings(dropout=0.99)
    )
    cell = outcome.cell
    assert cell.row()["rounds_lost"] == 3
    assert cell.ending.status == "failed"
    assert cell.ending.reason.startswith("nothing was learnt, for all 3 rounds were abandoned: ")
