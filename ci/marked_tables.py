"""Tables in pages, between marks, so that a script makes them anew.

A mark is ``<!-- table: NAME -->``. What stands from there to ``<!-- end -->`` is the table.
"""

import re

from gptfl_reports.tables.table import Table, markdown

_MARKED = re.compile(r"(<!-- table: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def marks(text: str) -> list[str]:
    """Return the names of a page's marks."""
    return [found[2] for found in _MARKED.finditer(text)]


def filled(text: str, by_name: dict[str, Table]) -> str:
    """Return a page with every marked table made anew.

    Raises:
        KeyError: If there is no table of a mark's name.
    """
    return _MARKED.sub(lambda m: f"{m[1]}{_body(by_name[m[2]])}{m[3]}", text)


def _body(table: Table) -> str:
    """Return the table and its notes without the heading."""
    return markdown(table).partition("\n")[2].strip("\n") + "\n"
