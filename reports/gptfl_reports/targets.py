"""Accuracy as a regression test: accepted ranges, made from records and compared with records.

A range is the mean over seeds, give or take twice the standard error of the difference of two such
means, 2 sd sqrt(2 / n): a fresh run of other seeds would be outside once in twenty times, one of
the same seeds only if something changed. What a method sends is compared exactly.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from gptfl_reports.numbers.spread import Spread
from gptfl_reports.numbers.tasks import budget, in_a_line
from gptfl_reports.records.cells import Cell, mean
from gptfl_reports.records.errors import UsageError
from gptfl_reports.records.files import write_atomically
from gptfl_reports.records.typed import build

SCHEMA = 1
LEAST_VALUE = 0.005
"""Half-width of a value's range at least, for machines that round otherwise."""
LEAST_COST = 0.05
"""The same for what was sent until the target, as a share of it."""
TRAFFIC = ("scalars_down", "scalars_up", "bytes_down", "bytes_up", "client_bytes_once")
_LARGEST_FILE = 2**24


@dataclass(frozen=True)
class Range:
    """Accepted values, both ends included."""

    low: float
    high: float


@dataclass(frozen=True)
class Target:
    """What is accepted of one method on one task.

    Attributes:
        task: Data set, partition, network, preset and budget in a line.
        method: The method's name.
        seeds: Seeds it was run with.
        status: What becomes of each, in the order of seeds.
        value: Mean over finished seeds of ``value_mean_last``, a fraction; null without one.
        scalars_to_target: Mean of that over the seeds that reached the target; null without one.
        reached: Number of seeds that reached the target.
        traffic: Mean over seeds of what was sent, compared exactly.
    """

    task: str
    method: str
    seeds: tuple[int, ...]
    status: tuple[str, ...]
    value: Range | None
    scalars_to_target: Range | None
    reached: int
    traffic: dict[str, float]


@dataclass(frozen=True)
class Targets:
    """A file of targets.

    Attributes:
        schema: Its form.
        commands: Which commands made the records behind it.
        versions: Packages they were made with.
        targets: One for each method on each task.
    """

    schema: int
    commands: tuple[str, ...]
    versions: dict[str, str]
    targets: tuple[Target, ...] = field(default=())


@dataclass(frozen=True)
class Finding:
    """One comparison.

    Attributes:
        task: As in the target.
        method: As in the target.
        quantity: What was compared.
        measured: What was found; None if nothing was.
        low: Smallest accepted value.
        high: Largest accepted value.
        reason: Why it is a miss; empty if it is none.
    """

    task: str
    method: str
    quantity: str
    measured: float | None
    low: float
    high: float
    reason: str = ""

    @property
    def margin(self) -> float | None:
        """Distance to the nearer end; negative outside the range."""
        if self.measured is None:
            return None
        return min(self.measured - self.low, self.high - self.measured)


def make(cells: Iterable[Cell]) -> Targets:
    """Return targets that the cells meet.

    Raises:
        UsageError: If a method has two settings on one task, or a cell has not ended.
    """
    groups = _groups(cells)
    everything = [cell.record for members in groups.values() for cell in members]
    return Targets(
        SCHEMA,
        tuple(sorted({record["command"] for record in everything})),
        {k: v for record in everything for k, v in sorted(record["versions"].items())},
        tuple(_target(task, method, members) for (task, method), members in groups.items()),
    )


def compare(cells: Iterable[Cell], targets: Targets) -> list[Finding]:
    """Return what comes of every target; cells without a target are left out.

    Raises:
        UsageError: If a method has two settings on one task, or a cell has not ended.
    """
    groups = _groups(cells)
    return [
        finding
        for target in targets.targets
        for finding in _compare(target, groups.get((target.task, target.method), []))
    ]


def untested(cells: Iterable[Cell], targets: Targets) -> list[str]:
    """Return methods with their task that no target speaks of."""
    known = {(target.task, target.method) for target in targets.targets}
    return [f"{method} on {task}" for task, method in _groups(cells) if (task, method) not in known]


def read(path: Path) -> Targets:
    """Return the targets in a YAML file.

    Raises:
        UsageError: If it can't be read or does not fit.
    """
    from omegaconf import OmegaConf

    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise UsageError(f"{str(path)!r} has more than {_LARGEST_FILE:,} bytes; split it.")
        # Not resolved: a target has no interpolations.
        values = OmegaConf.to_container(OmegaConf.create(path.read_text("utf-8")), resolve=False)
    except OSError as error:
        raise UsageError(
            f"{str(path)!r} can't be read ({error.strerror}); gptfl-bench check DIR --targets FILE "
            "--write makes one from a run."
        ) from error
    # Damaged YAML makes the parser raise nearly anything.
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else "it holds no fields"
        raise UsageError(f"{str(path)!r} is no YAML file of targets ({reason}).") from error
    schema = values.get("schema", SCHEMA) if isinstance(values, dict) else SCHEMA
    if isinstance(schema, int) and schema != SCHEMA:
        raise UsageError(
            f"{str(path)!r} has schema {schema}, this version reads {SCHEMA}; make it anew with "
            "--write."
        )
    return build(Targets, values, str(path))


