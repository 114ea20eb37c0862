"""What all tools are given of a cell: its series by round, its settings, and what it repeats."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from gptfl_reports.numbers.tasks import setting_key, settings
from gptfl_reports.records.cells import Cell
from gptfl_reports.records.events import (
    PretrainEpoch,
    RoundAggregated,
    RoundEvaluated,
    RoundLost,
    TrafficCounted,
)

PROJECT = "gptfl-bench"
"""The experiment or project of a tool that cells are shown in."""
_LONGEST_PARAMETER = 500


def series(cell: Cell) -> Iterator[tuple[str, float, int]]:
    """Yield name, value and round (for pre-training: epoch) of all that changes in a cell."""
    for event in cell.events:
        if isinstance(event, RoundEvaluated):
            yield "test/accuracy", event.accuracy, event.round
            yield "test/macro_f1", event.macro_f1, event.round
            yield "test/loss", event.loss, event.round
        elif isinstance(event, RoundAggregated):
            yield "train/loss", event.train_loss, event.round
            yield "train/samples", event.examples, event.round
            yield "seconds/round", event.seconds, event.round
            if event.gradient_diversity is not None:
                yield "train/gradient_diversity", event.gradient_diversity, event.round
        elif isinstance(event, PretrainEpoch) and not event.architecture:
            yield "pretraining/loss", event.loss, event.epoch
            yield "pretraining/synthetic_accuracy", event.validation_accuracy, event.epoch
            yield "pretraining/real_accuracy", event.test_accuracy, event.epoch
    sent: dict[tuple[str, int], int] = {}
    for event in cell.events:
        if isinstance(event, TrafficCounted):
            key = (event.direction, event.round)
            sent[key] = sent.get(key, 0) + event.nbytes
    for direction in ("down", "up", "once"):
        total = 0
        for (way, round), nbytes in sorted(sent.items(), key=lambda item: item[0][1]):
            if way == direction:
                total += nbytes
                yield f"traffic/bytes_{direction}", total, round


@dataclass
class Shown:
    """What a tool has of a cell already, so that it is given each point once."""

    points: set[tuple[str, int]] = field(default_factory=set)

    def news(self, cell: Cell) -> list[tuple[str, float, int]]:
        """Return the points that are new since the last call.

        The sums of a round that is under way are not shown yet, for they still grow.
        """
        ended = cell.ending.status != "running"
        rounds = [e.round for e in cell.events if isinstance(e, RoundAggregated | RoundLost)]
        last = max(rounds, default=-1)
        found = []
        for name, value, step in series(cell):
            growing = name.startswith("traffic/") and step > last and not ended
            if not growing and (name, step) not in self.points:
                self.points.add((name, step))
                found.append((name, value, step))
        return found


def parameters(settings: object, prefix: str = "") -> dict[str, str]:
    """Return a record's resolved settings as dotted names to texts."""
    if not isinstance(settings, dict):
        return {prefix: str(settings)[:_LONGEST_PARAMETER]}
    found: dict[str, str] = {}
    for key, value in settings.items():
        found |= parameters(value, f"{prefix}.{key}" if prefix else str(key))
    return found


def facts(cell: Cell) -> dict[str, str]:
    """Return all that a cell was run with, by name: the tools' parameters."""
    record = cell.record
    own = {key: str(record[key]) for key in ("method", "seed", "rounds", "cohort_size")}
    data = {"dataset": record["dataset"]["name"], "partition": cell.row()["partition"]}
    return {**own, **data, "model": record["model"]["name"], **parameters(record["config"])}


def labels(cell: Cell) -> dict[str, str]:
    """Return what cells are looked up by: the tools' tags."""
    record = cell.record
    return {
        "method": record["method"],
        "dataset": record["dataset"]["name"],
        "preset": record["preset"]["name"],
        "status": cell.ending.status,
    }


def repeated(cell: Cell) -> str:
    """Return what is equal for cells that differ by their seed alone, as a short digest."""
    key = [cell.record["method"], setting_key(cell.record), settings(cell.record)]
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]
