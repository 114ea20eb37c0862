"""The report as one HTML file that needs nothing else: tables, curves, and how to rebuild it."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import resources

from gptfl_reports.drawing.figure import inline
from gptfl_reports.drawing.panels import Shown
from gptfl_reports.figures import (
    communication,
    curves,
    diversity,
    overfitting,
    pareto,
    phases,
    sweeps_figure,
)
from gptfl_reports.figures.figures import Figures
from gptfl_reports.figures.holdings import Holdings, holdings_table
from gptfl_reports.figures.holdings_figure import svg
from gptfl_reports.numbers.averaged import averaged
from gptfl_reports.numbers.board import Leaderboard
from gptfl_reports.numbers.tasks import data_title, sharing
from gptfl_reports.page.chart import Name, chart, names
from gptfl_reports.page.matrix import matrix, short_titles
from gptfl_reports.page.provenance import Origin, made, origins
from gptfl_reports.page.short_board import ShortBoard, short_board
from gptfl_reports.page.summary import question, sentences
from gptfl_reports.page.trained_pictures import trained_pictures
from gptfl_reports.records.cells import Cell
from gptfl_reports.tables.ablations import ablation_tables
from gptfl_reports.tables.comparison import comparison_tables, ranks_table, regimes_tables
from gptfl_reports.tables.leaderboard import leaderboard_tables
from gptfl_reports.tables.rounds import round_tables
from gptfl_reports.tables.secure import secrecy_tables
from gptfl_reports.tables.synthetic import Described, Strip, class_table, quality_table, strips
from gptfl_reports.tables.table import Table
from gptfl_reports.tables.table1 import Facts, table1

_DRAWN = 3
"""Tasks up to which a page has all figures."""


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
    ``dataset``, ``partition`` and ``model`` are what the page filters by, ``origins`` the cells
    behind the rows of ``board``, ``averaged`` over how many evaluations their values are. The first
    look is at ``question``, ``verdict``, ``chart`` with its names in ``groups``, and ``short``.
    """

    board: Table
    rounds: Table
    ablations: Table
    secrecy: Table
    comparison: Table
    origins: tuple[Origin, ...]
    averaged: str
    dataset: str
    partition: str
    model: str
    figure: str
    metric: str
    question: str
    verdict: list[str]
    short: ShortBoard
    chart: str
    groups: list[tuple[str, list[Name]]]
    overfitting: tuple[str, ...] = ()
    more: tuple[Shown, ...] = ()


@dataclass(frozen=True)
class Sheet:
    """What the page shows of one synthetic data set."""

    measures: Table
    classes: Table
    strips: tuple[Strip, ...]


