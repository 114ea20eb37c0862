"""Entrants measured and ranked: every number a leaderboard shows, as numbers.

Values are fractions in [0, 1]. Means are over the finished cells of an entrant; a cell that
diverged, was refused, failed or still runs keeps its place and its sentence and enters no mean.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gptfl_reports.numbers.by_hand import by_hand
from gptfl_reports.numbers.spread import Spread, paired, spread
from gptfl_reports.numbers.tasks import Entrant, TaskGroup
from gptfl_reports.records.schema import Row


@dataclass(frozen=True)
class Standing:
    """One entrant's row; every mean is over its ``n`` finished cells.

    Attributes:
        entrant: Who it is, with its cells and what became of them.
        n: Number of finished cells.
        last: Value at the last evaluation.
        best: Highest value of any round on the evaluation data, so an optimistic one.
        mean_last: Mean of the last evaluations (at most ten).
        start: Value at round 0, before any federated round.
        last_accuracy: Accuracy at the last evaluation, whatever the metric.
        scalars_down: Scalars from the server to clients, whole cohort, per cell.
        scalars_up: Scalars from clients to the server.
        bytes_down: Tensor bytes from the server to clients.
        bytes_up: Tensor bytes from clients to the server.
        client_bytes_once: Bytes handed to clients a single time.
        rounds_to_target: First round at or above the target, over cells that reached it.
        scalars_to_target: Scalars of both directions until then.
        bytes_to_target: Bytes of both directions until then.
        seconds: Seconds of work per cell.
        server_saw_clients: Whether the server read single replies in any finished cell; None if
            none finished.
        versus: Difference of ``mean_last`` from the baseline, paired by seed and partition; None
            for the baseline, or where no seed has both.
        mark: ``best``, ``tied`` with it, or nothing.
        second: Whether it is the next below the best.
    """

    entrant: Entrant
    n: int
    last: Spread | None
    best: Spread | None
    mean_last: Spread | None
    start: Spread | None
    last_accuracy: Spread | None
    scalars_down: Spread | None
    scalars_up: Spread | None
    bytes_down: Spread | None
    bytes_up: Spread | None
    client_bytes_once: Spread | None
    rounds_to_target: Spread | None
    scalars_to_target: Spread | None
    bytes_to_target: Spread | None
    seconds: Spread | None
    server_saw_clients: bool | None
    rounds_lost: int
    versus: Spread | None
    mark: str = ""
    second: bool = False


@dataclass(frozen=True)
class Ranking:
    """The ranked rows of one task.

    Attributes:
        task: What was measured.
        standings: Rows, highest mean of the last evaluations first, rows without values next,
            references last.
        baseline: Label of the entrant the others are compared with; empty if there is none.
    """

    task: TaskGroup
    standings: tuple[Standing, ...]
    baseline: str


def rank(task: TaskGroup, baseline: str) -> Ranking:
    """Return a task's entrants in order.

    Args:
        task: What was measured.
        baseline: The method the others are compared with, if the task has it exactly once, or
            once as its preset has it.
    """
    bases = [entrant for entrant in task.entrants if entrant.method == baseline]
    if len(bases) > 1:
        bases = [one for one in bases if not all(by_hand(cell.record) for cell in one.cells)]
    base = bases[0] if len(bases) == 1 else None
    standings = [_standing(entrant, base) for entrant in task.entrants]
    standings.sort(key=_place)
    return Ranking(task, _marked(standings), base.label if base else "")


def _place(standing: Standing) -> tuple[bool, float, str]:
    value = -standing.mean_last.mean if standing.mean_last else 1.0
    return standing.entrant.reference, value, standing.entrant.label


def federated(ranking: Ranking) -> list[Standing]:
    """Return a task's rows without references, which send nothing, and ablated methods."""
    return [s for s in whole(ranking) if not s.entrant.reference]


def whole(ranking: Ranking) -> list[Standing]:
    """Return a task's rows without ablated methods, which are not drawn beside whole ones."""
    found = [s for s in ranking.standings if not s.entrant.ablated]
    return found or list(ranking.standings)


def _standing(entrant: Entrant, base: Entrant | None) -> Standing:
    cells = entrant.finished
    rows = [cell.row() for cell in cells]

    def over(pick: Callable[[Row], float | None]) -> Spread | None:
        return spread([value for row in rows if (value := pick(row)) is not None])

    starts = [cell.value(e) for cell in cells for e in cell.evaluations if e.round == 0]
    versus = None
    if base is not None and base is not entrant:
        versus = paired(by_seed(entrant), by_seed(base))
    return Standing(
        entrant=entrant,
        n=len(cells),
        last=over(lambda row: row["value_last"]),
        best=over(lambda row: row["value_best"]),
        mean_last=over(lambda row: row["value_mean_last"]),
        start=spread(starts),
        last_accuracy=spread([c.evaluations[-1].accuracy for c in cells if c.evaluations]),
        scalars_down=over(lambda row: row["scalars_down"]),
        scalars_up=over(lambda row: row["scalars_up"]),
        bytes_down=over(lambda row: row["bytes_down"]),
        bytes_up=over(lambda row: row["bytes_up"]),
        client_bytes_once=over(lambda row: row["client_bytes_once"]),
        rounds_to_target=over(lambda row: row["rounds_to_target"]),
        scalars_to_target=over(lambda row: row["scalars_to_target"]),
        bytes_to_target=over(lambda row: row["bytes_to_target"]),
        seconds=over(lambda row: row["seconds"]),
        server_saw_clients=any(row["server_saw_clients"] for row in rows) if rows else None,
        rounds_lost=sum(cell.row()["rounds_lost"] for cell in entrant.cells),
        versus=versus,
    )


def by_seed(
    entrant: Entrant, pick: Callable[[Row], float | None] = lambda row: row["value_mean_last"]
) -> dict[object, float]:
    """Return what is picked of the finished cells by what pairs them: the seed, and the partition.

    Args:
        entrant: Whose cells.
        pick: What of a cell; one that gives None is left out.
    """
    values: dict[object, float] = {}
    for cell in entrant.finished:
        value = pick(cell.row())
        if value is not None:
            values[cell.record["seed"], cell.record["partition"]["sha256"]] = value
    return values


def _marked(standings: Sequence[Standing]) -> tuple[Standing, ...]:
    """Mark the best rows and those within its spread, among rows whose every cell finished."""
    complete = [
        s
        for s in standings
        if s.mean_last and s.n == len(s.entrant.cells) and not s.entrant.reference
    ]
    if not complete or complete[0].mean_last is None:
        return tuple(standings)
    best = complete[0]
    floor = complete[0].mean_last.mean - (complete[0].mean_last.sd or 0.0)
    tied = [s for s in complete[1:] if s.mean_last and s.mean_last.mean >= floor]
    second = complete[1] if len(complete) > 1 else None
    return tuple(
        replace(
            s,
            mark="best" if s is best else "tied" if s in tied else "",
            second=s is second,
        )
        for s in standings
    )
