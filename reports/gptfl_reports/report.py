"""A run folder's report: its numbers, made once from records alone, as files and as a page."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from gptfl_reports.between import Comparison, between_csv, between_table, compare
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
        folders: All folders, in the order given; empty for the run folder alone.
        target: What counts as reached in place of the cells' own target; None for that.
        between: Two folders side by side; None in a report of one, or of more.
    """

    run_folder: Path
    baseline: str
    cells: tuple[Cell, ...]
    board: Leaderboard
    figures: Figures
    needs: tuple[Facts, ...]
    held: dict[str, Holdings]
    looked: tuple[Described, ...]
    folders: tuple[Path, ...] = ()
    target: float | None = None
    between: Comparison | None = None

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
        by_folder: dict[Path, list[Cell]] = {}
        for cell in ordered:
            by_folder.setdefault(cell.folder.parent, []).append(cell)
        held: dict[str, Holdings] = {}
        looked: list[Described] = []
        for folder, own in by_folder.items():
            held |= holdings.read_all(folder, own)
            looked += synthetic.described(folder, own)
        figures, needs = Figures.of(board), observed(ordered)
        return cls(run_folder, baseline, ordered, board, figures, needs, held, tuple(looked))

    @classmethod
    def of_folders(
        cls,
        folders: Sequence[Path],
        baseline: str = "fedavg",
        target: float | None = None,
        damaged: Callable[[UsageError], None] | None = None,
    ) -> Self:
        """Return the report of one run folder, or of several together.

        Args:
            folders: The folders. Where several hold the same cell, the last one's counts.
            baseline: The method that all others are compared with.
            target: Value in (0, 1] that counts as reached, in place of the cells' own.
            damaged: Is told of each cell that can't be read, and the report is of the others; if
                left out, the first such cell is an error.

        Raises:
            UsageError: As for :meth:`of`, or if a folder holds no cell, or the target is no share.
        """
        if target is not None and not 0 < target <= 1:
            raise UsageError(f"--target {target:g} must be more than 0 and at most 1, such as 0.5.")
        read = [read_cells(folder, damaged) for folder in folders]
        if target is not None:
            read = [[_aimed(cell, target) for cell in cells] for cells in read]
        merged = {cell.record["run_id"]: cell for cells in read for cell in cells}
        report = cls.of(merged.values(), folders[-1], baseline)
        report = replace(report, folders=tuple(folders), target=target)
        if len(folders) != 2:
            return report
        first, second = (_called(folder, folders) for folder in folders)
        return replace(report, between=compare(read[0], read[1], (first, second)))

    @property
    def _names(self) -> str:
        """The names of the folders that cells are from, as a command has them."""
        return " ".join(folder.resolve().name for folder in self.folders or (self.run_folder,))

    @property
    def _options(self) -> str:
        """What a command needs besides to make the same report."""
        baseline = "" if self.baseline == "fedavg" else f" --baseline {self.baseline}"
        return baseline + ("" if self.target is None else f" --target {self.target:g}")

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
            self._names,
            back,
            self._options,
            between_table(self.between) if self.between else None,
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
            **_between(self.between),
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
        text = self.page(_back(self.run_folder, out) if len(self.folders) < 2 else None)
        # In some locales Python keeps the bytes of a folder's name or a command as lone surrogates.
        files = self.files() | {"index.html": text.encode("utf-8", "surrogateescape")}
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


def _aimed(cell: Cell, target: float) -> Cell:
    """Return a cell with another target."""
    record = cell.record.copy()
    record["target"] = target
    return replace(cell, record=record)


def _called(folder: Path, folders: Sequence[Path]) -> str:
    """Return a folder's name, or its whole path where two have the same name."""
    names = [one.resolve().name for one in folders]
    name = folder.resolve().name
    return name if names.count(name) == 1 else str(folder)


def _between(comparison: Comparison | None) -> dict[str, str]:
    """Return two folders side by side; empty files if there are no two."""
    if comparison is None:
        return {"between.md": "", "between.csv": ""}
    table = markdown(between_table(comparison), 1)
    return {"between.md": table, "between.csv": between_csv(comparison)}


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
        baseline: As for :meth:`Report.of_folders`.
        damaged: As for :meth:`Report.of_folders`.

    Raises:
        UsageError: As for :meth:`Report.of_folders`, or if ``out`` can't be written to.
    """
    return Report.of_folders([run_folder], baseline, damaged=damaged).write(out)


def _back(run_folder: Path, out: Path) -> str | None:
    """Return the way from the page to the run folder it lies in, or None if it lies elsewhere."""
    run_folder, out = run_folder.resolve(), out.resolve()
    if not out.is_relative_to(run_folder):
        return None
    return "../" * len(out.relative_to(run_folder).parts)
