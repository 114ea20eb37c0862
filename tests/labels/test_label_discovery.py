"""Label discovery as an exchange of round 0."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gptfl_bench.cells.assemble import build_server
from gptfl_bench.cells.world import build_world
from gptfl_bench.core.cache import Artifacts
from gptfl_bench.core.errors import Refusal
from gptfl_bench.core.progress import Silent
from gptfl_bench.data.task import Task
from gptfl_bench.engine.server import Server
from gptfl_bench.labels.discovery import ATTEMPTS, LabelSettings, _told, discover_labels
from gptfl_bench.labels.sketch import FIELD, Sketch
from gptfl_bench.training.fit import Plan
from gptfl_methods.fedavg import FedAvg
from gptfl_methods.gptfl import GptFl
from gptfl_reports.records.events import Event, LabelsDiscovered

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
    assert discover_labels(server.federation, LabelSettings(), server.log) == ["cat", "dog", "eel"]
    assert log == [LabelsDiscovered(6, {"cat": 5, "dog": 5, "eel": 5}, 0)]
    (sent,) = server.federation.channel.settle()
    assert (sent.round, sent.direction, sent.group, sent.messages) == (0, "up", "labels", 6)
    assert (sent.scalars, sent.nbytes) == (6 * (576 + 96), 6 * 4 * (576 + 96))


def test_a_label_no_client_holds_stays_unknown(build: Build, tiny_task: Task) -> None:
    names = ("cat", "dog", "eel", "unicorn")
    server, _ = build(replace(tiny_task, label_names=names))
    assert discover_labels(server.federation, LabelSettings(), server.log) == ["cat", "dog", "eel"]


def many(task: Task) -> Task:
    """A task of 30 classes, so that a table for one overflows."""
    y = task.train.y.clone()
    y[:] = torch.arange(60) % 30
    names = tuple(f"kind {number}" for number in range(30))
    return replace(task, train=replace(task.train, y=y), label_names=names)


def test_an_overfull_table_is_doubled_and_sent_again(build: Build, tiny_task: Task) -> None:
    task = many(tiny_task)
    server, log = build(task)
    assert discover_labels(server.federation, LabelSettings(capacity=1), server.log) == sorted(
        task.label_names
    )
    tries = [event for event in log if isinstance(event, LabelsDiscovered)]
    assert len(tries) > 1
    assert all(event.not_decoded > 0 for event in tries[:-1])
    assert tries[-1].not_decoded == 0
    (sent,) = server.federation.channel.settle()
    assert sent.messages == 6 * len(tries), "every attempt is paid for"
    shapes = [LabelSettings(capacity=2**number) for number in range(len(tries))]
    assert sent.scalars == 6 * sum(3 * shape.cells * 7 for shape in shapes)


def test_attempts_end(
    build: Build, tiny_task: Task, monkeypatch: pytest.MonkeyPatch, run_cell: Callable[..., Any]
) -> None:
    """If names stay unread the method is refused with what to do."""
    monkeypatch.setattr(LabelSettings, "cells", 2)
    server, log = build(many(tiny_task))
    with pytest.raises(
        Refusal, match=rf"capacity of {2 ** (ATTEMPTS - 1)}; set .*labels\.capacity"
    ):
        discover_labels(server.federation, LabelSettings(capacity=1), server.log)
    assert len(log) == ATTEMPTS
    outcome = run_cell(GptFl(), task=many(tiny_task), labels=LabelSettings(capacity=1))
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
    longer = run_cell(method, task=task, labels=LabelSettings(max_bytes=25))
    assert longer.cell.ending.status == "finished"


def test_one_name_told_in_several_ways_is_one(build: Build, tiny_task: Task) -> None:
    """Clients tell names without case, blanks or underscores; the task's spelling comes back."""
    server, log = build(replace(tiny_task, label_names=("Cat", "sea_lion", "  Polar bear")))
    names = discover_labels(server.federation, LabelSettings(), server.log)
    assert names == ["  Polar bear", "Cat", "sea_lion"]
    (event,) = log
    assert isinstance(event, LabelsDiscovered)
    assert set(event.counts) == {"cat", "sea lion", "polar bear"}


def test_labels_that_would_merge_are_refused(build: Build, tiny_task: Task) -> None:
    server, _ = build(replace(tiny_task, label_names=("sea lion", "Sea_Lion", "cat")))
    with pytest.raises(Refusal, match="'sea lion' and 'Sea_Lion' are the same but for case"):
        discover_labels(server.federation, LabelSettings(), server.log)


