"""Cells one a line, as they are, finished or not: the table and the CSV of ``results``."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from gptfl_reports.numbers.tasks import fate, in_a_line, metric_words
from gptfl_reports.records.cells import Cell
from gptfl_reports.records.schema import Row, RunRecord
from gptfl_reports.tables import units
from gptfl_reports.tables.table import csv_text

if TYPE_CHECKING:
    from rich.console import Group

_METHOD_WIDTH = 20
_SHORT = {"mean_last": "mean", "to_target": "target"}
"""With these all columns fit into eighty characters."""
_STYLES = {"finished": "green", "running": "yellow", "refused": "dim"}
_HEADERS = (
    *("method", "seed", "status", "rounds", "last", "best", "mean_last"),
    *("down", "up", "to_target", "time"),
)


def rows_table(cells: Sequence[Cell]) -> str:
    """Return a plain table of at most 120 characters a line, one row a cell, grouped by task.

    Values are in percent. Sentences of cells that did not finish stand below their table.
    """
    from tabulate import tabulate

    blocks: list[str] = []
    for heading, members in _by_heading(cells).items():
        grid = tabulate(
            [_line(row) for row in members],
            headers=_HEADERS,
            tablefmt="simple",
            disable_numparse=True,
            colalign=("left", "right", "left", *["right"] * 8),
        )
        sentences = _sentences(members)
        lines = [line.rstrip() for line in grid.splitlines()]
        blocks.append("\n".join([heading, "", *lines, *([""] if sentences else []), *sentences]))
    return "\n\n".join(blocks) + ("\n" if blocks else "no cells\n")


def show(cells: Sequence[Cell]) -> None:
    """Print the table in colours, as wide as the terminal is."""
    from rich.console import Console

    Console().print(colourful(cells))


def colourful(cells: Sequence[Cell]) -> "Group":
    """Return the table for a terminal in colours, one a task, with sentences below."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[Table | Text] = []
    for heading, members in _by_heading(cells).items():
        table = Table(
            title=Text(heading),
            title_justify="left",
            box=None,
            header_style="bold",
            padding=(0, 1, 0, 0),
        )
        for place, header in enumerate(_HEADERS):
            table.add_column(
                _SHORT.get(header, header),
                justify="left" if place in (0, 2) else "right",
                no_wrap=True,
            )
        for row in members:
            style = _STYLES.get(row["status"], "red")
            texts = [Text(text) for text in _line(row)]
            texts[2].stylize(style)
            table.add_row(*texts)
        parts += [table, *(Text(sentence, style="dim") for sentence in _sentences(members))]
    return Group(*parts) if parts else Group(Text("no cells"))


def rows_csv(rows: Iterable[Row]) -> str:
    """Return the rows as CSV with exact numbers; what does not exist is an empty field."""
    columns = list(Row.__annotations__)
    return csv_text(columns, [[dict(row)[column] for column in columns] for row in rows])


def _by_heading(cells: Sequence[Cell]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for cell in cells:
        groups.setdefault(_heading(cell.record), []).append(cell.row())
    return groups


def _sentences(rows: Sequence[Row]) -> list[str]:
    return [
        f"{row['method']} seed {row['seed']}: {fate(row['status'], row['reason'])}"
        for row in rows
        if row["reason"]
    ]


def _heading(record: RunRecord) -> str:
    target = "none" if record["target"] is None else f"{100 * record['target']:g} %"
    return in_a_line(
        record,
        f"{record['cohort_size']} of {record['num_clients']} clients a round",
        f"{metric_words(record['metric'])} in percent",
        f"target {target}",
    )


def _line(row: Row) -> list[str]:
    method = row["method"]
    if len(method) > _METHOD_WIDTH:
        method = method[: _METHOD_WIDTH - 1] + "…"
    reached = row["rounds_to_target"]
    return [
        method,
        str(row["seed"]),
        fate(row["status"]),
        str(row["rounds"]),
        units.fraction(row["value_last"]),
        units.fraction(row["value_best"]),
        units.fraction(row["value_mean_last"]),
        units.scaled(row["bytes_down"], "B"),
        units.scaled(row["bytes_up"], "B"),
        units.NONE if reached is None else f"{reached}",
        units.duration(row["seconds"]),
    ]
