"""What a method's idea gains: each method beside itself without it, paired by seed.

``X-ablated`` is X without what sets it apart; ``gptfl+X`` stands against X, its start being its
idea; a method without an ablated cell stands against FedAvg.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from gptfl_reports.numbers.averaged import averaged
from gptfl_reports.numbers.board import Leaderboard
from gptfl_reports.numbers.spread import Spread, paired
from gptfl_reports.numbers.standings import Ranking, Standing, by_seed
from gptfl_reports.numbers.tasks import settings
from gptfl_reports.records.schema import ABLATED
from gptfl_reports.tables import units
from gptfl_reports.tables.table import Column, Entry, Table, csv_text, markdown

_WARM = "gptfl+"
_BASE = "fedavg"
Seeds = Mapping[object, float]


@dataclass(frozen=True)
class Gain:
    """A method against what it is without its idea, on the seeds that finished in both.

    Attributes:
        method: The method.
        without: What it is compared with.
        changed: Settings of ``without`` that differ, where both are the same method.
        value: Difference in the mean of the last evaluations; None if no seed has both.
        higher: Number of seeds in which the method's value is higher.
        rounds: Difference in rounds to target over seeds that reached it in both; None if none.
        sooner: Number of seeds in which the method reached the target in fewer rounds; a seed that
            never reached it counts as later than all.
    """

    method: str
    without: str
    changed: str
    value: Spread | None
    higher: int
    rounds: Spread | None
    sooner: int

    @property
    def n(self) -> int:
        """Number of seeds that finished in both."""
        return self.value.n if self.value else 0


def gains(ranking: Ranking) -> tuple[Gain, ...]:
    """Return the gain of every method of a task that has something to be compared with."""
    known: dict[str, list[Standing]] = {}
    for standing in sorted(ranking.standings, key=lambda s: s.entrant.label):
        if standing.entrant.reference:
            continue
        known.setdefault(standing.entrant.method, []).append(standing)
    found = []
    for name, standings in known.items():
        without = known.get(_without(name, known), [])
        for standing in [] if name.endswith(ABLATED) else standings:
            alike = [other for other in without if _comparable(standing, other)]
            # Of several it is not clear which; of a method's settings, what sets them apart may be
            # more than its idea.
            clear = len(alike) == 1 and (len(standings) == 1 or alike[0].entrant.ablated)
            if clear and alike[0] is not standing:
                found.append(_gain(standing, alike[0]))
    return tuple(found)


def ablation_tables(board: Leaderboard) -> tuple[Table, ...]:
    """Return for each task a table of gains; without rows where nothing can be compared."""
    return tuple(_table(ranking) for ranking in board.rankings)


def ablations_markdown(board: Leaderboard) -> str:
    """Return the tables as one Markdown page."""
    tables = [markdown(table) for table in ablation_tables(board) if table.rows]
    return "\n".join(["# What each method's idea gains\n", *tables])


def ablations_csv(board: Leaderboard) -> str:
    """Return one line a gain; differences of values are fractions, those of rounds are rounds."""
    columns = (
        "task,method,without,changed,n,value_mean,value_sd,higher,rounds_n,rounds_mean,rounds_sd,"
        "sooner"
    )
    lines = [
        (
            ranking.task.title,
            gain.method,
            gain.without,
            gain.changed,
            gain.n,
            *_numbers(gain.value),
            gain.higher,
            gain.rounds.n if gain.rounds else 0,
            *_numbers(gain.rounds),
            gain.sooner,
        )
        for ranking in board.rankings
        for gain in gains(ranking)
    ]
    return csv_text(columns.split(","), lines)


def verdict(count: int, n: int) -> str:
    """Return whether something held: in every seed, in none, or in some."""
    if n == 0:
        return units.NONE
    if n == 1:
        return f"{'yes' if count else 'no'} (one seed)"
    return "yes" if count == n else "no" if count == 0 else f"in {count} of {n} seeds"


def _comparable(ours: Standing, theirs: Standing) -> bool:
    """Return whether an ablated method is ours in all but the method, such as in public data."""
    if not theirs.entrant.ablated:
        return True
    whole, left = (
        {key: value for key, value in settings(s.entrant.cells[0].record).items() if _common(key)}
        for s in (ours, theirs)
    )
    return whole == left


def _common(key: str) -> bool:
    return key != "source" and not key.startswith("method.")


def _without(name: str, known: Mapping[str, object]) -> str:
    if name + ABLATED in known:
        return name + ABLATED
    return name.removeprefix(_WARM) if name.startswith(_WARM) else _BASE


def _gain(ours: Standing, theirs: Standing) -> Gain:
    changed = ""
    if theirs.entrant.ablated:
        whole, left = (settings(s.entrant.cells[0].record) for s in (ours, theirs))
        changed = ", ".join(
            f"{key.removeprefix('method.')}={value.strip(chr(34))}"
            for key, value in left.items()
            if whole.get(key) != value
        )
    with_it, without = by_seed(ours.entrant), by_seed(theirs.entrant)
    reached, reached_without = (
        by_seed(s.entrant, lambda row: _rounds(row["rounds_to_target"])) for s in (ours, theirs)
    )
    both = [seed for seed in with_it if seed in without]
    finite = [{k: v for k, v in r.items() if v < math.inf} for r in (reached, reached_without)]
    return Gain(
        method=ours.entrant.label,
        without=theirs.entrant.label,
        changed=changed,
        value=paired(with_it, without),
        higher=sum(with_it[seed] > without[seed] for seed in both),
        rounds=paired(*finite),
        sooner=sum(reached[seed] < reached_without[seed] for seed in both),
    )


def _rounds(count: int | None) -> float:
    return math.inf if count is None else count


def _table(ranking: Ranking) -> Table:
    target = ranking.task.cells[0].record["target"]
    columns = (
        Column("method", "method", "left"),
        Column("without", "against", "left"),
        Column("value", f"mean of last {averaged(ranking.task.cells)}, difference"),
        Column("higher", "higher?", "left"),
        *([] if target is None else _target_columns(target)),
    )
    rows = []
    for gain in gains(ranking):
        rounds = units.NONE if gain.rounds is None else _signed(gain.rounds)
        entries = {
            "method": Entry(gain.method),
            "without": Entry(gain.without, gain.changed),
            "value": Entry(units.percent(gain.value, signed=True), f"n={gain.n}"),
            "higher": Entry(verdict(gain.higher, gain.n)),
            "rounds": Entry(rounds, f"n={gain.rounds.n}" if gain.rounds else ""),
            "sooner": Entry(verdict(gain.sooner, gain.n)),
        }
        rows.append(tuple(entries[column.key] for column in columns))
    notes = (
        "Each method against itself without what sets it apart (in brackets what was changed), "
        "gptfl+X against X, others against FedAvg; same partitions, cohorts and batches.",
        "An ablated method has the rates of the whole one; all others have their own.",
        "Differences are paired by seed, in percentage points and in rounds, mean ± sample "
        "standard deviation; rounds over seeds that reached the target in both.",
        "Yes: in every seed; no: in none. With few seeds that is no test of significance.",
    )
    return Table(ranking.task.title, columns, tuple(rows), notes, ranking.task.stamp)


def _target_columns(target: float) -> list[Column]:
    percent = f"{100 * target:g} %"
    return [
        Column("rounds", f"rounds to {percent}, difference"),
        Column("sooner", "sooner?", "left"),
    ]


def _signed(value: Spread) -> str:
    mean = f"{value.mean:+.1f}".replace("-", "\N{MINUS SIGN}")
    return f"{mean} ± {'n/a' if value.sd is None else f'{value.sd:.1f}'}"


def _numbers(value: Spread | None) -> tuple[str, str]:
    return ("", "") if value is None else (units.exact(value.mean), units.exact(value.sd))
