"""The report as one HTML file that needs nothing else: tables, curves, and how to rebuild it."""

from collections.abc import Sequence
from dataclasses import dataclass

from gptfl_bench.records import Cell
from gptfl_reports import curves
from gptfl_reports.ablations import ablation_tables
from gptfl_reports.leaderboard import Leaderboard
from gptfl_reports.rounds import round_tables
from gptfl_reports.table1 import observed, table1
from gptfl_reports.tables import Table


@dataclass(frozen=True)
class Section:
    """What the page shows of one task; ``figure`` is SVG markup, empty if nothing finished."""

    board: Table
    rounds: Table
    ablations: Table
    figure: str


def page(board: Leaderboard, cells: Sequence[Cell], name: str) -> str:
    """Return the page.

    Args:
        board: The leaderboard of the cells.
        cells: The cells, for what they were made with.
        name: The run folder's name.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    drawn = curves.panels(board)
    style = curves.styles(drawn)
    figures = {
        # The figure's texts are escaped by the SVG writer.
        panel.task.title: Markup(_inline(curves.svg([panel], style, "currentColor")))
        for panel in drawn
    }
    sections = [
        Section(table, rounds, ablations, figures.get(ranking.task.title, ""))
        for ranking, table, rounds, ablations in zip(
            board.rankings, board.tables, round_tables(board), ablation_tables(board), strict=True
        )
    ]
    environment = Environment(
        loader=PackageLoader("gptfl_reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    records = [cell.record for cell in cells]
    return environment.get_template("page.html.j2").render(
        name=name,
        sections=sections,
        table1=table1(observed(cells)),
        stamp=next((s.board.stamp for s in sections if s.board.stamp), ""),
        all_quick=all(s.board.stamp for s in sections),
        cells=len(cells),
        made={
            "Versions": sorted({f"{k} {v}" for r in records for k, v in r["versions"].items()}),
            "Commit": sorted({r["commit"] or "unknown" for r in records}),
            "Device": sorted({f"{r['device']}, {r['machine']}" for r in records}),
        },
        commands=sorted({r["command"] for r in records if r["command"]}),
    )


def _inline(svg: str) -> str:
    """Return the ``<svg>`` element alone, sized by the page."""
    element = svg[svg.index("<svg") :]
    head, rest = element.split(">", 1)
    kept = [part for part in head.split() if not part.startswith(("width=", "height="))]
    return f'{" ".join(kept)} role="img" aria-label="Learning curves">{rest}'