def write(path: Path, targets: Targets) -> None:
    """Write targets as YAML, whole or not at all."""
    from omegaconf import OmegaConf

    text = OmegaConf.to_yaml(OmegaConf.create(json.loads(json.dumps(asdict(targets)))))
    head = f"# Made from records by: gptfl-bench check DIR --targets {path.name} --write\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (head + text).encode())


def by_task_and_method(cells: Iterable[Cell]) -> dict[tuple[str, str], list[Cell]]:
    """Return cells by task, in a line, and method, seeds ascending.

    Raises:
        UsageError: If a method has two settings on one task.
    """
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((_task(cell), cell.record["method"]), []).append(cell)
    for (task, method), members in groups.items():
        members.sort(key=lambda cell: cell.record["seed"])
        if len({cell.record["seed"] for cell in members}) < len(members):
            raise UsageError(
                f"{method} was run with two settings on {task}; compare them in folders of their "
                "own (run --out)."
            )
    return dict(sorted(groups.items()))


def _groups(cells: Iterable[Cell]) -> dict[tuple[str, str], list[Cell]]:
    groups = by_task_and_method(cells)
    for (task, method), members in groups.items():
        if any(cell.ending.status == "running" for cell in members):
            raise UsageError(f"{method} on {task} has not ended; run the same command again.")
    return groups


def _task(cell: Cell) -> str:
    record = cell.record
    secure = ["secure aggregation"] if record["secure_aggregation"] else []
    return in_a_line(record, f"preset {record['preset']['name']}", budget(record), *secure)


def _target(task: str, method: str, cells: Sequence[Cell]) -> Target:
    rows = [cell.row() for cell in cells]
    values = [r["value_mean_last"] for r in rows if r["status"] == "finished"]
    costs = [r["scalars_to_target"] for r in rows if r["status"] == "finished"]
    reached = [cost for cost in costs if cost is not None]
    return Target(
        task,
        method,
        tuple(row["seed"] for row in rows),
        tuple(row["status"] for row in rows),
        _range([value for value in values if value is not None], LEAST_VALUE),
        _range(reached, LEAST_COST * mean(reached)) if reached else None,
        len(reached),
        {name: mean([dict(row)[name] for row in rows]) for name in TRAFFIC},  # type: ignore[misc]
    )


def _range(values: Sequence[float], least: float) -> Range | None:
    if not values:
        return None
    found = Spread.of(values)
    half = max(2 * (found.sd or 0.0) * math.sqrt(2 / found.n), least)
    return Range(found.mean - half, found.mean + half)


def _compare(target: Target, cells: Sequence[Cell]) -> list[Finding]:
    there = {cell.record["seed"]: cell for cell in cells}
    missing = [seed for seed in target.seeds if seed not in there]
    number = len(target.seeds)
    if missing:
        reason = f"seeds {', '.join(map(str, missing))} are missing"
        found = number - len(missing)
        return [Finding(target.task, target.method, "seeds", found, number, number, reason)]
    now = _target(target.task, target.method, [there[seed] for seed in target.seeds])
    kept = sum(ours == theirs for ours, theirs in zip(now.status, target.status, strict=True))
    other = f"{', '.join(now.status)} instead of {', '.join(target.status)}"
    findings = [
        Finding(
            target.task,
            target.method,
            "status",
            kept,
            number,
            number,
            "" if kept == number else other,
        )
    ]
    for quantity, ours, wanted in (
        ("value", now.value, target.value),
        ("scalars_to_target", now.scalars_to_target, target.scalars_to_target),
    ):
        if wanted is not None:
            measured = (ours.low + ours.high) / 2 if ours else None
            findings.append(_finding(target, quantity, measured, wanted))
    # One seed may be on the edge.
    near = Range(max(target.reached - 1, 0), min(target.reached + 1, number))
    findings.append(_finding(target, "reached", now.reached, near))
    for name, value in target.traffic.items():
        findings.append(_finding(target, name, now.traffic.get(name), Range(value, value)))
    return findings


def _finding(target: Target, quantity: str, measured: float | None, wanted: Range) -> Finding:
    if measured is None:
        reason = "there is none"
    elif wanted.low <= measured <= wanted.high:
        reason = ""
    else:
        reason = "below" if measured < wanted.low else "above"
    return Finding(target.task, target.method, quantity, measured, wanted.low, wanted.high, reason)
