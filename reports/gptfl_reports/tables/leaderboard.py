"""The leaderboard: one ranked table a task, as Markdown, CSV, LaTeX and terminal text.

CSV holds exact numbers and fractions in [0, 1]; all other renderings percent and rounded counts.
"""

from dataclasses import replace
from html import escape

from gptfl_reports.numbers.averaged import averaged, evaluations
from gptfl_reports.numbers.board import Leaderboard
from gptfl_reports.numbers.spread import Spread
from gptfl_reports.numbers.standings import Ranking, Standing
from gptfl_reports.numbers.tasks import clients, fate, sharing
from gptfl_reports.records.cells import Cell
from gptfl_reports.tables import units
from gptfl_reports.tables.captions import caption
from gptfl_reports.tables.table import Column, Entry, Table, csv_text, latex, markdown, terminal

_NAMES = {"fedavg": "FedAvg"}
_LATEX_COLUMNS = (
    "method seeds mean_last last best start last_accuracy versus down up once to_target lost status"
)
_TERMINAL_COLUMNS = "method seeds mean_last start last_accuracy versus down up to_target"
_LIVE_COLUMNS = "method seeds mean_last start versus to_target"
_IN_A_LINE = 6
"""Methods that a line names at most."""


def leaderboard_tables(board: Leaderboard) -> tuple[Table, ...]:
    """Return one table for each task, with every column that applies to it."""
    return tuple(_table(ranking) for ranking in board.rankings)


def to_markdown(board: Leaderboard) -> str:
    """Return all tables as one Markdown page."""
    return "\n".join(["# Leaderboard\n", *(markdown(table) for table in leaderboard_tables(board))])


def to_latex(board: Leaderboard) -> str:
    """Return all tables as LaTeX floats; they need the packages booktabs and graphicx."""
    tables = [latex(table.select(_LATEX_COLUMNS.split())) for table in leaderboard_tables(board)]
    return "\n".join(["% \\usepackage{booktabs,graphicx}", *tables])


def to_terminal(board: Leaderboard, width: int = 120, *, color: bool = False) -> str:
    """Return the main columns of all tables for a terminal.

    Args:
        board: What to show.
        width: Characters in a line.
        color: Whether to write bold and colour codes.
    """
    return "\n".join(
        terminal(
            replace(table.select(_TERMINAL_COLUMNS.split()), notes=_brief(ranking)),
            width,
            color=color,
        )
        for ranking, table in zip(board.rankings, leaderboard_tables(board), strict=True)
    )


def so_far(board: Leaderboard, latest: Cell, width: int = 80) -> str:
    """Return a few columns of the task of the cell that ended last, without a note."""
    (ranking,) = [r for r in board.rankings if latest in r.task.cells]
    table = _table(ranking).select(_LIVE_COLUMNS.split())
    return terminal(replace(table, notes=()), width)


def to_csv(board: Leaderboard) -> str:
    """Return one line for each entrant of each task, with exact numbers."""
    # All lines have the same columns.
    other = any(_is_other_metric(ranking) for ranking in board.rankings)
    lines = [_csv_line(ranking, s, other) for ranking in board.rankings for s in ranking.standings]
    columns = list(lines[0]) if lines else []
    return csv_text(columns, [list(line.values()) for line in lines])


def to_html(board: Leaderboard) -> str:
    """Return method, finished cells and ranked value of all tasks as plain HTML tables."""
    parts = []
    for task, standings in ((ranking.task, ranking.standings) for ranking in board.rankings):
        body = "".join(
            f"<tr><th>{escape(s.entrant.label)}</th><td>{s.n}</td><td>{_short(s)}</td></tr>"
            for s in standings
        )
        parts.append(
            f"<table><caption>{escape(f'{task.stamp} {task.title}'.strip())}</caption>"
            f"<tr><th>method</th><th>n</th><th>{escape(task.metric)}</th></tr>{body}</table>"
        )
    return "\n".join(parts)


def to_line(ranking: Ranking) -> str:
    """Return the first methods of a task with their values: ``gptfl 61.2 ± 2.8 (n=2)``."""
    shown = [
        f"{s.entrant.label} {_short(s)}" + (f" (n={s.n})" if s.n else "") for s in ranking.standings
    ]
    if len(shown) > _IN_A_LINE:
        shown[_IN_A_LINE:] = [f"and {len(shown) - _IN_A_LINE} more"]
    return ", ".join(shown)


