"""A run folder's report: its numbers, made once from records alone, as files and as a page."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from gptfl_reports.claims.paper import claims
from gptfl_reports.claims.table import verdict_csv, verdict_table
from gptfl_reports.claims.verdicts import verdicts
from gptfl_reports.figures import holdings, holdings_figure
from gptfl_reports.figures.figures import Figures
from gptfl_reports.figures.holdings import Holdings
from gptfl_reports.numbers.board import Leaderboard, leaderboard
from gptfl_reports.page.page import page
from gptfl_reports.records.cells import Cell, in_order, read_cells
from gptfl_reports.records.errors import UsageError, unknown
from gptfl_reports.records.files import write_files
from gptfl_reports.tables import synthetic
from gptfl_reports.tables.ablations import ablations_csv, ablations_markdown
from gptfl_reports.tables.comparison import comparison_csv, comparison_markdown, ranks_csv
from gptfl_reports.tables.leaderboard import to_csv, to_latex, to_markdown
from gptfl_reports.tables.rounds import rounds_csv, rounds_markdown
from gptfl_reports.tables.secure import secrecy_csv, secrecy_markdown
from gptfl_reports.tables.synthetic import Described
from gptfl_reports.tables.table import markdown
from gptfl_reports.tables.table1 import Facts, observed, table1_csv, table1_markdown


@dataclass(frozen=True)
class Report:
    """What a report says of the cells of one run folder.

    Attributes:
        run_folder: The folder that the cells were read from.
        baseline: The method that all others are compared with.
        cells: The cells, by data set, method and seed.
        board: The leaderboard of the cells.
        figures: The panels of the leaderboard's figures.
        needs: What each method needs.
        held: Who holds what in each partition, by the stem of its files.
        looked: How good synthetic data are.
    """

    run_folder: Path
    baseline: str
    cells: tuple[Cell, ...]
    board: Leaderboard
    figures: Figures
    needs: tuple[Facts, ...]
    held: dict[str, Holdings]
    looked: tuple[Described, ...]

    @classmethod
    def of(cls, cells: Iterable[Cell], run_folder: Path, baseline: str = "fedavg") -> Self:
        """Return the report of some cells.

        Args:
            cells: At least one, in any order.
            run_folder: The folder that they were read from; what it no longer holds is left out.
            baseline: The method that all others are compared with.

        Raises:
            UsageError: If there is no cell of another baseline, or a partition or a description of
                synthetic data is damaged.
        """
        ordered = tuple(in_order(cells))
        known = {cell.record["method"] for cell in ordered}
        if baseline != "fedavg" and baseline not in known:
            raise unknown("baseline", baseline, known)
        board = leaderboard(ordered, baseline)
        return cls(
            run_folder,
            baseline,
            ordered,
            board,
            Figures.of(board),
            observed(ordered),
            holdings.read_all(run_folder, ordered),
            tuple(synthetic.described(run_folder, ordered)),
        )

    def page(self, back: str | None = None) -> str:
        """Return the report as one HTML page.

        Args:
            back: The way from the page to the run folder, such as ``../``; None if the page is not
                within it, and then does not link to records.
        """
        return page(
            self.cells,
            self.board,
            self.figures,
            self.needs,
            self.held,
            self.looked,
            self.run_folder.resolve().name,
            back,
            self.baseline,
        )

    def files(self) -> dict[str, bytes]:
        """Return all files but the page by name; empty ones where there is nothing to say."""
        board, looked = self.board, self.looked
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
            **_claims(self.cells),
            "secure.md": secrecy_markdown(board),
            "secure.csv": secrecy_csv(board),
            "table1.md": table1_markdown(self.needs),
            "table1.csv": table1_csv(self.needs),
            "synthetic.md": synthetic.synthetic_markdown(looked),
            "synthetic.csv": synthetic.synthetic_csv(looked) if looked else "",
        }
        files = {name: text.encode() for name, text in texts.items()} | self.figures.files()
        for stem, one in self.held.items():
            files |= holdings_figure.files(one, stem)
        return files | synthetic.sheet_files(looked)

    def write(self, out: Path) -> list[Path]:
        """Write files and page, and return the files written.

        All files are made before the first is written, and each is replaced whole. The same records
        give the same bytes. Figures are left out where there is nothing to draw, and those of an
        earlier report that no longer apply are removed.

        Args:
            out: Where to; made if missing.

        Raises:
            UsageError: If ``out`` can't be written to.
        """
        text = self.page(_back(self.run_folder, out))
        files = self.files() | {"index.html": text.encode()}
        # Names of these depend on what they show, so an earlier report may have left others.
        earlier = [
            path.relative_to(out).as_posix()
            for pattern in (holdings_figure.FILES, synthetic.SHEETS)
            for path in out.glob(pattern)
            if path.is_file()
        ]
        return write_files(out, dict.fromkeys(earlier, b"") | files)


def _claims(cells: Sequence[Cell]) -> dict[str, str]:
    """Return the verdicts on the paper's claims, those alone for which a pair of cells is there."""
    found = [v for v in verdicts(cells, claims()) if any(o.value for o in v.outcomes)]
    text = markdown(verdict_table(found), 1) if found else ""
    return {"claims.md": text, "claims.csv": verdict_csv(found) if found else ""}


def write_report(
    run_folder: Path,
    out: Path,
    baseline: str = "fedavg",
    damaged: Callable[[UsageError], None] | None = None,
) -> list[Path]:
    """Write the report of a run folder and return the files written.

    Args:
        run_folder: The folder that holds the cells.
        out: Where to; made if missing.
        baseline: The method that all others are compared with.
        damaged: Is told of each cell that can't be read, and the report is of the others; if left
            out, the first such cell is an error.

    Raises:
        UsageError: If there is no cell, or none of another baseline, a cell, a partition or a
            description of synthetic data is damaged, or ``out`` can't be written to.
    """
    return Report.of(read_cells(run_folder, damaged), run_folder, baseline).write(out)


def _back(run_folder: Path, out: Path) -> str | None:
    """Return the way from the page to the run folder it lies in, or None if it lies elsewhere."""
    run_folder, out = run_folder.resolve(), out.resolve()
    if not out.is_relative_to(run_folder):
        return None
    return "../" * len(out.relative_to(run_folder).parts)
