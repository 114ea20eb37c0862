"""Secure aggregation: what it costs, what it changes and what it hides, beside the same without.

A method with secure aggregation stands beside itself without, where a task has both, paired by
seed. Traffic is what one client sends or receives in one round after the first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gptfl_reports.numbers.board import Leaderboard
from gptfl_reports.numbers.spread import Spread, paired, spread
from gptfl_reports.numbers.standings import Ranking, Standing, by_seed
from gptfl_reports.numbers.tasks import sealing
from gptfl_reports.records.cells import Cell
from gptfl_reports.records.events import SecureSum
from gptfl_reports.tables import units
from gptfl_reports.tables.table import Column, Entry, Table, csv_text, markdown


@dataclass(frozen=True)
class Cost:
    """What secure aggregation costs one entrant; means are over the rounds that ended in a sum.

    Attributes:
        method: The method.
        protocol: The protocol with its settings.
        asked: Clients that began a round.
        stayed: Clients in the sum.
        lost: Rounds that were abandoned, of all cells.
        value: Difference in the mean of the last evaluations from the same method without.
        up: Bytes a client sends in a round.
        up_plain: The same without.
        down: Bytes a client receives in a round.
        down_plain: The same without.
        seconds: Seconds of the protocol in a round, all clients together.
        error: Largest error of a coordinate of a mean, in any round.
        bound: Largest error that rounding can make.
        clipped: Coordinates that were cut off, of all rounds and cells.
    """

    method: str
    protocol: str
    asked: float
    stayed: float
    lost: int
    value: Spread | None
    up: float
    up_plain: float | None
    down: float
    down_plain: float | None
    seconds: float
    error: float
    bound: float
    clipped: int


def costs(ranking: Ranking) -> tuple[Cost, ...]:
    """Return what secure aggregation costs each entrant of a task that has it."""
    plain = {
        s.entrant.method: s
        for s in ranking.standings
        if not any(cell.record["secure_aggregation"] for cell in s.entrant.cells)
    }
    found = [_cost(s, plain.get(s.entrant.method)) for s in ranking.standings]
    return tuple(cost for cost in found if cost is not None)


def secrecy_tables(board: Leaderboard) -> tuple[Table, ...]:
    """Return a table for each task; without rows where nothing ran under secure aggregation."""
    return tuple(_table(ranking) for ranking in board.rankings)


def secrecy_markdown(board: Leaderboard) -> str:
    """Return the tables as one Markdown page; empty without any."""
    tables = [markdown(table) for table in secrecy_tables(board) if table.rows]
    return "\n".join(["# Secure aggregation\n", *tables]) if tables else ""


def secrecy_csv(board: Leaderboard) -> str:
    """Return one line an entrant with exact numbers; empty without any."""
    columns = (
        "task,method,protocol,asked,stayed,lost,value_mean,value_sd,up,up_plain,down,down_plain,"
        "seconds,error,bound,clipped"
    )
    lines = [
        (
            ranking.task.title,
            cost.method,
            cost.protocol,
            *map(units.exact_count, (cost.asked, cost.stayed, cost.lost)),
            units.exact(cost.value.mean if cost.value else None),
            units.exact(cost.value.sd if cost.value else None),
            *map(units.exact_count, (cost.up, cost.up_plain, cost.down, cost.down_plain)),
            *map(units.exact, (cost.seconds, cost.error, cost.bound)),
            cost.clipped,
        )
        for ranking in board.rankings
        for cost in costs(ranking)
    ]
    return csv_text(columns.split(","), lines) if lines else ""


def _cost(sealed: Standing, plain: Standing | None) -> Cost | None:
    cells = sealed.entrant.cells
    events = [event for cell in cells for event in _sums(cell)]
    lost = sum(cell.row()["rounds_lost"] for cell in cells)
    if not events and not lost:
        return None
    value = paired(by_seed(sealed.entrant), by_seed(plain.entrant)) if plain else None
    return Cost(
        sealed.entrant.method,
        sealing(cells[0].record),
        _mean([event.asked for event in events]),
        _mean([event.stayed for event in events]),
        lost,
        value,
        *_traffic(cells, "up", plain),
        *_traffic(cells, "down", plain),
        _mean([event.seconds for event in events]),
        max((event.error for event in events), default=0.0),
        max((event.bound for event in events), default=0.0),
        sum(event.clipped for event in events),
    )


def _sums(cell: Cell) -> list[SecureSum]:
    """Return the sums of federated rounds; label discovery is another matter."""
    return [event for event in cell.events if isinstance(event, SecureSum) and event.round > 0]


def _traffic(
    cells: Sequence[Cell], direction: str, plain: Standing | None
) -> tuple[float, float | None]:
    return (
        _mean([_each(cell, direction) for cell in cells if cell.traffic]),
        _mean([_each(cell, direction) for cell in plain.entrant.finished])
        if plain and plain.entrant.finished
        else None,
    )


def _each(cell: Cell, direction: str) -> float:
    """Return the mean bytes of a client in a round, from round 1 on."""
    sent = [t for t in cell.traffic if t.direction == direction and t.round > 0]
    rounds = len({t.round for t in sent})
    return sum(t.nbytes for t in sent) / max(rounds * cell.record["cohort_size"], 1)


def _mean(values: Sequence[float]) -> float:
    mean = spread(values)
    return mean.mean if mean else 0.0


def _table(ranking: Ranking) -> Table:
    columns = (
        Column("method", "method", "left"),
        Column("clients", "clients in the sum"),
        Column("lost", "rounds abandoned"),
        Column("value", f"{ranking.task.metric}, difference"),
        Column("up", "up, a client and round"),
        Column("down", "down, a client and round"),
        Column("seconds", "protocol, a round"),
        Column("error", "largest error of a mean"),
        Column("clipped", "clipped"),
        Column("saw", "the server saw", "wide"),
    )
    notes = (
        "Secure aggregation is simulated in one process, with real keys, shares and masks; server "
        "and clients are taken to follow the protocol and to look at what they receive.",
        "Difference: percentage points from the same method without it, paired by seed, in the "
        "mean of the last evaluations.",
        "Up and down: tensor bytes with all messages of the protocol, without it in brackets.",
        "Largest error: of a coordinate of a mean, in any round, clipping included; in brackets "
        "what rounding can make at most. Clipped: coordinates cut off, of all rounds and seeds.",
    )
    rows = tuple(_entries(cost) for cost in costs(ranking))
    return Table(ranking.task.title, columns, rows, notes, ranking.task.stamp)


def _entries(cost: Cost) -> tuple[Entry, ...]:
    return (
        Entry(cost.method, cost.protocol),
        Entry(f"{cost.stayed:.3g} of {cost.asked:.3g}" if cost.asked else "never a sum"),
        Entry(f"{cost.lost:,}"),
        Entry(units.percent(cost.value, signed=True), f"n={cost.value.n}" if cost.value else ""),
        _bytes(cost.up, cost.up_plain),
        _bytes(cost.down, cost.down_plain),
        Entry(units.duration(cost.seconds)),
        Entry(f"{cost.error:.2g}", f"{cost.bound:.2g}"),
        Entry(f"{cost.clipped:,}"),
        Entry("masked vectors and their sum"),
    )


def _bytes(sealed: float, plain: float | None) -> Entry:
    return Entry(units.scaled(sealed, "B"), "" if plain is None else units.scaled(plain, "B"))
