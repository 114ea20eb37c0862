"""The LaTeX tables go through LaTeX; skipped where there is none."""

import shutil
import subprocess
from pathlib import Path

import pytest

from gptfl_reports.numbers.board import leaderboard
from gptfl_reports.records.cells import read_cells
from gptfl_reports.tables.beside import Measured, write
from gptfl_reports.tables.leaderboard import to_latex

RUNS = Path(__file__).parent / "golden" / "runs"


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    """Return a folder with a table of each kind."""
    (tmp_path / "leaderboard.tex").write_text(to_latex(leaderboard(read_cells(RUNS))))
    model = r"a_b & c% $x$ #1 {y} ~^\z"
    odd = Measured("table5", "CIFAR-10", model, "", "FedAvg", (0.5, 0.6), "", "", "accuracy")
    write([odd], "cpu", tmp_path, "beside")
    return tmp_path


@pytest.mark.parametrize("table", ["leaderboard", "beside"])
def test_a_table_compiles(pages: Path, table: str) -> None:
    program = shutil.which("pdflatex") or shutil.which("tectonic")
    if program is None:
        pytest.skip("neither pdflatex nor tectonic is installed")
    lines = [
        r"\documentclass{article}",
        r"\usepackage[T1]{fontenc}",
        r"\usepackage{booktabs,graphicx}",
        r"\begin{document}",
        rf"\input{{{table}.tex}}",
        r"\end{document}",
    ]
    (pages / "paper.tex").write_text("\n".join(lines))
    options = ["-interaction=nonstopmode", "-halt-on-error"] if "pdflatex" in program else []
    done = subprocess.run(
        [program, *options, "paper.tex"], cwd=pages, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert (pages / "paper.pdf").stat().st_size > 5000
