"""What records say about the paper's claims: a number with an interval, and a decision.

Two sides are compared by pairs of cells with the same seed and the same partition. A decision needs
three pairs at least, and a 95 % interval by Student's t that does not reach the other side.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from gptfl_reports.claims.paper import Claim, Expected, Pair, Side, Statistic
from gptfl_reports.numbers.by_hand import by_hand
from gptfl_reports.numbers.intervals import Interval, t_interval
from gptfl_reports.numbers.spread import Spread, paired
from gptfl_reports.numbers.tasks import flat
from gptfl_reports.records.cells import Cell, mean
from gptfl_reports.records.events import RoundAggregated

LEAST = 3
"""Pairs of cells that a decision needs."""
SAME = 0.01
"""Values are the same where the interval of their difference lies within one point of zero."""
FIRST = 10
"""Rounds that count as the first ones."""
_UNSAID = {
    "regime": "short",
    "precision": "float32",
    "public.source": "held_out",
    "lift_conventions": "false",
}
"""What records leave out that have it as ever."""

Decision = Literal["agrees", "does not agree", "within the noise", "not decided"]


@dataclass(frozen=True)
class Outcome:
    """One pair of a claim, measured.

    Attributes:
        pair: What was compared.
        value: Mean and spread of the differences (of logarithms for traffic); None if no pair of
            cells is there.
        interval: 95 % interval of their mean; None for fewer than two.
        bound: Whether the other side never reached the target in some pair, so that its whole
            traffic was taken, which is less than it would need.
        decision: Whether the claim holds here.
        reason: Why nothing was decided; empty otherwise.
    """

    pair: Pair
    value: Spread | None
    interval: Interval | None
    bound: bool
    decision: Decision
    reason: str


@dataclass(frozen=True)
class Verdict:
    """A claim with what was measured.

    Attributes:
        claim: The claim.
        outcomes: One for each of its pairs.
    """

    claim: Claim
    outcomes: tuple[Outcome, ...]

    @property
    def words(self) -> str:
        """The verdict in a word or two."""
        if self.claim.untestable:
            return "not testable here"
        found = {outcome.decision for outcome in self.outcomes} - {"not decided"}
        if not found:
            return "not decided"
        return next(iter(found)) if len(found) == 1 else "in part"


def verdicts(cells: Iterable[Cell], claims: Sequence[Claim]) -> tuple[Verdict, ...]:
    """Return the verdict on each claim.

    Args:
        cells: Cells of any tasks; quick ones, unfinished ones and those that were scored on
            validation data don't count.
        claims: The claims.
    """
    counted = [
        cell
        for cell in cells
        if cell.ending.status == "finished"
        and not cell.record["preset"]["quick"]
        and cell.record["dataset"]["evaluated_on"] == "test"
    ]
    known = [(cell, settings_of(cell)) for cell in counted]
    return tuple(
        Verdict(claim, tuple(_outcome(claim, pair, known) for pair in claim.pairs))
        for claim in claims
    )


def settings_of(cell: Cell) -> dict[str, str]:
    """Return a cell's settings by the dotted names they are given by, as text without quotes."""
    own = f"methods.{cell.record['method']}."
    said = {
        own + key.removeprefix("method.") if key.startswith("method.") else key: text.strip('"')
        for key, text in flat(cell.record["config"]).items()
    }
    unsaid = _UNSAID | ({"synthetic.real": "false"} if "synthetic.generator" in said else {})
    return unsaid | said


Known = Sequence[tuple[Cell, Mapping[str, str]]]


def _outcome(claim: Claim, pair: Pair, known: Known) -> Outcome:
    ours, theirs = (_cells(claim.dataset, side, known) for side in (pair.ours, pair.theirs))
    twice = [c[1] for side in (ours, theirs) for c in side.values() if len(c) > 1]
    if twice:
        fits = f"more than one cell of a seed fits, such as {twice[0].record['run_id']}"
        return Outcome(pair, None, None, False, "not decided", fits)
    first, second, bound = {}, {}, False
    for key, (cell, *_) in ours.items():
        value, within = _number(claim.statistic, pair.ours, cell)
        # A bound of one's own traffic would flatter.
        if value is not None and not within:
            first[key] = value
    for key, (cell, *_) in theirs.items():
        value, within = _number(claim.statistic, pair.theirs, cell)
        if value is not None:
            second[key] = value
            bound |= within and key in first
    logs = claim.statistic == "traffic"
    if logs:
        first, second = ({k: math.log(v) for k, v in side.items()} for side in (first, second))
    difference = paired(first, second)
    apart = [first[key] - second[key] for key in first if key in second]
    interval = t_interval(apart)
    if difference is None or interval is None or difference.n < LEAST:
        reason = (
            f"{difference.n if difference else 0} of the {LEAST} pairs of cells that are needed"
        )
        short = len(ours) - len(first)
        if logs and short:
            reason += f"; {short} of {len(ours)} cells of {pair.ours.text} missed the target"
        return Outcome(pair, difference, interval, bound, "not decided", reason)
    same = SAME if claim.expected == "same" else 0.0
    return Outcome(pair, difference, interval, bound, _decide(claim.expected, interval, same), "")


def _decide(expected: Expected, interval: Interval, same: float) -> Decision:
    low, high = interval
    if expected == "same":
        if -same <= low and high <= same:
            return "agrees"
        return "does not agree" if low > same or high < -same else "within the noise"
    if low > 0 or high < 0:
        return "agrees" if (low > 0) is (expected == "more") else "does not agree"
    return "within the noise"


def _cells(dataset: str, side: Side, known: Known) -> dict[object, list[Cell]]:
    """Return the cells of a side by what pairs them: seed and partition.

    Where a method ran more than once with a seed, a side means its preset's settings, unless it
    names others.
    """
    fitting = [
        cell
        for cell, config in known
        if cell.record["method"] == side.method
        and cell.record["dataset"]["name"] == dataset
        and all(has(config, key, text) for key, text in side.settings.items())
    ]
    found = _by_place(fitting)
    if any(len(cells) > 1 for cells in found.values()):
        return _by_place([cell for cell in fitting if not by_hand(cell.record)]) or found
    return found


def _by_place(cells: Iterable[Cell]) -> dict[object, list[Cell]]:
    found: dict[object, list[Cell]] = {}
    for cell in cells:
        place = (cell.record["seed"], cell.record["partition"]["sha256"])
        found.setdefault(place, []).append(cell)
    return found


def has(config: Mapping[str, str], key: str, text: str) -> bool:
    """Return whether a setting is what is asked, or one of a section that a cell is without."""
    if key in config:
        return config[key] == text
    section, _, _ = key.rpartition(".")
    return bool(section) and not any(other.startswith(f"{section}.") for other in config)


def _number(statistic: Statistic, side: Side, cell: Cell) -> tuple[float | None, bool]:
    """Return a cell's number, and whether it is only a lower bound."""
    row = cell.row()
    if statistic == "traffic":
        reached = row["bytes_to_target"]
        sent = row["bytes_down"] + row["bytes_up"] if reached is None else reached
        # A start above the target takes nothing, and 0 has no logarithm.
        return float(max(sent, 1)), reached is None
    if statistic == "diversity":
        rounds = [e for e in cell.events if isinstance(e, RoundAggregated) and e.round <= FIRST]
        seen = [e.gradient_diversity for e in rounds if e.gradient_diversity is not None]
        return mean(seen) if seen else None, False
    starts = [cell.value(e) for e in cell.evaluations if e.round == 0]
    return (starts[0] if starts else None) if side.at_start else row["value_mean_last"], False
