"""What a run folder holds, read back without torch: records, events and result rows.

A cell is a folder ``<run folder>/<run id>/`` with ``record.json`` (what determined the result),
``events.jsonl`` (what happened) and ``state/`` (the checkpoint). Reports use this module alone.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NotRequired, TypedDict

from gptfl_bench.errors import UsageError
from gptfl_bench.events import (
    CellEnded,
    Event,
    PhaseFinished,
    Pretrained,
    RoundAggregated,
    RoundEvaluated,
    RoundLost,
    Status,
    SyntheticReady,
    TrafficCounted,
    read_events,
)

SCHEMA = 1
ABLATED = "-ablated"
"""Ends the name of a method without what sets it apart: ``moon-ablated`` is MOON with mu = 0."""
QUALITY_PHASE = "quality"
"""Name of the phase in which synthetic data are looked at, for readers alone."""
LAST_EVALUATIONS = 10
"""How many of the last evaluations ``value_mean_last`` averages."""


class Row(TypedDict):
    """A cell in one line: the keys of ``results --format json`` and the columns of its CSV.

    Values are fractions in [0, 1]; counts cover the whole cohort; ``*_to_target`` are null when
    the target was never reached, and sum both directions from round 0 on.
    """

    run_id: str
    method: str
    dataset: str
    partition: str
    model: str
    seed: int
    status: Status
    reason: str
    rounds: int
    num_clients: int
    cohort_size: int
    metric: str
    value_last: float | None
    value_best: float | None
    value_mean_last: float | None
    scalars_down: int
    scalars_up: int
    bytes_down: int
    bytes_up: int
    client_bytes_once: int
    target: float | None
    rounds_to_target: int | None
    scalars_to_target: int | None
    bytes_to_target: int | None
    seconds: float
    server_saw_clients: bool
    secure_aggregation: bool


class DatasetRecord(TypedDict):
    """What was learned from; ``read`` says from which files, where it is no package's own.

    Older records don't say whether samples are ``image``, ``speech`` or ``sound``.
    """

    name: str
    version: str
    note: str
    train: int
    test: int
    evaluated_on: str
    sha256: str
    read: NotRequired[str]
    modality: NotRequired[str]


class PartitionRecord(TypedDict):
    """How the clients share it; ``file`` is relative to the run folder."""

    recipe: str
    settings: dict[str, str | int | float | None]
    sha256: str
    sizes: list[int]
    file: str


class ModelRecord(TypedDict):
    """The task's network in scalars, and the one a method made of it; older records lack that."""

    name: str
    parameters: int
    buffers: int
    method_parameters: NotRequired[int]


class PresetRecord(TypedDict):
    """Where the settings come from; ``search`` says which search made the rates."""

    name: str
    quick: bool
    search: str


class RunRecord(TypedDict):
    """``record.json``: everything that determined a cell's result, and where it was made.

    ``profile`` is what the method needs and makes in the words of the paper's Table 1, by column;
    older records have none.
    """

    schema: int
    run_id: str
    method: str
    seed: int
    dataset: DatasetRecord
    partition: PartitionRecord
    model: ModelRecord
    preset: PresetRecord
    rounds: int
    num_clients: int
    cohort_size: int
    metric: str
    target: float | None
    secure_aggregation: bool
    config: dict[str, object]
    profile: NotRequired[dict[str, str]]
    method_source: str
    method_sha256: str
    versions: dict[str, str]
    commit: str
    device: str
    machine: str
    command: str


