"""What a task can hand to a method: public data, things given once, other networks; refusals."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from gptfl_bench.architectures.network import models
from gptfl_bench.cells.assemble import build_server
from gptfl_bench.cells.spec import CellSpec
from gptfl_bench.cells.world import build_world
from gptfl_bench.core.cache import Artifacts
from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.groups import Groups
from gptfl_bench.core.progress import Silent
from gptfl_bench.data.public import PublicSettings
from gptfl_bench.data.samples import Samples
from gptfl_bench.data.task import Task
from gptfl_bench.engine.client import Client
from gptfl_bench.engine.cohort import Cohort
from gptfl_bench.engine.method import Need
from gptfl_bench.engine.networks import Networks
from gptfl_bench.engine.server import Server
from gptfl_bench.training.distill import distill, outputs
from gptfl_bench.training.fit import Plan, fit
from gptfl_methods.fedavg import FedAvg
from gptfl_reports.records.events import LabelsDiscovered

RunCell = Callable[..., Any]
PLAN = Plan(batch_size=4)


@dataclass(frozen=True)
class Public(FedAvg):
    """Adds the mean of the public samples to the state at every round, and hands them out once."""

    needs: ClassVar[frozenset[Need]] = frozenset({Need.PUBLIC})

    def once(self, state: Groups, server: Server) -> Groups:
        return {"public": {"x": server.public().x}}

    def client_update(self, received: Groups, client: Client) -> Groups:
        reply = super().client_update(received, client)
        return {**reply, "seen": {"mean": client.handed["public"]["x"].mean()}}

    def aggregate(self, state: Groups, cohort: Cohort, server: Server) -> Groups:
        following = super().aggregate(state, cohort, server)
        means = torch.stack([server.public().x.mean(), cohort.mean("seen", "uniform")["mean"]])
        return {**following, "public": {"mean": means}}


class Interrupts(Silent):
    """Interrupts as the last client of a round is done."""

    def __init__(self, round: int) -> None:
        self.left = round

    def stage(self, name: str, done: int, total: int) -> None:
        self.left -= name == "clients" and done == total == 3
        if not self.left:
            raise KeyboardInterrupt


def test_held_out_samples_belong_to_no_client_of_any_method(
    make_spec: Callable[..., Any], tiny_task: Task
) -> None:
    """A tenth of 60 is 6; the other 54 are all shared, whether the method wants public data."""
    public = PublicSettings(source="held_out")
    worlds = [build_world(make_spec(method, public=public)) for method in (FedAvg(), Public())]
    for world in worlds:
        assert world.public is not None
        assert world.public.indices is not None
        assert world.train.indices is not None
        held, shared = set(world.public.indices.tolist()), set(world.train.indices.tolist())
        assert len(held) == 6
        assert held | shared == set(range(60))
        assert not held & shared
        assert sum(world.partition.sizes) == 54
    assert worlds[0].partition == worlds[1].partition


def test_a_part_that_would_be_empty_is_refused(make_spec: Callable[..., Any]) -> None:
    with pytest.raises(UsageError, match=r"a public share of 0\.001 leaves one part of 60"):
        build_world(make_spec(FedAvg(), public=PublicSettings("held_out", share=0.001)))


@pytest.mark.parametrize("source", ["held_out", "synthetic"])
def test_public_data_have_no_labels_and_reach_clients_once(run_cell: RunCell, source: str) -> None:
    """Each of the clients that came is charged 5 images of 16 float32; all see the same."""
    ran = run_cell(Public(plan=PLAN), public=PublicSettings(source, limit=5), rounds=4)  # type: ignore[arg-type]
    assert ran.cell.ending.status == "finished"
    at_server, at_clients = ran.state["public"]["mean"].tolist()
    assert at_server == pytest.approx(at_clients, abs=1e-6)
    visited = {c for e in ran.cell.events for c in getattr(e, "clients", [])}
    assert len(visited) < 4 * 3, "someone must come twice"
    assert ran.cell.row()["client_bytes_once"] == len(visited) * 5 * 16 * 4
    discovered = [e for e in ran.cell.events if isinstance(e, LabelsDiscovered)]
    assert len(discovered) == (source == "synthetic")


def test_a_resumed_cell_brings_public_data_again_uncounted(
    run_cell: RunCell, tmp_path: Path
) -> None:
    """Neither label discovery nor the hand-out is charged a second time."""
    straight = run_cell(Public(plan=PLAN), rounds=4)
    with pytest.raises(KeyboardInterrupt):
        run_cell(Public(plan=PLAN), rounds=4, out=tmp_path / "a", progress=Interrupts(3))
    resumed = run_cell(Public(plan=PLAN), rounds=4, out=tmp_path / "a")
    assert resumed.untimed == straight.untimed
    assert resumed.bits == straight.bits


def test_public_samples_are_numbered_instead_of_labelled(tiny_task: Task) -> None:
    rows = tiny_task.train.select(torch.tensor([4, 2])).with_labels(torch.arange(2))
    assert torch.equal(rows.x, tiny_task.train.x[[4, 2]])
    assert rows.labels.tolist() == [0, 1]


def test_distilling_certain_targets_is_training_on_labels(tiny_task: Task) -> None:
    """With one-hot targets KL(target || softmax) is the cross-entropy, step by step."""
    start = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    networks, data = Networks(start, torch.device("cpu")), tiny_task.train
    taught, trained = networks.new(networks.start), networks.new(networks.start)
    targets = nn.functional.one_hot(data.labels, 3).float()
    distill(taught, data, targets, PLAN, torch.Generator().manual_seed(1))
    fit(trained, data, PLAN, torch.Generator().manual_seed(1))
    torch.testing.assert_close(outputs(taught, data), outputs(trained, data))
    assert not torch.allclose(outputs(taught, data), outputs(networks.new(networks.start), data))


def test_distillation_moves_the_student_to_soft_targets(tiny_task: Task) -> None:
    """A constant target is met by the bias alone; "mean" reduction would still get there."""
    networks = Networks(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), torch.device("cpu"))
    student, data = networks.new(networks.start), Samples(torch.zeros(8, 16), torch.zeros(8).long())
    targets = torch.tensor([0.2, 0.3, 0.5]).repeat(8, 1)
    distill(student, data, targets, Plan(steps=300, lr=1.0), torch.Generator().manual_seed(1))
    torch.testing.assert_close(outputs(student, data).softmax(1), targets, atol=1e-3, rtol=0)


def test_other_architectures_serve_the_same_task() -> None:
    networks = Networks.build(models.get("linear"), (1, 8, 8), 10, {}, 0, torch.device("cpu"))
    small = networks.variant("cnn_small")
    assert networks.variant("cnn_small") is small
    assert small.new(small.start)(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    assert small.start["model"].keys() != networks.start["model"].keys()
    with pytest.raises(UsageError, match="unknown model 'cnn_smal'"):
        networks.variant("cnn_smal")


@dataclass(frozen=True)
class ForImages(FedAvg):
    """FedAvg that was published for images."""

    needs: ClassVar[frozenset[Need]] = frozenset({Need.IMAGES})


@dataclass(frozen=True)
class ForPictures(FedAvg):
    """FedAvg that was published for images, and makes some."""

    needs: ClassVar[frozenset[Need]] = frozenset({Need.IMAGES, Need.IMAGE_SHAPE})


@dataclass(frozen=True)
class ForFeatures(FedAvg):
    """FedAvg that asks for a network's features."""

    needs: ClassVar[frozenset[Need]] = frozenset({Need.FEATURES})


