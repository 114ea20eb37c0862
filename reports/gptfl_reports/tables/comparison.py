"""How sure a difference is: each method against the baseline by seed, and ranks over tasks.

A task's regimes, short local training in many rounds and long in few, stand side by side.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gptfl_reports.numbers.averaged import averaged, evaluations
from gptfl_reports.numbers.board import Leaderboard
from gptfl_reports.numbers.intervals import RESAMPLES, Interval, bootstrap_interval, t_interval
from gptfl_reports.numbers.ranks import LEAST_METHODS, LEAST_TASKS, Ranks, ranks
from gptfl_reports.numbers.spread import Spread
from gptfl_reports.numbers.standings import Ranking, by_seed, whole
from gptfl_reports.numbers.tasks import QUICK, budget, in_a_line, plan_of, regime, setting_key
from gptfl_reports.tables import units
from gptfl_reports.tables.table import Column, Entry, Table, csv_text, markdown

_NAMES = {"fedavg": "FedAvg"}


@dataclass(frozen=True)
class Difference:
    """A method minus the baseline in the mean of the last evaluations, paired by seed.

    Attributes:
        method: The method.
        seeds: Number of seeds that finished in both on the same partition.
        higher: In how many of them the method's value is higher.
        mean: Mean difference, a fraction; None if no seed has both.
        by_t: 95 % interval of the mean by Student's t; None for fewer than two seeds.
        by_bootstrap: 95 % percentile interval over resampled seeds; None likewise.
    """

    method: str
    seeds: int
    higher: int
    mean: float | None
    by_t: Interval | None
    by_bootstrap: Interval | None


def differences(ranking: Ranking) -> tuple[Difference, ...]:
    """Return every method of a task against its baseline; nothing if it has none."""
    bases = [s.entrant for s in ranking.standings if s.entrant.label == ranking.baseline]
    if not bases:
        return ()
    base = by_seed(bases[0])
    found = []
    for standing in ranking.standings:
        if standing.entrant is bases[0]:
            continue
        ours = by_seed(standing.entrant)
        each = [ours[seed] - base[seed] for seed in ours if seed in base]
        found.append(
            Difference(
                standing.entrant.label,
                len(each),
                sum(one > 0 for one in each),
                Spread.of(each).mean if each else None,
                t_interval(each),
                bootstrap_interval(each),
            )
        )
    return tuple(found)


def interval_entries(ranking: Ranking) -> dict[str, Entry]:
    """Return each method's difference from the baseline with its interval by Student's t."""
    found = {
        one.method: Entry(
            _points(one.mean), f"{_interval(one.by_t).text}, n={one.seeds}", order=one.mean
        )
        for one in differences(ranking)
        if one.mean is not None
    }
    return {**found, ranking.baseline: Entry("baseline", order=0.0)} if ranking.baseline else found


def comparison_tables(board: Leaderboard) -> tuple[Table, ...]:
    """Return one table for each task, without rows where nothing can be compared."""
    return tuple(_table(ranking) for ranking in board.rankings)


def ranks_table(board: Leaderboard) -> Table:
    """Return the methods by mean rank, without rows for a single task."""
    found = ranks(board)
    columns = (
        Column("method", "method", "left"),
        Column("tasks", "tasks"),
        Column("rank", "mean rank"),
        *([Column("tested", "mean rank in the test")] if found.test else []),
    )
    rows = []
    for one in found.means if found.tasks > 1 else ():
        entries = {
            "method": Entry(one.method),
            "tasks": Entry(f"{one.n} of {found.tasks}", order=one.n),
            "rank": _number(one.rank),
            "tested": _number(one.tested),
        }
        rows.append(tuple(entries[column.key] for column in columns))
    quick = any(ranking.task.quick for ranking in board.rankings)
    return Table(
        f"Mean rank over {found.tasks} tasks", columns, tuple(rows), _rank_notes(found),
        QUICK if quick else "",
    )  # fmt: skip


def comparison_markdown(board: Leaderboard) -> str:
    """Return all tables as one Markdown page."""
    tables = [*regimes_tables(board), *comparison_tables(board), ranks_table(board)]
    return "\n".join(["# Paired comparison\n", *(markdown(t) for t in tables if t.rows)])


def regimes_tables(board: Leaderboard) -> tuple[Table, ...]:
    """Return a table for each setting that was run in more than one regime: side by side."""
    settings: dict[str, list[Ranking]] = {}
    for ranking in board.rankings:
        settings.setdefault(setting_key(ranking.task.cells[0].record), []).append(ranking)
    return tuple(
        _side_by_side(rankings)
        for rankings in settings.values()
        if len({regime(ranking.task.cells[0].record) for ranking in rankings}) > 1
    )


def _side_by_side(rankings: Sequence[Ranking]) -> Table:
    ordered = sorted(rankings, key=lambda r: regime(r.task.cells[0].record), reverse=True)
    columns, notes = [Column("method", "method", "left")], []
    rows: dict[str, dict[str, Entry]] = {}
    for number, ranking in enumerate(ordered):
        record = ranking.task.cells[0].record
        name = f"{regime(record)}: mean of last {averaged(ranking.task.cells)}"
        epochs = plan_of(record).get("epochs", "")
        notes.append(f"{regime(record).capitalize()}: {budget(record)}, {epochs} local epochs.")
        columns.append(Column(f"value {number}", name))
        base = _NAMES.get(ranking.baseline, ranking.baseline)
        if base:
            columns.append(Column(f"difference {number}", f"vs {base}, 95 % interval"))
        apart = interval_entries(ranking)
        for standing in whole(ranking):
            row = rows.setdefault(standing.entrant.label, {})
            value = standing.mean_last
            row[f"value {number}"] = Entry(
                units.percent(value),
                strong=standing.mark == "best",
                mark="†" if standing.mark == "tied" else "",
                order=value.mean if value else None,
            )
            if difference := apart.get(standing.entrant.label):
                row[f"difference {number}"] = difference
    none = Entry(units.NONE)
    lines = tuple(
        (Entry(label), *(row.get(column.key, none) for column in columns[1:]))
        for label, row in rows.items()
    )
    record = ordered[0].task.cells[0].record
    notes.append(
        "Percent, mean ± sample standard deviation over seeds; differences in points, paired by "
        "seed, with the 95 % interval by Student's t. Bold: highest of its column; †: within one "
        "standard deviation of it. The regimes differ in work, so their columns can't be compared."
    )
    title = in_a_line(record, "regimes side by side", between=" · ")
    return Table(title, tuple(columns), lines, tuple(notes), ordered[0].task.stamp)


def comparison_csv(board: Leaderboard) -> str:
    """Return one line a method and task; differences are fractions."""
    columns = "task method baseline n higher mean t_low t_high bootstrap_low bootstrap_high"
    lines = [
        (
            ranking.task.title, one.method, ranking.baseline, one.seeds, one.higher,
            units.exact(one.mean), *_ends(one.by_t), *_ends(one.by_bootstrap),
        )
        for ranking in board.rankings
        for one in differences(ranking)
    ]  # fmt: skip
    return csv_text(columns.split(), lines)


def ranks_csv(board: Leaderboard) -> str:
    """Return one line a method with its ranks over tasks; nothing for a single task."""
    found = ranks(board)
    if found.tasks < 2:
        return ""
    lines = [(m.method, m.n, units.exact(m.rank), units.exact(m.tested)) for m in found.means]
    return csv_text(["method", "tasks", "rank", "rank_tested"], lines)


def _table(ranking: Ranking) -> Table:
    base = _NAMES.get(ranking.baseline, ranking.baseline)
    columns = (
        Column("method", "method", "left"),
        Column("seeds", "seeds in both"),
        Column("mean", "difference"),
        Column("t", "95 % interval (Student's t)"),
        Column("bootstrap", "95 % interval (bootstrap)"),
        Column("higher", "higher in"),
    )
    rows = tuple(
        (
            Entry(one.method),
            Entry(str(one.seeds), order=one.seeds),
            Entry(units.NONE if one.mean is None else _points(one.mean), order=one.mean),
            _interval(one.by_t),
            _interval(one.by_bootstrap),
            Entry(f"{one.higher} of {one.seeds}", order=one.higher),
        )
        for one in differences(ranking)
    )
    notes = (
        f"The method minus {base} in the mean of "
        f"{evaluations(averaged(ranking.task.cells))}, in percentage points, by seed: "
        "both had the same partition, cohorts and batches. Intervals need two seeds.",
        f"Student's t takes the differences as normal. The bootstrap draws seeds with replacement "
        f"{RESAMPLES:,} times (fixed seed) and takes the middle 95 % of the means, so it never "
        "reaches beyond the smallest and the largest difference: with few seeds it is too narrow.",
        "An interval says how sure one difference is; none is widened for the number of methods.",
    )
    return Table(ranking.task.title, columns, rows, notes, ranking.task.stamp)


def _rank_notes(found: Ranks) -> tuple[str, ...]:
    notes = (
        "Rank 1 is the highest mean of the last evaluations of a task (its leaderboard says how "
        "many); equal values share their mean rank. A method is ranked on tasks where its every "
        "cell finished, among the methods of which that holds; ablated methods are left out.",
    )
    test = found.test
    if test is None:
        return (
            *notes,
            f"No test: it needs {LEAST_TASKS} tasks, and {LEAST_METHODS} methods that finished all "
            "of them.",
        )
    p = "< 0.001" if test.p < 0.001 else f"= {test.p:.3f}"
    apart = (
        "No two methods can be told apart by mean rank."
        if test.p >= 0.05
        else f"Two methods differ at 5 % if their mean ranks in the test are {test.critical:.2f} "
        "apart (Nemenyi's critical difference)."
    )
    return (
        *notes,
        f"Friedman's test over the {test.methods} methods that finished all {test.tasks} tasks: "
        f"chi-square = {test.statistic:.2f}, p {p}. {apart}",
        "The test takes tasks as independent; tasks of the same data are not.",
    )


def _number(value: float | None) -> Entry:
    return Entry(units.NONE if value is None else f"{value:.2f}", order=value)


def _points(value: float) -> str:
    return f"{100 * value:+z.2f}".replace("-", "\N{MINUS SIGN}")


def _interval(ends: Interval | None) -> Entry:
    if ends is None:
        return Entry(units.NONE)
    return Entry(f"{_points(ends[0])} to {_points(ends[1])}", order=ends[0])


def _ends(ends: Interval | None) -> tuple[str, str]:
    return ("", "") if ends is None else (units.exact(ends[0]), units.exact(ends[1]))
