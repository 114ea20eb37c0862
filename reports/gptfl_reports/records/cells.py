"""What a run folder holds, read back without torch: records, events and result rows.

A cell is a folder ``<run folder>/<run id>/`` with ``record.json`` (what determined the result),
``events.jsonl`` (what happened) and ``state/`` (the checkpoint). Reports use this module alone.
"""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from gptfl_reports.records import checksums
from gptfl_reports.records.errors import DamageError, UsageError
from gptfl_reports.records.events import (
    CellEnded,
    Event,
    PhaseFinished,
    Pretrained,
    RoundAggregated,
    RoundEvaluated,
    RoundLost,
    SyntheticReady,
    TrafficCounted,
    read_events,
)
from gptfl_reports.records.schema import (
    LAST_EVALUATIONS,
    QUALITY_PHASE,
    SCHEMA,
    Row,
    RunRecord,
    describe,
)

RECORD, EVENTS = "record.json", "events.jsonl"
"""Files of a cell's folder."""


@dataclass(frozen=True)
class Cell:
    """One method on one task with one seed, as read from its folder."""

    folder: Path
    record: RunRecord
    events: tuple[Event, ...]

    def __repr__(self) -> str:
        """Return id, status and last value in a line."""
        words = [self.record["run_id"], self.ending.status]
        if self.evaluations:
            last = self.evaluations[-1]
            rounds = f"{last.round} round{'' if last.round == 1 else 's'}"
            words.append(f"{self.record['metric']} {self.value(last):.3f} after {rounds}")
        return f"Cell({', '.join(words)})"

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

    @cached_property
    def trained_values(self) -> list[float]:
        """The metric at each evaluation of a trained round; round 0 is none."""
        return [self.value(event) for event in self.evaluations if event.round > 0]

    def row(self) -> Row:
        """Return the cell in one line."""
        return self._row.copy()

    @cached_property
    def _row(self) -> Row:
        record, ending = self.record, self.ending
        values = [self.value(event) for event in self.evaluations]
        trained = self.trained_values
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
            partition=describe(
                record["partition"]["recipe"],
                record["partition"]["settings"],
                fingerprint=record["partition"]["sha256"],
            ),
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
            value_mean_last=mean(trained[-LAST_EVALUATIONS:]) if trained else None,
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
            rounds_lost=len(ended) - len(aggregated),
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


def write_record(folder: Path, record: RunRecord) -> None:
    """Write ``record.json`` in a cell's folder, whole or not at all."""
    text = json.dumps(record, indent=1, sort_keys=True) + "\n"
    checksums.write(folder / RECORD, text.encode(), synced=True)


def read_cell(folder: Path) -> Cell:
    """Return the cell in ``folder``.

    Raises:
        DamageError: If its files are damaged.
        UsageError: If they are of a newer schema.
    """
    path = folder / RECORD
    try:
        record = json.loads(checksums.read(path))
        events = tuple(read_events(folder / EVENTS))
    except (OSError, ValueError, RecursionError) as error:
        raise DamageError(
            f"the cell {folder} can't be read ({error}); remove the folder or run it again "
            f"with --force {folder.name}."
        ) from error
    missing = RunRecord.__required_keys__ - set(record) if isinstance(record, dict) else {"schema"}
    if missing:
        raise DamageError(
            f"{path} lacks {', '.join(sorted(missing))}; remove the folder {folder} or run it "
            f"again with --force {folder.name}."
        )
    if not isinstance(record["schema"], int) or record["schema"] > SCHEMA:
        raise UsageError(
            f"{path} has schema {record['schema']!r}, this version reads up to {SCHEMA}; "
            "update gptfl-bench."
        )
    return Cell(folder, record, events)


def read_cells(run_folder: Path, damaged: Callable[[UsageError], None] | None = None) -> list[Cell]:
    """Return all cells of a run folder, by data set, method and seed.

    Args:
        run_folder: The folder.
        damaged: Is told of each cell that can't be read, and the others are returned; if left out,
            the first such cell is an error.

    Raises:
        UsageError: If the folder does not exist or holds no cell.
    """
    if not run_folder.is_dir():
        raise UsageError(f"no folder {str(run_folder)!r}; give the --out folder of a run.")
    folders = [path.parent for path in sorted(run_folder.glob("*/record.json"))]
    cells, told = [], 0
    for folder in folders:
        try:
            cells.append(read_cell(folder))
        except UsageError as error:
            if not (folder / RECORD).exists():
                # A run begins it anew at this moment.
                continue
            if damaged is None:
                raise
            damaged(error)
            told += 1
    if not cells and not told:
        raise UsageError(
            f"the folder {str(run_folder)!r} holds no cells; give the --out folder of a run."
        )
    return in_order(cells)


def in_order(cells: Iterable[Cell]) -> list[Cell]:
    """Return cells by data set, method and seed."""
    return sorted(
        cells,
        key=lambda c: (
            c.record["dataset"]["name"],
            c.record["method"],
            c.record["seed"],
            c.record["run_id"],
        ),
    )
