"""A run folder's report: every file of it, from the records alone."""

from pathlib import Path

from gptfl_bench.errors import UsageError
from gptfl_bench.records import read_cells
from gptfl_reports import curves
from gptfl_reports.ablations import ablations_csv, ablations_markdown
from gptfl_reports.leaderboard import leaderboard, to_csv, to_latex, to_markdown
from gptfl_reports.page import page
from gptfl_reports.rounds import rounds_csv, rounds_markdown
from gptfl_reports.table1 import observed, table1_csv, table1_markdown


def write_report(run_folder: Path, out: Path) -> list[Path]:
    """Write the report of a run folder and return the files written.

    All files are made before the first is written, and each is replaced whole. The same records
    give the same bytes. The curves are left out while no cell has finished.

    Args:
        run_folder: The folder that holds the cells.
        out: Where to; made if missing.

    Raises:
        UsageError: If there is no cell, a cell is damaged, or ``out`` can't be written to.
    """
    cells = read_cells(run_folder)
    board = leaderboard(cells)
    drawn = curves.panels(board)
    texts = {
        "leaderboard.md": to_markdown(board),
        "leaderboard.csv": to_csv(board),
        "leaderboard.tex": to_latex(board),
        "rounds.md": rounds_markdown(board),
        "rounds.csv": rounds_csv(board),
        "ablations.md": ablations_markdown(board),
        "ablations.csv": ablations_csv(board),
        "table1.md": table1_markdown(observed(cells)),
        "table1.csv": table1_csv(observed(cells)),
        "curves.csv": curves.curves_csv(drawn),
        "index.html": page(board, cells, run_folder.resolve().name),
    }
    files = {name: text.encode() for name, text in texts.items()}
    style = curves.styles(drawn)
    files["curves.svg"] = curves.svg(drawn, style).encode() if drawn else b""
    files["curves.png"] = curves.png(drawn, style) if drawn else b""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in [name for name, content in files.items() if not content]:
            # An older figure must not stand beside newer numbers.
            (out / name).unlink(missing_ok=True)
            del files[name]
        return [_write(out / name, content) for name, content in sorted(files.items())]
    except OSError as error:
        raise UsageError(
            f"the report can't be written to {str(out)!r} ({error.strerror}); give a folder that "
            "can be written to with --out."
        ) from error


def _write(path: Path, content: bytes) -> Path:
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    part.replace(path)
    return path