def page(
    cells: Sequence[Cell],
    board: Leaderboard,
    figures: Figures,
    needs: Sequence[Facts],
    held: Mapping[str, Holdings],
    looked: Sequence[Described],
    name: str,
    back: str | None = None,
    options: str = "",
    between: Table | None = None,
) -> str:
    """Return the page.

    Args:
        cells: The cells, for what they were made with.
        board: The leaderboard of the cells.
        figures: The panels of the leaderboard's figures.
        needs: What each method needs.
        held: Who holds what in each partition, by the stem of its files.
        looked: How good synthetic data are.
        name: The run folder's name.
        back: The way from the page to the run folder, such as ``../``; None if the page is not
            within it, and then does not link to records.
        options: What the command that makes the report has besides the folder.
        between: Two run folders side by side; None if the cells are of one.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("gptfl_reports.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    sections = _sections(board, figures, back)
    drawn = any(section.chart for section in sections)
    names = ["uplot/uPlot.iife.min.js", "chart.js"] if drawn else []
    scripts = [_template_text(name) for name in (*names, "page.js")]
    styles = [_template_text(name) for name in ("uplot/uPlot.min.css", "page.css")]
    return environment.get_template("page.html.j2").render(
        name=name,
        rebuild=f"gptfl-bench report {name}{options}",
        policy=_policy(scripts),
        style=_markup("\n".join(styles)),
        scripts=[_markup(script) for script in scripts],
        choices=[
            ("Data set", "dataset", sorted({section.dataset for section in sections})),
            ("Partition", "partition", sorted({section.partition for section in sections})),
            ("Model", "model", sorted({section.model for section in sections})),
        ],
        sections=sections,
        titles=short_titles(board.rankings),
        matrix=matrix(board),
        between=between,
        regimes=regimes_tables(board),
        ranks=ranks_table(board),
        holdings=holdings_table(list(held.values())),
        drawings=_drawings(held),
        trained=trained_pictures(cells),
        sweeps=[
            _shown(one, f"sweeps-{n}", "Value against one setting, all else equal")
            for n, one in enumerate(sweeps_figure.FAMILY.shown(figures.sweeps))
        ],
        sheets=[Sheet(quality_table(one), class_table(one), strips(one)) for one in looked],
        table1=table1(needs),
        stamp=next((s.board.stamp for s in sections if s.board.stamp), ""),
        all_quick=all(s.board.stamp for s in sections),
        cells=len(cells),
        made=made(cells),
        commands=sorted({cell.record["command"] for cell in cells} - {""}),
    )


def _sections(board: Leaderboard, figures: Figures, back: str | None) -> list[Section]:
    style = curves.styles(figures.curves)
    learned = {
        panel.task.title: _figure(
            curves.svg([panel], style, "currentColor"), f"curves-{n}", "Learning curves"
        )
        for n, panel in enumerate(figures.curves)
    }
    trained = [
        (
            one.task.title,
            _figure(
                overfitting.svg([one], "currentColor"),
                f"overfitting-{n}",
                "Accuracy on synthetic and on real samples by epoch of pre-training",
            ),
        )
        for n, one in enumerate(figures.overfitting)
    ]
    more = _families(figures, len(board.rankings))
    return [
        Section(
            table,
            rounds,
            ablations,
            secrecy,
            comparison,
            origins(ranking, number, back),
            averaged(ranking.task.cells),
            data_title([cell.record for cell in ranking.task.cells]),
            sharing(ranking.task.cells[0].record),
            ranking.task.cells[0].record["model"]["name"],
            learned.get(ranking.task.title, ""),
            ranking.task.metric,
            question(ranking),
            sentences(ranking),
            short_board(ranking),
            _markup(chart(ranking, style)),
            names(ranking, style),
            tuple(figure for title, figure in trained if title == ranking.task.title),
            tuple(one for title, one in more if title == ranking.task.title),
        )
        for number, (ranking, table, rounds, ablations, secrecy, comparison) in enumerate(
            zip(
                board.rankings,
                leaderboard_tables(board),
                round_tables(board),
                ablation_tables(board),
                secrecy_tables(board),
                comparison_tables(board),
                strict=True,
            ),
            1,
        )
    ]


def _drawings(held: Mapping[str, Holdings]) -> list[Drawing]:
    return [
        Drawing(
            holdings.title,
            _figure(svg(holdings, "currentColor"), f"holdings-{n}", "Who holds what"),
            stem,
        )
        for n, (stem, holdings) in enumerate(held.items())
    ]


def _families(figures: Figures, tasks: int) -> list[tuple[str, Shown]]:
    """Return the figures that each family has for a task, by the task's title.

    On a page of many tasks only the first family is drawn, for that takes longest; files have all.
    """
    families = (
        (
            "communication",
            partial(communication.FAMILY.shown, figures.communication),
            "What was sent until the target",
        ),
        ("pareto", partial(pareto.FAMILY.shown, figures.pareto), "Value against bytes sent"),
        (
            "diversity",
            partial(diversity.FAMILY.shown, figures.diversity),
            "Gradient diversity by round",
        ),
        ("phases", partial(phases.FAMILY.shown, figures.phases), "Seconds by phase"),
    )
    return [
        (one.title, _shown(one, f"{name}-{n}", label))
        for name, shown, label in families[: None if tasks <= _DRAWN else 1]
        for n, one in enumerate(shown())
    ]


def _shown(one: Shown, name: str, label: str) -> Shown:
    return one._replace(svg=_figure(one.svg, name, label))


def _figure(drawing: str, name: str, label: str) -> str:
    # The figure's texts are escaped by the SVG writer.
    return _markup(inline(drawing, name, label))


def _markup(text: str) -> str:
    from markupsafe import Markup

    return Markup(text)


def _template_text(name: str) -> str:
    return (resources.files("gptfl_reports.page") / "templates" / name).read_text(encoding="utf-8")


def _policy(scripts: Sequence[str]) -> str:
    """Return the page's content security policy: no request, and no script but its own."""
    digests = [hashlib.sha256(script.encode()).digest() for script in scripts]
    own = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {own}; style-src 'unsafe-inline'; "
        "img-src data:; media-src data:; base-uri 'none'; form-action 'none'"
    )