@dataclass(frozen=True)
class Cell:
    """One method on one task with one seed, as read from its folder."""

    folder: Path
    record: RunRecord
    events: tuple[Event, ...]

    @property
    def ending(self) -> CellEnded:
        """How the cell ended; running if it has not."""
        endings = (event for event in reversed(self.events) if isinstance(event, CellEnded))
        return next(endings, CellEnded("running"))

    @property
    def evaluations(self) -> list[RoundEvaluated]:
        """All evaluations in order of rounds."""
        return [event for event in self.events if isinstance(event, RoundEvaluated)]

    @property
    def traffic(self) -> list[TrafficCounted]:
        """All traffic in order of rounds."""
        return [event for event in self.events if isinstance(event, TrafficCounted)]

    def value(self, evaluation: RoundEvaluated) -> float:
        """Return the value of the cell's metric in an evaluation."""
        return evaluation.macro_f1 if self.record["metric"] == "macro_f1" else evaluation.accuracy

    def row(self) -> Row:
        """Return the cell in one line."""
        return self._row.copy()

    @cached_property
    def _row(self) -> Row:
        record, ending = self.record, self.ending
        values = [self.value(event) for event in self.evaluations]
        ended = [e for e in self.events if isinstance(e, RoundAggregated | RoundLost)]
        aggregated = [event for event in ended if isinstance(event, RoundAggregated)]
        target = record["target"]
        reached = next(
            (e.round for e in self.evaluations if target is not None and self.value(e) >= target),
            None,
        )
        spent = [t for t in self.traffic if reached is not None and t.round <= reached]
        spent = [t for t in spent if t.direction != "once"]

        def total(direction: str, unit: str) -> int:
            return sum(getattr(t, unit) for t in self.traffic if t.direction == direction)

        return Row(
            run_id=record["run_id"],
            method=record["method"],
            dataset=record["dataset"]["name"],
            partition=describe_partition(record["partition"]),
            model=record["model"]["name"],
            seed=record["seed"],
            status=ending.status,
            reason=ending.reason,
            rounds=ended[-1].round if ended else 0,
            num_clients=record["num_clients"],
            cohort_size=record["cohort_size"],
            metric=record["metric"],
            value_last=values[-1] if values else None,
            value_best=max(values) if values else None,
            value_mean_last=mean(values[-LAST_EVALUATIONS:]) if values else None,
            scalars_down=total("down", "scalars"),
            scalars_up=total("up", "scalars"),
            bytes_down=total("down", "nbytes"),
            bytes_up=total("up", "nbytes"),
            client_bytes_once=total("once", "nbytes"),
            target=target,
            rounds_to_target=reached,
            scalars_to_target=None if reached is None else sum(t.scalars for t in spent),
            bytes_to_target=None if reached is None else sum(t.nbytes for t in spent),
            seconds=self.seconds,
            server_saw_clients=any(event.server_saw_clients for event in aggregated),
            secure_aggregation=record["secure_aggregation"],
        )

    @property
    def seconds(self) -> float:
        """Seconds of work in the cell, without pauses and without looking at synthetic data."""
        timed = (PhaseFinished, RoundAggregated, RoundLost, RoundEvaluated)
        return sum(
            event.seconds
            for event in self.events
            if isinstance(event, timed)
            and not (isinstance(event, PhaseFinished) and event.phase == QUALITY_PHASE)
        )

    @property
    def synthetic(self) -> SyntheticReady | None:
        """The synthetic data set the cell used, if any."""
        return next((e for e in self.events if isinstance(e, SyntheticReady)), None)

    @property
    def pretrained(self) -> Pretrained | None:
        """The pre-training the cell started from, if any."""
        return next((e for e in self.events if isinstance(e, Pretrained)), None)


def mean(values: Sequence[float]) -> float:
    """Return the arithmetic mean of at least one value."""
    return math.fsum(values) / len(values)


def describe_partition(partition: PartitionRecord) -> str:
    """Return recipe, settings without the seed, and the fingerprint's first digits, in a line."""
    settings = {k: v for k, v in partition["settings"].items() if v is not None and k != "seed"}
    inside = ", ".join(f"{key}={value}" for key, value in sorted(settings.items()))
    return f"{partition['recipe']}({inside}) {partition['sha256'][:12]}"


def write_record(folder: Path, record: RunRecord) -> None:
    """Write ``record.json`` in a cell's folder, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / "record.json.part"
    part.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    part.replace(folder / "record.json")


def read_cell(folder: Path) -> Cell:
    """Return the cell in ``folder``.

    Raises:
        UsageError: If its files are damaged or of a newer schema.
    """
    path = folder / "record.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        events = tuple(read_events(folder / "events.jsonl"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"the cell {folder} can't be read ({error}); remove the folder or run it again "
            "with --force."
        ) from error
    missing = RunRecord.__required_keys__ - set(record) if isinstance(record, dict) else {"schema"}
    if missing:
        raise UsageError(
            f"{path} lacks {', '.join(sorted(missing))}; remove the folder {folder} or run it "
            "again with --force."
        )
    if not isinstance(record["schema"], int) or record["schema"] > SCHEMA:
        raise UsageError(
            f"{path} has schema {record['schema']!r}, this version reads up to {SCHEMA}; "
            "update gptfl-bench."
        )
    return Cell(folder, record, events)


def read_cells(run_folder: Path) -> list[Cell]:
    """Return all cells of a run folder, by data set, method and seed.

    Raises:
        UsageError: If the folder does not exist or holds no cell.
    """
    if not run_folder.is_dir():
        raise UsageError(f"no folder {str(run_folder)!r}; give the --out folder of a run.")
    cells = [read_cell(path.parent) for path in sorted(run_folder.glob("*/record.json"))]
    if not cells:
        raise UsageError(
            f"the folder {str(run_folder)!r} holds no cells; give the --out folder of a run."
        )
    return sorted(
        cells,
        key=lambda c: (
            c.record["dataset"]["name"],
            c.record["method"],
            c.record["seed"],
            c.record["run_id"],
        ),
    )
