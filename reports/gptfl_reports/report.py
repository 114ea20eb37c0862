"""A run folder's report: every file of it, from the records alone."""

from pathlib import Path

from gptfl_reports.figures import (
    communication,
    curves,
    diversity,
    holdings,
    holdings_figure,
    overfitting,
    pareto,
    phases,
    sweeps_figure,
)
from gptfl_reports.numbers.board import leaderboard
from gptfl_reports.page.page import page
from gptfl_reports.records.cells import read_cells
from gptfl_reports.records.errors import unknown
from gptfl_reports.records.files import write_files
from gptfl_reports.tables import synthetic
from gptfl_reports.tables.ablations import ablations_csv, ablations_markdown
from gptfl_reports.tables.comparison import comparison_csv, comparison_markdown, ranks_csv
from gptfl_reports.tables.leaderboard import to_csv, to_latex, to_markdown
from gptfl_reports.tables.rounds import rounds_csv, rounds_markdown
from gptfl_reports.tables.secure import secrecy_csv, secrecy_markdown
from gptfl_reports.tables.table1 import observed, table1_csv, table1_markdown


def write_report(run_folder: Path, out: Path, baseline: str = "fedavg") -> list[Path]:
    """Write the report of a run folder and return the files written.

    All files are made before the first is written, and each is replaced whole. The same records
    give the same bytes. Figures are left out where there is nothing to draw.

    Args:
        run_folder: The folder that holds the cells.
        out: Where to; made if missing.
        baseline: The method that all others are compared with.

    Raises:
        UsageError: If there is no cell, or none of another baseline, a cell, a partition or a
            description of synthetic data is damaged, or ``out`` can't be written to.
    """
    cells = read_cells(run_folder)
    known = {cell.record["method"] for cell in cells}
    if baseline != "fedavg" and baseline not in known:
        raise unknown("baseline", baseline, known)
    board = leaderboard(cells, baseline)
    drawn = curves.panels(board)
    trained = overfitting.pretrainings(board)
    held = holdings.read_all(run_folder, cells)
    looked = synthetic.described(run_folder, cells)
    texts = {
        "leaderboard.md": to_markdown(board),
        "leaderboard.csv": to_csv(board),
        "leaderboard.tex": to_latex(board),
        "rounds.md": rounds_markdown(board),
        "rounds.csv": rounds_csv(board),
        "ablations.md": ablations_markdown(board),
        "ablations.csv": ablations_csv(board),
        "comparison.md": comparison_markdown(board),
        "comparison.csv": comparison_csv(board),
        "ranks.csv": ranks_csv(board),
        "secure.md": secrecy_markdown(board),
        "secure.csv": secrecy_csv(board),
        "table1.md": table1_markdown(observed(cells)),
        "table1.csv": table1_csv(observed(cells)),
        "curves.csv": curves.curves_csv(drawn),
        "overfitting.csv": overfitting.overfitting_csv(trained) if trained else "",
        "synthetic.md": synthetic.synthetic_markdown(looked),
        "synthetic.csv": synthetic.synthetic_csv(looked) if looked else "",
        "index.html": page(
            board, cells, run_folder.resolve().name, held, looked, _back(run_folder, out), baseline
        ),
    }
    files = {name: text.encode() for name, text in texts.items()}
    style = curves.styles(drawn)
    files["curves.svg"] = curves.svg(drawn, style).encode() if drawn else b""
    files["curves.png"] = curves.png(drawn, style) if drawn else b""
    files["overfitting.svg"] = overfitting.svg(trained).encode() if trained else b""
    files["overfitting.png"] = overfitting.png(trained) if trained else b""
    for family in (communication, diversity, pareto, phases, sweeps_figure):
        files |= family.files(board)
    for stem, one in held.items():
        files |= holdings_figure.files(one, stem)
    return write_files(out, files | synthetic.sheet_files(looked))


def _back(run_folder: Path, out: Path) -> str | None:
    """Return the way from the page to the run folder it lies in, or None if it lies elsewhere."""
    run_folder, out = run_folder.resolve(), out.resolve()
    if not out.is_relative_to(run_folder):
        return None
    return "../" * len(out.relative_to(run_folder).parts)
