"""The report as one HTML file that needs nothing else: tables, curves, and how to rebuild it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gptfl_bench.records import Cell
from gptfl_reports import curves, overfitting
from gptfl_reports.ablations import ablation_tables
from gptfl_reports.figures import inline
from gptfl_reports.holdings import Holdings, holdings_table
from gptfl_reports.holdings_figure import svg
from gptfl_reports.leaderboard import Leaderboard
from gptfl_reports.rounds import round_tables
from gptfl_reports.secrecy import secrecy_tables
from gptfl_reports.synthetic import Described, Strip, class_table, quality_table, strips
from gptfl_reports.table1 import observed, table1
from gptfl_reports.tables import Table


@dataclass(frozen=True)
class Drawing:
    """Who holds what in one partition; ``figure`` is SVG markup, ``stem`` that of its files."""

    title: str
    figure: str
    stem: str


@dataclass(frozen=True)
class Section:
    """What the page shows of one task.

    Figures are SVG markup; ``figure``, the learning curves, is empty if nothing finished.
    """

    board: Table
    rounds: Table
    ablations: Table
    secrecy: Table
    figure: str
    metric: str
    overfitting: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sheet:
    """What the page shows of one synthetic data set."""

    measures: Table
    classes: Table
    strips: tuple[Strip, ...]


def page(
    board: Leaderboard,
    cells: Sequence[Cell],
    name: str,
    held: Mapping[str, Holdings],
    looked: Sequence[Described],
) -> str:
    """Return the page.

    Args:
        board: The leaderboard of the cells.
        cells: The cells, for what they were made with.
        name: The run folder's name.
        held: Who holds what in each partition, by the stem of its files.
        looked: How good synthetic data are.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    drawn = curves.panels(board)
    style = curves.styles(drawn)
    figures = {
        # The figure's texts are escaped by the SVG writer.
        panel.task.title: Markup(
            inline(curves.svg([panel], style, "currentColor"), f"curves-{n}", "Learning curves")
        )
        for n, panel in enumerate(drawn)
    }
    trained = [
        (
            one.task.title,
            Markup(
                inline(
                    overfitting.svg([one], "currentColor"),
                    f"overfitting-{n}",
                    "Accuracy on synthetic and on real samples by epoch of pre-training",
                )
            ),
        )
        for n, one in enumerate(overfitting.pretrainings(board))
    ]
    sections = [
        Section(
            table,
            rounds,
            ablations,
            secrecy,
            figures.get(ranking.task.title, ""),
            ranking.task.metric,
            tuple(figure for title, figure in trained if title == ranking.task.title),
        )
        for ranking, table, rounds, ablations, secrecy in zip(
            board.rankings,
            board.tables,
            round_tables(board),
            ablation_tables(board),
            secrecy_tables(board),
            strict=True,
        )
    ]
    drawings = [
        Drawing(
            holdings.title,
            Markup(inline(svg(holdings, "currentColor"), f"holdings-{n}", "Who holds what")),
            stem,
        )
        for n, (stem, holdings) in enumerate(held.items())
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
        holdings=holdings_table(list(held.values())),
        drawings=drawings,
        sheets=[Sheet(quality_table(one), class_table(one), strips(one)) for one in looked],
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
