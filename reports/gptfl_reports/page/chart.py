"""The learning curves as data for the page's chart: by rounds, by bytes and by scalars sent."""

import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate

from gptfl_reports.drawing.labels import Style
from gptfl_reports.figures.curves import Curve, curve_of
from gptfl_reports.numbers.standings import Ranking, Standing, whole
from gptfl_reports.records.cells import Cell, mean
from gptfl_reports.records.events import TrafficCounted


def chart(ranking: Ranking, style: Mapping[str, Style]) -> str:
    """Return a task's curves as JSON that is safe within a page; empty if nothing finished.

    Args:
        ranking: The task.
        style: Colour and dashes of each entrant, as in the figure.
    """
    series = [_series(s, c, style) for s in whole(ranking) if (c := curve_of(s.entrant))]
    if not series:
        return ""
    target = ranking.task.cells[0].record["target"]
    content = {
        "metric": f"{ranking.task.metric} in %",
        "target": None if target is None else round(100 * target, 4),
        "series": series,
    }
    # Names come from data, and "</script>" in one would end the script.
    return json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")


_KINDS = ("standard", "public data", "generated data", "GPT-FL", "not federated")


@dataclass(frozen=True)
class Name:
    """A curve's name beside its look; ``dash`` is as SVG has it."""

    label: str
    color: str
    dash: str


def names(ranking: Ranking, style: Mapping[str, Style]) -> list[tuple[str, list[Name]]]:
    """Return the names of a task's curves by kind of method, in the leaderboard's order."""
    found: dict[str, list[Name]] = {}
    for standing in whole(ranking):
        if standing.entrant.finished:
            label = standing.entrant.label
            dash = " ".join(map(str, _dash(style[label])))
            found.setdefault(group(standing), []).append(Name(label, style[label][0], dash))
    return sorted(found.items(), key=lambda item: _KINDS.index(item[0]))


def _series(s: Standing, curve: Curve, style: Mapping[str, Style]) -> dict[str, object]:
    cells, (color, _) = s.entrant.finished, style[s.entrant.label]
    return {
        "name": s.entrant.label,
        "group": group(s),
        "color": color,
        "dash": _dash(style[s.entrant.label]),
        "rounds": curve.rounds,
        "bytes": _sent(cells, curve.rounds, lambda event: event.nbytes),
        "scalars": _sent(cells, curve.rounds, lambda event: event.scalars),
        "mean": [round(100 * value.mean, 3) for value in curve.values],
        "sd": [None if v.sd is None else round(100 * v.sd, 3) for v in curve.values],
        "n": [value.n for value in curve.values],
    }


def _dash(style: Style) -> list[float]:
    _, dash = style
    return [] if isinstance(dash, str) else [2 * length for length in dash[1]]


def group(s: Standing) -> str:
    """Return the kind of method an entrant is, by which the chart's names are grouped."""
    profile = s.entrant.cells[0].record.get("profile", {})
    if s.entrant.reference:
        return "not federated"
    if s.entrant.method.partition("+")[0].startswith("gptfl"):
        return "GPT-FL"
    external = profile.get("external_data", "no")
    return external if external in _KINDS else "standard"


def _sent(
    cells: tuple[Cell, ...], rounds: tuple[int, ...], unit: Callable[[TrafficCounted], int]
) -> list[int]:
    """Return what was sent in both directions up to each round, mean over cells."""
    each = []
    for cell in cells:
        by_round = Counter[int]()
        for event in cell.traffic:
            if event.direction != "once":
                by_round[event.round] += unit(event)
        passed = sorted(by_round)
        # A sum more than rounds with traffic: before the first there was none.
        sums = [0, *accumulate(by_round[number] for number in passed)]
        each.append([sums[bisect_right(passed, number)] for number in rounds])
    return [round(mean([float(value) for value in at])) for at in zip(*each, strict=True)]
