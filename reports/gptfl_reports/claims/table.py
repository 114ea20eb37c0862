"""The table of verdicts: a claim, the paper's number, ours with interval and n, the decision."""

import math
from collections.abc import Sequence

from gptfl_reports.claims.paper import Statistic
from gptfl_reports.claims.verdicts import FIRST, LEAST, SAME, Outcome, Verdict
from gptfl_reports.tables import units
from gptfl_reports.tables.table import Column, Entry, Table, csv_text

_COLUMNS = (
    Column("claim", "claim", "left"),
    Column("says", "the paper says", "wide"),
    Column("pair", "compared", "wide"),
    Column("paper", "paper"),
    Column("here", "here (95 % interval)"),
    Column("verdict", "verdict", "left"),
)
_NOTES = (
    "Values are means of the last evaluations in percent, and their differences in points; traffic "
    f"is the ratio of bytes until the target; gradient diversity is the mean of the first {FIRST} "
    "rounds. Cells are paired by seed and partition; n is the number of pairs.",
    "A claim agrees or does not where the 95 % interval by Student's t over at least "
    f"{LEAST} pairs lies on one side of no difference; a claim that two sides are the same, where "
    f"it lies within {100 * SAME:g} point of none. All else is within the noise.",
    "At most: the other side never reached the target, and all that it sent was counted.",
    "The cells of a claim are made, and it is decided, by "
    "gptfl-bench reproduce claims --claim CLAIM.",
)


def verdict_table(verdicts: Sequence[Verdict]) -> Table:
    """Return a row for each pair of cells, and one for a claim that can't be tested."""
    rows = []
    for verdict in verdicts:
        claim = verdict.claim
        head = (Entry(claim.key, claim.where), Entry(claim.says))
        if not verdict.outcomes:
            rows.append((*head, Entry(claim.untestable), *_none(2), Entry(verdict.words)))
        for outcome in verdict.outcomes:
            pair = f"{outcome.pair.ours.text} against {outcome.pair.theirs.text}, {claim.dataset}"
            here = Entry(_here(claim.statistic, outcome), _count(outcome))
            paper = Entry(_paper(claim.statistic, outcome.pair.paper))
            rows.append((*head, Entry(pair), paper, here, Entry(outcome.decision, outcome.reason)))
            head = (Entry(""), Entry(""))
    return Table("What the paper claims, and what was measured here", _COLUMNS, tuple(rows), _NOTES)


def verdict_csv(verdicts: Sequence[Verdict]) -> str:
    """Return one line a pair; differences of values are fractions, traffic is a ratio."""
    columns = (
        *("claim", "says", "where", "dataset", "statistic", "expected", "ours", "theirs"),
        *("paper", "n", "here", "low", "high", "bound", "decision", "claim_verdict", "reason"),
    )
    lines: list[tuple[object, ...]] = []
    for verdict in verdicts:
        claim = verdict.claim
        about = (claim.key, claim.says, claim.where, claim.dataset)
        if not verdict.outcomes:
            empty = [""] * (len(columns) - len(about) - 2)
            lines.append((*about, *empty, verdict.words, claim.untestable))
        for outcome in verdict.outcomes:
            pair, value = outcome.pair, outcome.value
            low, high = outcome.interval or (None, None)
            form = _ratio if claim.statistic == "traffic" else units.exact
            lines.append(
                (
                    *(*about, claim.statistic, claim.expected, pair.ours.text, pair.theirs.text),
                    *("" if pair.paper is None else pair.paper, value.n if value else 0),
                    *(form(number) for number in (value.mean if value else None, low, high)),
                    *(outcome.bound, outcome.decision, verdict.words, outcome.reason),
                )
            )
    return csv_text(columns, lines)


def _here(statistic: Statistic, outcome: Outcome) -> str:
    value, interval = outcome.value, outcome.interval
    if value is None:
        return units.NONE
    if statistic == "traffic":
        numbers = [f"{math.exp(number):.2f}" for number in (value.mean, *(interval or ()))]
    else:
        scale, form = (100, "+.2f") if statistic == "value" else (1, "+.3f")
        numbers = [f"{scale * number:{form}}" for number in (value.mean, *(interval or ()))]
    middle, *ends = numbers
    return (
        ("at most " if outcome.bound else "") + middle + (f" ({' to '.join(ends)})" if ends else "")
    )


def _count(outcome: Outcome) -> str:
    return f"n={outcome.value.n}" if outcome.value else ""


def _paper(statistic: Statistic, number: float | None) -> str:
    if number is None:
        return units.NONE
    return f"{number:.2f}" if statistic == "traffic" else f"{number:+.2f}"


def _ratio(logarithm: float | None) -> str:
    return units.exact(None if logarithm is None else math.exp(logarithm))


def _none(count: int) -> tuple[Entry, ...]:
    return (Entry(units.NONE),) * count
