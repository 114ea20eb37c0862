"""Label discovery as an exchange of round 0."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gptfl_bench.artifacts import Artifacts
from gptfl_bench.assemble import build_server, build_world
from gptfl_bench.errors import Refusal
from gptfl_bench.events import Event, LabelsDiscovered
from gptfl_bench.fit import Plan
from gptfl_bench.iblt import Shape
from gptfl_bench.labels import ATTEMPTS, discover_labels
from gptfl_bench.progress import Silent
from gptfl_bench.server import Server
from gptfl_bench.task import Task
from gptfl_methods.fedavg import FedAvg
from gptfl_methods.gptfl import GptFl

Build = Callable[..., tuple[Server, list[Event]]]


@pytest.fixture
def build(make_spec: Callable[..., Any], tmp_path: Path) -> Build:
    """Return a maker of servers on the tiny task with other label names."""

    def make(task: Task) -> tuple[Server, list[Event]]:
        log: list[Event] = []
        spec = make_spec(FedAvg(), task=task)
        artifacts = Artifacts(tmp_path)
        return build_server(spec, build_world(spec), tmp_path, artifacts, log.append, Silent()), log

    return make


def test_counts_are_those_of_the_clients(build: Build, tiny_task: Task) -> None:
    """Of six clients the first holds cats only and the second everything but cats."""
    server, log = build(tiny_task)
    assert discover_labels(server.federation, Shape(), server.log) == ["cat", "dog", "eel"]
    assert log == [LabelsDiscovered(6, {"cat": 5, "dog": 5, "eel": 5}, 0)]
    (sent,) = server.federation.channel.settle()
    assert (sent.round, sent.direction, sent.group, sent.messages) == (0, "up", "labels", 6)
    assert (sent.scalars, sent.nbytes) == (6 * (576 + 96), 6 * 4 * (576 + 96))


def test_a_label_no_client_holds_stays_unknown(build: Build, tiny_task: Task) -> None:
    names = ("cat", "dog", "eel", "unicorn")
    server, _ = build(replace(tiny_task, label_names=names))
    assert discover_labels(server.federation, Shape(), server.log) == ["cat", "dog", "eel"]


def many(task: Task) -> Task:
    """A task of 30 classes, so that a table for one overflows."""
    y = task.train.y.clone()
    y[:] = torch.arange(60) % 30
    names = tuple(f"kind {number}" for number in range(30))
    return replace(task, train=replace(task.train, y=y), label_names=names)


def test_an_overfull_table_is_doubled_and_sent_again(build: Build, tiny_task: Task) -> None:
    task = many(tiny_task)
    server, log = build(task)
    assert discover_labels(server.federation, Shape(capacity=1), server.log) == sorted(
        task.label_names
    )
    tries = [event for event in log if isinstance(event, LabelsDiscovered)]
    assert len(tries) > 1
    assert all(event.not_decoded > 0 for event in tries[:-1])
    assert tries[-1].not_decoded == 0
    (sent,) = server.federation.channel.settle()
    assert sent.messages == 6 * len(tries), "every attempt is paid for"
    shapes = [Shape(capacity=2**number) for number in range(len(tries))]
    assert sent.scalars == 6 * sum(3 * shape.cells * 7 for shape in shapes)


def test_attempts_end(
    build: Build, tiny_task: Task, monkeypatch: pytest.MonkeyPatch, run_cell: Callable[..., Any]
) -> None:
    """If names stay unread the method is refused with what to do."""
    monkeypatch.setattr(Shape, "cells", 2)
    server, log = build(many(tiny_task))
    with pytest.raises(
        Refusal, match=rf"capacity of {2 ** (ATTEMPTS - 1)}; set .*labels\.capacity"
    ):
        discover_labels(server.federation, Shape(capacity=1), server.log)
    assert len(log) == ATTEMPTS
    outcome = run_cell(GptFl(), task=many(tiny_task), labels=Shape(capacity=1))
    assert outcome.cell.ending.status == "refused"
    assert outcome.cell.evaluations == []


def test_long_names_refuse_the_method_with_what_to_do(
    run_cell: Callable[..., Any], tiny_task: Task
) -> None:
    task = replace(tiny_task, label_names=("cat", "dog", "hard-leaved pocket orchid"))
    method = GptFl(inner=FedAvg(plan=Plan(batch_size=4)), pretrain=Plan(epochs=1))
    refused = run_cell(method, task=task)
    assert refused.cell.ending.status == "refused"
    assert "'hard-leaved pocket orchid' takes 25 bytes" in refused.cell.ending.reason
    assert "set labels.max_bytes" in refused.cell.ending.reason
    longer = run_cell(method, task=task, labels=Shape(max_bytes=25))
    assert longer.cell.ending.status == "finished"
