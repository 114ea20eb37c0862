"""Cells one a line, as they are, finished or not: the table and the CSV of ``results``."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from gptfl_reports.numbers.tasks import cohort, fate, group, in_a_line, metric_words, regime_words
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
        names = _names(members)
        grid = tabulate(
            [_line(names[label], row) for label, row in members],
            headers=_HEADERS,
            tablefmt="simple",
            disable_numparse=True,
            colalign=("left", "right", "left", *["right"] * 8),
        )
        sentences = [*_legend(names), *_sentences(members)]
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
        names = _names(members)
        for label, row in members:
            style = _STYLES.get(row["status"], "red")
            texts = [Text(text) for text in _line(names[label], row)]
            texts[2].stylize(style)
            table.add_row(*texts)
        sentences = [*_legend(names), *_sentences(members)]
        parts += [table, *(Text(sentence, style="dim") for sentence in sentences)]
    return Group(*parts) if parts else Group(Text("no cells"))


def rows_csv(rows: Iterable[Row]) -> str:
    """Return the rows as CSV with exact numbers; what does not exist is an empty field."""
    columns = list(Row.__annotations__)
    return csv_text(columns, [[dict(row)[column] for column in columns] for row in rows])


Labelled = list[tuple[str, Row]]
"""Rows, each with its method's name and what sets it apart where a task has it more than once."""


def _by_heading(cells: Sequence[Cell]) -> dict[str, Labelled]:
    labels = {
        cell.folder: entrant.label
        for task in group(cells)
        for entrant in task.entrants
        for cell in entrant.cells
    }
    groups: dict[str, Labelled] = {}
    for cell in cells:
        groups.setdefault(_heading(cell.record), []).append((labels[cell.folder], cell.row()))
    return groups


def _names(rows: Labelled) -> dict[str, str]:
    """Return a name that fits into the column for each label; numbered ones are explained below."""
    names: dict[str, str] = {}
    for label, row in rows:
        if len(label) <= _METHOD_WIDTH:
            names[label] = label
        elif label not in names:
            short = label[: _METHOD_WIDTH - 1] + "…"
            number = f" [{len(names) + 1}]"
            alone = label == row["method"] and short not in names.values()
            names[label] = short if alone else label[: _METHOD_WIDTH - len(number)] + number
    return names


def _legend(names: dict[str, str]) -> list[str]:
    return [f"{name}: {label}" for label, name in names.items() if name.endswith("]")]


def _sentences(rows: Labelled) -> list[str]:
    lost = "in {} of {} rounds too few clients stayed, so nothing was learnt"
    reasons = [
        *((label, row, fate(row["status"], row["reason"])) for label, row in rows if row["reason"]),
        *(
            (label, row, lost.format(row["rounds_lost"], row["rounds"]))
            for label, row in rows
            if 0 < row["rounds_lost"] < row["rounds"]
        ),
    ]
    return [f"{label} seed {row['seed']}: {words}" for label, row, words in reasons]


def _heading(record: RunRecord) -> str:
    target = "none" if record["target"] is None else f"{100 * record['target']:g} %"
    return in_a_line(
        record,
        f"{cohort(record)} a round" + regime_words(record, ", {}"),
        f"{metric_words(record['metric'])} in percent",
        f"target {target}",
    )


def _line(name: str, row: Row) -> list[str]:
    reached = row["rounds_to_target"]
    return [
        name,
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