def _table(ranking: Ranking) -> Table:
    standings, base = ranking.standings, ranking.baseline
    target = ranking.task.cells[0].record["target"]
    columns = [
        Column("method", "method", "left"),
        Column("seeds", "seeds"),
        Column("mean_last", f"mean of last {averaged(ranking.task.cells)}"),
        Column("last", "last"),
        Column("best", "best"),
        Column("start", "start"),
        *([Column("last_accuracy", "last accuracy")] if _is_other_metric(ranking) else []),
        *([Column("versus", f"vs {_NAMES.get(base, base)} (paired)")] if base else []),
        Column("down", "down"),
        Column("up", "up"),
        *([Column("once", "once")] if _hands_out_once(ranking) else []),
        *([] if target is None else [Column("to_target", f"to {100 * target:g} %")]),
        *([Column("lost", "rounds lost")] if _lost_rounds(ranking) else []),
        Column("seconds", "time"),
        Column("saw", "server saw clients", "left"),
        Column("status", "status", "wide"),
    ]
    rows = [_entries(standing, base) for standing in standings]
    return Table(
        ranking.task.title,
        tuple(columns),
        tuple(tuple(row[column.key] for column in columns) for row in rows),
        (*caption(ranking.task), *_rules(ranking)),
        ranking.task.stamp,
    )


def _entries(standing: Standing, base: str) -> dict[str, Entry]:
    s, best = standing, standing.mark == "best"
    if s.entrant.label == base:
        versus = Entry("baseline", order=0.0)
    else:
        detail = f"n={s.versus.n}" if s.versus else ""
        versus = Entry(units.percent(s.versus, signed=True), detail, order=_mean(s.versus))
    saw = units.NONE if s.server_saw_clients is None else "yes" if s.server_saw_clients else "no"
    return {
        "method": Entry(s.entrant.label, strong=best),
        "seeds": Entry(f"{s.n} of {len(s.entrant.cells)}", order=s.n),
        "mean_last": replace(
            _value(s.mean_last),
            strong=best,
            mark="†" if s.mark == "tied" else "",
            second=s.second,
        ),
        "last": _value(s.last),
        "best": _value(s.best),
        "start": _value(s.start),
        "last_accuracy": _value(s.last_accuracy),
        "versus": versus,
        "down": _traffic(s.bytes_down, s.scalars_down),
        "up": _traffic(s.bytes_up, s.scalars_up),
        "once": _traffic(s.client_bytes_once, None),
        "to_target": _to_target(s),
        "lost": Entry(f"{s.rounds_lost:,}", order=s.rounds_lost),
        "seconds": Entry(
            units.duration(s.seconds.mean) if s.seconds else units.NONE, order=_mean(s.seconds)
        ),
        "saw": Entry(saw),
        "status": Entry(s.entrant.status),
    }


def _short(s: Standing) -> str:
    """Return a row's value in percent with one decimal; what became of its cells without one."""
    if s.mean_last is None:
        return ", ".join(sorted({fate(cell.ending.status) for cell in s.entrant.cells}))
    spread = "" if s.mean_last.sd is None else f" ± {100 * s.mean_last.sd:.1f}"
    return f"{100 * s.mean_last.mean:.1f}{spread}"


def _value(value: Spread | None) -> Entry:
    return Entry(units.percent(value), order=_mean(value))


def _mean(value: Spread | None) -> float | None:
    return value.mean if value else None


def _traffic(nbytes: Spread | None, scalars: Spread | None) -> Entry:
    if nbytes is None:
        return Entry(units.NONE)
    detail = f"{units.scaled(scalars.mean)} scalars" if scalars else ""
    return Entry(units.scaled(nbytes.mean, "B"), detail, order=nbytes.mean)


def _to_target(s: Standing) -> Entry:
    if not s.n:
        return Entry(units.NONE)
    if s.rounds_to_target is None or s.bytes_to_target is None:
        return Entry("not reached")
    rounds = f"{s.rounds_to_target.mean:.1f}".removesuffix(".0")
    text = f"{rounds} rounds, {units.scaled(s.bytes_to_target.mean, 'B')}"
    detail = f"{s.rounds_to_target.n} of {s.n} reached"
    return Entry(text, detail, order=s.rounds_to_target.mean)


def _hands_out_once(ranking: Ranking) -> bool:
    return any(s.client_bytes_once and s.client_bytes_once.mean for s in ranking.standings)


def _lost_rounds(ranking: Ranking) -> bool:
    return any(s.rounds_lost for s in ranking.standings)


def _is_other_metric(ranking: Ranking) -> bool:
    """Return whether a task's values are no accuracies, which are then shown as well."""
    return ranking.task.metric != "accuracy"


