"""A task in two or three sentences: who is ahead, who is there first, and what is too close."""

from collections.abc import Sequence

from gptfl_reports.numbers.standings import Ranking, Standing, federated
from gptfl_reports.tables import units
from gptfl_reports.tables.comparison import differences

_NAMES = {"fedavg": "FedAvg"}


def question(ranking: Ranking) -> str:
    """Return what was compared, on which data and how often, in a line."""
    methods = {s.entrant.method for s in federated(ranking)}
    record = ranking.task.cells[0].record
    data = record["dataset"]
    counts = sorted({len(cell.record["partition"]["sizes"]) for cell in ranking.task.cells})
    clients = " to ".join(f"{count:,}" for count in dict.fromkeys((counts[0], counts[-1])))
    seeds = sorted({cell.record["seed"] for cell in ranking.task.cells})
    return (
        f"{_count(len(methods), 'method')} on {data['name']}: {data['train']:,} samples at "
        f"{clients} clients, {record['cohort_size']} of them in each of "
        f"{_count(record['rounds'], 'round')}; tested on {data['test']:,} samples, "
        f"{_count(len(seeds), 'seed')}."
    )


def sentences(ranking: Ranking) -> list[str]:
    """Return the verdict on a task, with numbers and how many seeds are behind them."""
    ranked = [s for s in federated(ranking) if s.mean_last]
    if not ranked:
        return ["No cell has finished yet."]
    best = next((s for s in ranked if s.mark == "best"), ranked[0])
    found = [_ahead(ranking, best, ranked)]
    if target := _first_there(ranking, ranked):
        found.append(target)
    tied = [s.entrant.label for s in ranked if s.mark == "tied"]
    if tied:
        verb = "lies" if len(tied) == 1 else "lie"
        name = _name(best.entrant.label)
        found.append(f"{_listed(tied)} {verb} within one standard deviation of {name}.")
    missing = [s.entrant.label for s in federated(ranking) if s.n < len(s.entrant.cells)]
    if missing:
        found.append(f"Not all cells of {_listed(missing)} finished.")
    return found


def _ahead(ranking: Ranking, best: Standing, ranked: Sequence[Standing]) -> str:
    assert best.mean_last is not None
    value = f"{100 * best.mean_last.mean:.1f} %"
    begin = (
        f"{_name(best.entrant.label)} ends highest, at {value} {ranking.task.metric} "
        f"({_count(best.n, 'seed')})"
    )
    if len(ranked) == 1:
        return f"{begin}; nothing else finished."
    apart = {one.method: one for one in differences(ranking)}
    other, sign = best.entrant.label, 1
    if best.entrant.label == ranking.baseline:
        other, sign = next(s.entrant.label for s in ranked if s is not best), -1
    one = apart.get(other)
    if one is None or one.mean is None:
        return f"{begin}."
    against = ranking.baseline if sign > 0 else other
    points = f"{begin}, {100 * sign * one.mean:.1f} points above {_name(against)}"
    if one.by_t is None:
        return f"{points}; one seed says nothing about noise."
    low, high = sorted(100 * sign * end for end in one.by_t)
    noise = ", so the difference may be noise" if low <= 0 <= high else ""
    return f"{points} (95 % interval {_signed(low)} to {_signed(high)}, n={one.seeds}){noise}."


def _first_there(ranking: Ranking, ranked: Sequence[Standing]) -> str:
    """Return who reaches the target first and what that takes; empty without a target."""
    target = ranking.task.cells[0].record["target"]
    if target is None:
        return ""
    words = f"{100 * target:g} %"
    there = [s for s in ranked if s.rounds_to_target and s.rounds_to_target.n == s.n]
    if not there:
        return f"No method reaches {words} in every seed."
    first = min(there, key=lambda s: s.rounds_to_target.mean if s.rounds_to_target else 0)
    base = next((s for s in ranked if s.entrant.label == ranking.baseline), None)
    begin = f"{_name(first.entrant.label)} reaches {words} first, after {_way(first)}"
    if base is None or base is first:
        return f"{begin}."
    name = _name(base.entrant.label)
    if base not in there:
        return f"{begin}; {name} does not in every seed."
    return f"{begin}; {name} takes {_way(base)}."


def _way(s: Standing) -> str:
    assert s.rounds_to_target is not None
    assert s.bytes_to_target is not None
    rounds = f"{s.rounds_to_target.mean:.1f}".removesuffix(".0")
    word = "round" if rounds == "1" else "rounds"
    return f"{rounds} {word} and {units.scaled(s.bytes_to_target.mean, 'B')}"


def _name(label: str) -> str:
    return _NAMES.get(label, label)


def _signed(number: float) -> str:
    return f"{number:+z.1f}".replace("-", "\N{MINUS SIGN}")


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