def test_a_convention_refuses_and_can_be_lifted(run_cell: RunCell, tiny_task: Task) -> None:
    speech = replace(tiny_task, modality="speech")
    refused = run_cell(ForImages(plan=PLAN), task=speech).cell.ending
    assert refused.status == "refused"
    assert "published for images, not for speech; set lift_conventions=true" in refused.reason
    lifted = run_cell(ForImages(plan=PLAN), task=speech, lift_conventions=True)
    assert lifted.cell.ending.status == "finished"


def test_a_convention_is_not_offered_to_be_lifted_where_that_would_not_help(
    run_cell: RunCell, tiny_task: Task
) -> None:
    train, test = (replace(s, x=s.x[:, 0]) for s in (tiny_task.train, tiny_task.test))
    speech = replace(tiny_task, modality="speech", train=train, test=test)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    for lifted, said in ((False, "; leave it out."), (True, "makes samples of")):
        ran = run_cell(
            ForPictures(plan=PLAN), task=speech, network=network, lift_conventions=lifted
        )
        assert said in ran.cell.ending.reason
        assert "lift_conventions" not in ran.cell.ending.reason


def test_a_network_without_a_head_refuses_what_needs_features(run_cell: RunCell) -> None:
    bare = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    refused = run_cell(ForFeatures(plan=PLAN), network=bare).cell.ending
    assert refused.status == "refused"
    assert "needs a network with an encoder and a linear head" in refused.reason
    assert run_cell(ForFeatures(plan=PLAN)).cell.ending.status == "finished"


def test_synthetic_public_data_look_as_the_clients_samples_do(
    make_spec: Callable[..., CellSpec], tiny_task: Task, tmp_path: Path
) -> None:
    """They meet networks of clients, whatever synthetic images go through in pre-training."""

    def brighter(x: torch.Tensor, rng: torch.Generator | None = None) -> torch.Tensor:
        return x + 1

    spec = make_spec(Public(), task=replace(tiny_task, synthetic_transform=brighter))
    server = build_server(
        spec, build_world(spec), tmp_path, Artifacts(tmp_path), lambda event: None, Silent()
    )
    x, _ = server.public().batch(torch.arange(4))
    assert torch.equal(x, server.public().x[:4])