def _rules(ranking: Ranking) -> tuple[str, ...]:
    """Return how the table is to be read."""
    count = averaged(ranking.task.cells)
    rules = [
        f"Mean ± sample standard deviation (n - 1) over the finished seeds; n/a: one seed, no "
        f"spread. Ranked by the mean of {evaluations(count)}; best is the highest of "
        "any round on the evaluation data; start is round 0, which is in no mean.",
        "Bold: highest mean among methods whose every seed finished; †: within one standard "
        "deviation of it (equal to it where it has one seed); underlined in LaTeX and on the page: "
        "second.",
        "Down and up: bytes (scalars) of the whole cohort in all rounds, mean over seeds, "
        "kB = 1000 B. Time: mean work of one cell. Server saw clients: whether it read single "
        "replies, as observed, not as declared.",
    ]
    references = [s.entrant.label for s in ranking.standings if s.entrant.reference]
    if references:
        rules.append(
            f"{', '.join(references)}: not federated, so without a rank; central trains on all "
            "clients' samples put together, local is the mean over clients that train alone."
        )
    if _is_other_metric(ranking):
        rules.append(
            f"Last accuracy: accuracy in percent at the last evaluation; mean of last "
            f"{count}, last, best and start are {ranking.task.metric}."
        )
    if _hands_out_once(ranking):
        rules.append("Once: bytes handed to clients a single time, all clients, not part of down.")
    if _lost_rounds(ranking):
        rules.append(
            "Rounds lost: rounds of all cells in which too few clients stayed for a secure sum; "
            "nothing was learnt in them."
        )
    if ranking.baseline:
        rules.append(
            f"vs {_NAMES.get(ranking.baseline, ranking.baseline)}: difference in the ranked value "
            "in percentage points, paired by seed, over seeds that finished in both."
        )
    return tuple(rules)


def _brief(ranking: Ranking) -> tuple[str, ...]:
    """Return what a terminal must say below the table: the data's note and every outcome."""
    note = ranking.task.cells[0].record["dataset"]["note"]
    return (
        *([f"data: {note}"] if note else []),
        f"{ranking.task.metric} in percent, mean ± sample standard deviation over finished seeds; "
        "†: within one of the best",
        *(
            f"{s.entrant.label}: {s.entrant.status}"
            for s in ranking.standings
            if s.n < len(s.entrant.cells) or s.entrant.versions
        ),
        *(
            f"{s.entrant.label}: {s.rounds_to_target.n} of {s.n} reached the target"
            for s in ranking.standings
            if s.rounds_to_target and s.rounds_to_target.n < s.n
        ),
        *(
            f"{s.entrant.label}: {s.rounds_lost} rounds lost, too few clients stayed"
            for s in ranking.standings
            if s.rounds_lost
        ),
    )


def _csv_line(ranking: Ranking, s: Standing, accuracy: bool) -> dict[str, object]:
    """Return a line by column; with the last accuracy beside the metric's values if asked for."""
    record = s.entrant.cells[0].record
    line: dict[str, object] = {
        "task": ranking.task.title,
        "dataset": record["dataset"]["name"],
        "dataset_version": record["dataset"]["version"],
        "partition": sharing(record),
        "model": record["model"]["name"],
        "parameters": record["model"]["parameters"],
        "rounds": record["rounds"],
        "num_clients": clients(record) or "",
        "cohort_size": record["cohort_size"],
        "metric": record["metric"],
        "target": record["target"],
        "preset": record["preset"]["name"],
        "quick": record["preset"]["quick"],
        "method": s.entrant.method,
        "label": s.entrant.label,
        "seeds": " ".join(str(cell.record["seed"]) for cell in s.entrant.cells),
        "cells": len(s.entrant.cells),
        "n": s.n,
        "status": s.entrant.status,
    }
    for name, value in (
        ("value_start", s.start),
        ("value_last", s.last),
        ("value_best", s.best),
        ("value_mean_last", s.mean_last),
        *([("accuracy_last", s.last_accuracy)] if accuracy else []),
    ):
        line[f"{name}_mean"] = units.exact(value.mean if value else None)
        line[f"{name}_sd"] = units.exact(value.sd if value else None)
    line["evaluations_averaged"] = averaged(ranking.task.cells)
    for name in ("scalars_down", "scalars_up", "bytes_down", "bytes_up", "client_bytes_once"):
        line[name] = _mean_count(getattr(s, name))
    line["n_to_target"] = s.rounds_to_target.n if s.rounds_to_target else 0
    for name in ("rounds_to_target", "scalars_to_target", "bytes_to_target"):
        line[name] = _mean_count(getattr(s, name))
    return line | {
        "rounds_lost": s.rounds_lost,
        "seconds": units.exact(s.seconds.mean if s.seconds else None),
        "server_saw_clients": s.server_saw_clients,
        "baseline": ranking.baseline,
        "versus_n": s.versus.n if s.versus else None,
        "versus_mean": units.exact(s.versus.mean if s.versus else None),
        "versus_sd": units.exact(s.versus.sd if s.versus else None),
        "mark": s.mark,
    }


def _mean_count(value: Spread | None) -> str:
    return units.exact_count(value.mean if value else None)
