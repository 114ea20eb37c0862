"""A start from real samples in place of generated ones: which they are, and when there are none."""

from pathlib import Path

import pytest
import torch

from gptfl_bench.cells.assemble import build_server
from gptfl_bench.cells.world import World, build_world
from gptfl_bench.core.cache import Artifacts
from gptfl_bench.core.errors import Refusal
from gptfl_bench.core.progress import Silent
from gptfl_bench.runs import experiment, launchers
from gptfl_bench.synthesis.synthesis import Synthesis
from gptfl_reports.numbers.board import leaderboard
from gptfl_reports.records.cells import read_cells
from gptfl_reports.records.events import Event, SyntheticReady

REAL = ["synthetic.real=true", "synthetic.multiplier=0.1"]


def workshop(tmp_path: Path, *overrides: str) -> tuple[World, Synthesis, list[Event]]:
    (spec,) = experiment.plan(["gptfl"], "digits", "quick", (0,), [*REAL, *overrides]).cells
    world, log = build_world(spec), list[Event]()
    server = build_server(
        spec, world, tmp_path / "cell", Artifacts(tmp_path / "cache"), log.append, Silent()
    )
    return world, server.resource(Synthesis), log


def test_as_many_of_each_label_as_would_be_generated_and_no_client_has_one(tmp_path: Path) -> None:
    world, synthesis, log = workshop(tmp_path)
    assert world.public is not None
    samples = synthesis.samples(world.task.label_names)
    # A tenth of the clients' 1,150 samples, over ten labels and rounded up.
    assert torch.bincount(samples.labels).tolist() == [12] * 10
    chosen = set(samples.rows(torch.arange(len(samples))).tolist())
    held_by_clients = world.train.rows(torch.arange(len(world.train))).tolist()
    assert len(chosen) == 120
    assert chosen <= set(world.public.rows(torch.arange(len(world.public))).tolist())
    assert chosen.isdisjoint(held_by_clients)
    assert not [event for event in log if isinstance(event, SyntheticReady)]


def test_labels_may_come_in_any_order(tmp_path: Path) -> None:
    world, synthesis, _ = workshop(tmp_path, "synthetic.multiplier=0.02")
    names = world.task.label_names
    assert synthesis.samples([names[7], names[1]]).labels.tolist() == [7] * 12 + [1] * 12


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("public.source=synthetic", "set public.source=held_out"),
        ("synthetic.multiplier=1.0", "kept from the clients have the label .*, and 115 are asked"),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, override: str, words: str) -> None:
    world, synthesis, _ = workshop(tmp_path, override)
    with pytest.raises(Refusal, match=words):
        synthesis.samples(world.task.label_names)


def test_both_starts_stand_side_by_side_in_the_tables(tmp_path: Path) -> None:
    context = experiment.context(tmp_path / "runs", cache=tmp_path / "cache")
    for real in ("true", "false"):
        overrides = ["synthetic.multiplier=0.1", "rounds=1", f"synthetic.real={real}"]
        plan = experiment.plan(["gptfl"], "digits", "quick", (0,), overrides)
        list(launchers.execute(plan.cells, context, Silent()))
    board = leaderboard(read_cells(tmp_path / "runs"))
    (ranking,) = board.rankings
    labels = {standing.entrant.label for standing in ranking.standings}
    assert labels == {"gptfl (real samples=false)", "gptfl (real samples=true)"}
