"""The leaderboard as a first look needs it: a few columns, numbers as small bars."""

from dataclasses import dataclass

from gptfl_reports.numbers.standings import Ranking, Standing
from gptfl_reports.tables import units
from gptfl_reports.tables.comparison import Difference, differences


@dataclass(frozen=True)
class Interval:
    """A difference from the baseline, drawn: places in percent of the column's width.

    Attributes:
        text: The difference in points.
        detail: Its interval and n.
        zero: Where no difference lies.
        low: Where the interval begins.
        width: How wide it is.
        middle: Where the difference lies.
    """

    text: str
    detail: str
    zero: float
    low: float
    width: float
    middle: float


@dataclass(frozen=True)
class Bar:
    """A number with a bar of ``width`` percent."""

    text: str
    width: float


@dataclass(frozen=True)
class Line:
    """One entrant.

    Attributes:
        label: Its name.
        value: Ranked value in percent, with its spread.
        mark: ``best``, ``tied``, or nothing.
        reference: Whether it is not federated.
        interval: Its difference from the baseline; None for the baseline, or where none is known.
        rounds: Rounds to the target; None where it was not reached.
        sent: Bytes to the target; None where it was not reached.
        status: What became of its cells, if not all finished.
    """

    label: str
    value: str
    mark: str
    reference: bool
    interval: Interval | None
    rounds: Bar | None
    sent: Bar | None
    status: str


@dataclass(frozen=True)
class ShortBoard:
    """The lines of a task in the leaderboard's order.

    Attributes:
        lines: The lines.
        metric: What the value is.
        baseline: What is compared with; empty if there is none.
        target: The target in words; empty if there is none.
    """

    lines: tuple[Line, ...]
    metric: str
    baseline: str
    target: str


def short_board(ranking: Ranking) -> ShortBoard:
    """Return the short leaderboard of a task, ablated methods left out."""
    standings = [s for s in ranking.standings if not s.entrant.ablated]
    apart = {one.method: one for one in differences(ranking)}
    ends = [end for one in apart.values() for end in (one.by_t or (one.mean,)) if end is not None]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    room = 0.04 * (high - low) or 0.01
    most = [
        max([pick.mean for s in standings if (pick := getattr(s, name))], default=0.0)
        for name in ("rounds_to_target", "bytes_to_target")
    ]
    target = ranking.task.cells[0].record["target"]
    return ShortBoard(
        tuple(
            _line(s, apart.get(s.entrant.label), (low - room, high + room), most) for s in standings
        ),
        ranking.task.metric,
        ranking.baseline,
        "" if target is None else f"{100 * target:g} %",
    )


def _line(
    s: Standing, apart: Difference | None, scale: tuple[float, float], most: list[float]
) -> Line:
    rounds, sent = s.rounds_to_target, s.bytes_to_target
    done = s.n == len(s.entrant.cells)
    return Line(
        s.entrant.label,
        units.percent(s.mean_last),
        s.mark,
        s.entrant.reference,
        _interval(apart, scale) if apart else None,
        Bar(f"{rounds.mean:.1f}".removesuffix(".0"), _share(rounds.mean, most[0]))
        if rounds
        else None,
        Bar(units.scaled(sent.mean, "B"), _share(sent.mean, most[1])) if sent else None,
        "" if done else s.entrant.status,
    )


def _interval(one: Difference, scale: tuple[float, float]) -> Interval | None:
    if one.mean is None:
        return None
    low, high = one.by_t or (one.mean, one.mean)
    between = f"{_points(low)} to {_points(high)}, " if one.by_t else ""
    begin, end = scale

    def place(value: float) -> float:
        return round(_share(value - begin, end - begin), 2)

    return Interval(
        _points(one.mean),
        f"{between}n={one.seeds}",
        place(0),
        place(low),
        round(place(high) - place(low), 2),
        place(one.mean),
    )


def _share(part: float, whole: float) -> float:
    return round(100 * part / whole, 2) if whole else 0.0


def _points(value: float) -> str:
    return f"{100 * value:+z.2f}".replace("-", "\N{MINUS SIGN}")