def test_names_of_few_clients_are_withheld(build: Build, tiny_task: Task) -> None:
    """Five of the tiny task's six clients hold each class."""
    server, log = build(tiny_task)
    assert len(discover_labels(server.federation, LabelSettings(k_anonymity=5), server.log)) == 3
    assert discover_labels(server.federation, LabelSettings(k_anonymity=6), server.log) == []
    assert log[1] == LabelsDiscovered(6, {}, 0, withheld=3)


def test_a_method_without_any_name_to_generate_is_refused(run_cell: Callable[..., Any]) -> None:
    method = GptFl(inner=FedAvg(plan=Plan(batch_size=4)), pretrain=Plan(epochs=1))
    refused = run_cell(method, labels=LabelSettings(k_anonymity=6))
    assert refused.cell.ending.status == "refused"
    assert "set labels.k_anonymity lower" in refused.cell.ending.reason


def test_noisy_counts_are_discrete_laplace_around_the_true_ones() -> None:
    """Of 300 rounds of 20 clients: unbiased, and each cell's noise has the stated variance.

    The table's own counts are random factors, so that they tell nothing.
    """
    epsilon = 6.0
    settings = LabelSettings(epsilon=epsilon, most_labels=2)
    shares, counts, factors = [], [], set()
    for seed in range(300):
        rng = np.random.default_rng(seed)
        told = [_told(["cat", "dog"] if c < 7 else ["dog"], settings, 20, rng) for c in range(20)]
        values = np.sum([sketch.values for sketch in told], axis=0) % FIELD
        summed = Sketch(settings, np.sum([sketch.table for sketch in told], axis=0), values)
        decoded = summed.decode()
        assert set(decoded.counts) == {"cat", "dog"}
        factors.add(decoded.counts["cat"])
        counts.append(summed.counted(["cat", "dog"]))
        used = {(r, p) for n in (b"cat", b"dog") for r, p in enumerate(settings.positions(n))}
        noise = (values[:, :, 0] + FIELD // 2) % FIELD - FIELD // 2
        shares += [noise[cell] for cell in np.ndindex(noise.shape) if cell not in used]
    assert len(factors) == 300
    cats = np.array([count["cat"] for count in counts])
    # The mean of three cells, rounded; one label more or less changes six cells by one.
    alpha = math.exp(-epsilon / 6)
    variance = 2 * alpha / (1 - alpha) ** 2
    assert cats.mean() == pytest.approx(7, abs=4 * math.sqrt(variance / 3 / 300))
    assert np.var(shares) == pytest.approx(variance, rel=0.1)
    # Laplace is peaked: P(0) = (1 - alpha) / (1 + alpha).
    assert np.mean(np.array(shares) == 0) == pytest.approx((1 - alpha) / (1 + alpha), rel=0.05)


def test_a_client_with_many_labels_tells_the_agreed_number() -> None:
    settings = LabelSettings(epsilon=500.0, most_labels=3)
    names = [f"label {number}" for number in range(9)]
    told = _told(names, settings, 1, np.random.default_rng(0))
    assert len(told.decode().counts) == 3
    assert len(_told(names, LabelSettings(), 1, np.random.default_rng(0)).decode().counts) == 9


def test_noise_is_logged_and_reaches_the_method(build: Build, tiny_task: Task) -> None:
    server, log = build(tiny_task)
    settings = LabelSettings(epsilon=300.0, most_labels=3)
    assert discover_labels(server.federation, settings, server.log) == ["cat", "dog", "eel"]
    assert log == [LabelsDiscovered(6, {"cat": 5, "dog": 5, "eel": 5}, 0, 0, 300.0)]


def test_an_overfull_table_with_noise_is_sent_again_though_it_lists_no_name(
    build: Build, tiny_task: Task
) -> None:
    """One cell a repetition is enough for nobody; counting no names must not be an error."""
    settings = LabelSettings(epsilon=500.0)
    assert Sketch.of([], settings).counted([]) == {}
    task = many(tiny_task)
    server, log = build(task)
    crowded = LabelSettings(capacity=1, epsilon=500.0, most_labels=30)
    assert discover_labels(server.federation, crowded, server.log) == sorted(task.label_names)
    assert len(log) > 1


@pytest.mark.parametrize(
    "values", [{"k_anonymity": 0}, {"epsilon": 0.0}, {"most_labels": 0}, {"capacity": 0}]
)
def test_impossible_settings_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        LabelSettings(**values)
