"""A table of texts and its renderings: Markdown, LaTeX, terminal and CSV.

HTML is made by the page's template from the same object.
"""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Entry:
    """One field of a table.

    Attributes:
        text: What it says.
        detail: What is written smaller behind or below it.
        strong: Whether it is set in bold.
        mark: A sign after the text that the table's notes explain.
        second: Whether it is underlined, where that can be shown.
        order: The number behind the text, by which the page sorts; None where it has none.
    """

    text: str
    detail: str = ""
    strong: bool = False
    mark: str = ""
    second: bool = False
    order: float | None = None


@dataclass(frozen=True)
class Column:
    """What a column is called and how it is set; ``wide`` columns hold sentences and wrap."""

    key: str
    title: str
    align: Literal["left", "right", "wide"] = "right"


@dataclass(frozen=True)
class Table:
    """A table with a caption.

    Attributes:
        title: First line of the caption.
        columns: The columns; the first names the row.
        rows: Rows of as many entries as there are columns.
        notes: Further sentences of the caption.
        stamp: A warning that goes before the title; empty for none.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Entry, ...], ...]
    notes: tuple[str, ...] = ()
    stamp: str = ""

    def select(self, keys: Iterable[str]) -> "Table":
        """Return the table with only the columns of these keys, in the table's order."""
        wanted = set(keys)
        kept = [i for i, column in enumerate(self.columns) if column.key in wanted]
        return replace(
            self,
            columns=tuple(self.columns[i] for i in kept),
            rows=tuple(tuple(row[i] for i in kept) for row in self.rows),
        )


def markdown(table: Table, level: int = 2) -> str:
    """Return the table as GitHub Markdown under a heading of ``level``."""
    from tabulate import tabulate

    def text(entry: Entry) -> str:
        body = markdown_text(entry.text)
        body = f"**{body}**" if entry.strong else body
        detail = f" ({markdown_text(entry.detail)})" if entry.detail else ""
        return f"{body}{entry.mark}{detail}"

    lines = [f"{'#' * level} {markdown_text(table.title)}", ""]
    if table.stamp:
        lines += [f"**{markdown_text(table.stamp)}**", ""]
    grid = tabulate(
        [[text(entry) for entry in row] for row in table.rows],
        headers=[markdown_text(column.title) for column in table.columns],
        tablefmt="pipe",
        disable_numparse=True,
        colalign=["right" if c.align == "right" else "left" for c in table.columns],
    )
    notes = [f"- {markdown_text(note)}" for note in table.notes]
    return "\n".join([*lines, grid, "", *notes]).rstrip() + "\n"


def markdown_text(text: str) -> str:
    """Return ``text`` so that Markdown shows it as it is, in one line."""
    text = re.sub(r"([\\`*\[\]<>|#~])", r"\\\1", " ".join(text.split()))
    # Within a word GitHub takes no underscore for emphasis, and names are full of them.
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)


_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "_": r"\_",
    "%": r"\%",
    "&": r"\&",
    "#": r"\#",
    "$": r"\$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "[": "{[}",  # else it is taken for the argument of the line break before it
    "]": "{]}",
    "±": r"\ensuremath{\pm}",
    "\N{MINUS SIGN}": r"\ensuremath{-}",
    "\N{MULTIPLICATION SIGN}": r"\ensuremath{\times}",
    "†": r"\textsuperscript{\textdagger}",
    "·": r"\textperiodcentered{}",
    "\N{EN DASH}": "--",
    "…": r"\dots{}",
}


def latex_text(text: str) -> str:
    """Return ``text`` with every character escaped that LaTeX gives a meaning."""
    return "".join(_LATEX.get(char, char) for char in " ".join(text.split()))


def latex(table: Table) -> str:
    """Return the table as a LaTeX float; needs the packages booktabs and graphicx."""

    def text(entry: Entry) -> str:
        body = latex_text(entry.text)
        body = rf"\textbf{{{body}}}" if entry.strong else body
        body = rf"\underline{{{body}}}" if entry.second else body
        detail = f" ({latex_text(entry.detail)})" if entry.detail else ""
        return f"{body}{latex_text(entry.mark)}{detail}"

    align = {"left": "l", "right": "r", "wide": "p{5cm}"}
    stamp = rf"\textbf{{{latex_text(table.stamp)}}}. " if table.stamp else ""
    notes = " ".join(latex_text(note) for note in table.notes)
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{stamp}{latex_text(table.title)}. {notes}}}",
            r"\centering",
            r"\resizebox{\linewidth}{!}{%",
            rf"\begin{{tabular}}{{{''.join(align[c.align] for c in table.columns)}}}",
            r"\toprule",
            " & ".join(latex_text(column.title) for column in table.columns) + r" \\",
            r"\midrule",
            *(" & ".join(text(entry) for entry in row) + r" \\" for row in table.rows),
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
            "",
        ]
    )


def terminal(table: Table, width: int = 120, *, color: bool = False) -> str:
    """Return the table for a terminal of ``width`` characters, its notes below it.

    Details are left out; what is in brackets in a column's title goes on a second line.

    Args:
        table: What to show.
        width: Characters in a line; texts wrap, numbers do not.
        color: Whether to write codes for bold and colour.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False)
    for column in table.columns:
        numbers = column.align == "right"
        grid.add_column(
            Text(column.title.replace(" (", "\n(")),
            justify="right" if numbers else "left",
            overflow="ellipsis" if numbers else "fold",
            no_wrap=numbers,
        )
    for row in table.rows:
        grid.add_row(
            *(Text(entry.text + entry.mark, "bold" if entry.strong else "") for entry in row)
        )
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=color,
        color_system="standard" if color else None,
        legacy_windows=False,
    )
    with console.capture() as shown:
        if table.stamp:
            console.print(Text(table.stamp, style="bold red"))
        console.print(Text(table.title, style="bold"))
        console.print(grid)
        for note in table.notes:
            console.print(Text(note, style="dim"))
    lines = [line.rstrip() for line in shown.get().splitlines()]
    return "\n".join(lines).rstrip() + "\n"


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return rows as CSV with a header; None is an empty field, truth is ``true``/``false``."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_field(value) for value in row])
    return out.getvalue()


def _field(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else value
