"""Results in a notebook: the cells of a run as tables, curves, comparisons, a plot and a report.

Everything is computed from records, as in a report, and nothing here needs torch.
"""

import warnings
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, get_args, overload

from gptfl_reports.figures import curves
from gptfl_reports.numbers.board import leaderboard
from gptfl_reports.numbers.tasks import group, sharing
from gptfl_reports.records.cells import Cell, read_cells
from gptfl_reports.records.errors import UsageError, unknown
from gptfl_reports.records.events import Status
from gptfl_reports.records.schema import Row
from gptfl_reports.report import Report
from gptfl_reports.tables.comparison import differences
from gptfl_reports.tables.leaderboard import to_html, to_line

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def read(folder: str | Path) -> "Results":
    """Return the results of a run folder, cells that have not ended included.

    A damaged cell is left out with a warning.

    Raises:
        UsageError: If the folder holds no cells.
    """

    def warn(error: UsageError) -> None:
        warnings.warn(str(error), stacklevel=4)

    return Results(read_cells(Path(folder).expanduser(), warn))


class Results:
    """Cells of a run, ``cells`` in the order given; iterating gives them one by one.

    Values are fractions in [0, 1]. Where a task has a method more than once, its name says what
    sets it apart.

    Args:
        cells: The cells.
        keep: Held for as long as the results are, such as the temporary folder of the cells.
    """

    def __init__(self, cells: Iterable[Cell], keep: object = None) -> None:
        self.cells = tuple(cells)
        self._keep = keep

    @property
    def rows(self) -> "pd.DataFrame":
        """One row a cell, with the columns of ``gptfl-bench results``."""
        return _frame([cell.row() for cell in self.cells], list(Row.__annotations__))

    @overload
    def __getitem__(self, column: str) -> "pd.Series": ...

    @overload
    def __getitem__(self, column: list[str]) -> "pd.DataFrame": ...

    def __getitem__(self, column: str | list[str]) -> "pd.Series | pd.DataFrame":
        """Return a column of the rows, or several."""
        return self.rows[column]

    def __len__(self) -> int:
        """Return the number of cells, which is that of rows."""
        return len(self.cells)

    def __iter__(self) -> Iterator[Cell]:
        """Return the cells one by one."""
        return iter(self.cells)

    def __repr__(self) -> str:
        """Return how many cells of what, and for a single task each method's value in percent."""
        board = leaderboard(self.cells)
        values = to_line(board.rankings[0]) if len(board.rankings) == 1 else ""
        return f"Results: {self._counts()}{values and '; '}{values}"

    def _repr_html_(self) -> str:
        """Return the leaderboards as HTML tables, values in percent."""
        return f"<p>Results: {self._counts()}</p>\n{to_html(leaderboard(self.cells))}"

    def select(
        self,
        *,
        method: str | Collection[str] | None = None,
        dataset: str | Collection[str] | None = None,
        task: str | Collection[str] | None = None,
        seed: int | Collection[int] | None = None,
        status: Status | Collection[Status] | None = None,
    ) -> "Results":
        """Return the results of some of the cells; what is left out is not asked about.

        Args:
            method: Names of methods.
            dataset: Names of data sets.
            task: Tasks in a line, as in :meth:`leaderboard`.
            seed: Seeds.
            status: What became of the cells, for example ``"finished"``.

        Raises:
            UsageError: If no cell has a name or seed, or a status does not exist.
        """
        asked = {"method": method, "dataset": dataset, "task": task, "seed": seed, "status": status}
        wanted = {kind: _each(names) for kind, names in asked.items() if names is not None}
        tasks = {id(cell): one.title for one in group(self.cells) for cell in one.cells}
        named: list[dict[str, object]] = [{**c.row(), "task": tasks[id(c)]} for c in self.cells]
        for kind, names in wanted.items():
            known = set(get_args(Status)) if kind == "status" else {own[kind] for own in named}
            missing = sorted(map(str, set(names) - known))
            if missing:
                raise unknown(kind, missing[0], map(str, known))
        chosen = [
            cell
            for cell, own in zip(self.cells, named, strict=True)
            if all(own[kind] in names for kind, names in wanted.items())
        ]
        return Results(chosen, self._keep)

    def curves(self) -> "pd.DataFrame":
        """Return one row an evaluation, of every cell, whatever became of it.

        Returns:
            Columns ``method seed round metric value bytes``; where there are several tasks also
            ``dataset partition task``. ``bytes`` are those of tensors that the whole cohort sent
            and received until then, without what clients are handed a single time.
        """
        tasks = group(self.cells)
        lines = [
            (
                *(entrant.label, cell.record["seed"], number, cell.record["metric"], value, sent),
                *(cell.record["dataset"]["name"], sharing(cell.record), task.title),
            )
            for task in tasks
            for entrant in task.entrants
            for cell in entrant.cells
            for number, value, sent in _points(cell)
        ]
        own = ["method", "seed", "round", "metric", "value", "bytes"]
        frame = _frame(lines, [*own, "dataset", "partition", "task"])
        return frame if len(tasks) > 1 else frame[own]

    def leaderboard(self) -> "pd.DataFrame":
        """Return one row a task and method, as the report ranks them.

        Returns:
            Columns ``task method n mean spread``: the mean of the last evaluations over the ``n``
            finished cells, and its sample standard deviation; not a number where there is none.
        """
        lines = [
            (ranking.task.title, s.entrant.label, s.n)
            + ((s.mean_last.mean, s.mean_last.sd) if s.mean_last else (None, None))
            for ranking in leaderboard(self.cells).rankings
            for s in ranking.standings
        ]
        return _frame(lines, ["task", "method", "n", "mean", "spread"], ["mean", "spread"])

    def compare(self, baseline: str = "fedavg") -> "pd.DataFrame":
        """Return each method minus a baseline, paired by seed, in the mean of the last evaluations.

        Args:
            baseline: The method that the others are compared with; a task that does not have it
                exactly once is left out.

        Returns:
            Columns ``task method n difference low high``: the mean over the ``n`` seeds that
            finished in both, and its 95 % interval by Student's t, which needs two.

        Raises:
            UsageError: If no cell is of the baseline.
        """
        known = {cell.record["method"] for cell in self.cells}
        if baseline not in known:
            raise unknown("baseline", baseline, known)
        lines = [
            (ranking.task.title, one.method, one.seeds, one.mean, *(one.by_t or (None, None)))
            for ranking in leaderboard(self.cells, baseline).rankings
            for one in differences(ranking)
        ]
        numbers = ["difference", "low", "high"]
        return _frame(lines, ["task", "method", "n", *numbers], numbers)

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the learning curves of a task's finished cells: mean and ±1 standard deviation.

        Args:
            ax: Where to; new axes if left out.

        Returns:
            The axes.

        Raises:
            UsageError: If there are several tasks, or no cell has finished.
        """
        drawn = curves.panels(leaderboard(self.cells))
        if len(drawn) > 1:
            titles = "; ".join(repr(panel.task.title) for panel in drawn)
            raise UsageError(
                f"a plot shows one task, not {len(drawn)}; select(task=...): {titles}."
            )
        if not drawn:
            raise UsageError("no cell has finished, so there is nothing to plot.")
        if ax is None:
            from matplotlib import pyplot

            _, ax = pyplot.subplots(layout="constrained")
        curves.draw(ax, drawn[0], curves.styles(drawn))
        ax.set_title(curves.heading(drawn[0], 80), loc="left", fontsize="small")
        ax.legend(frameon=False, fontsize="small")
        return ax

    def report(self, folder: str | Path, baseline: str = "fedavg") -> list[Path]:
        """Write the report of the cells and return the files written.

        Args:
            folder: Where to; made if missing.
            baseline: The method that the others are compared with.

        Raises:
            UsageError: If the cells are not of one run folder, none is of another baseline, what
                stands beside them is damaged, or ``folder`` can't be written to.
        """
        runs = {cell.folder.parent for cell in self.cells}
        if len(runs) != 1:
            listed = ", ".join(sorted(map(str, runs))) or "none"
            raise UsageError(f"a report is of the cells of one run folder; these are of {listed}.")
        return Report.of(self.cells, runs.pop(), baseline).write(Path(folder).expanduser())

    def _counts(self) -> str:
        methods = {cell.record["method"] for cell in self.cells}
        counts = {"cell": len(self), "method": len(methods), "task": len(group(self.cells))}
        return ", ".join(f"{n} {kind}{'' if n == 1 else 's'}" for kind, n in counts.items())


def _points(cell: Cell) -> list[tuple[int, float, int]]:
    """Return round, value and bytes sent until then of each evaluation."""
    sent = sorted((t.round, t.nbytes) for t in cell.traffic if t.direction != "once")
    rounds, totals = [at for at, _ in sent], list(accumulate((n for _, n in sent), initial=0))
    return [
        (e.round, cell.value(e), totals[bisect_right(rounds, e.round)]) for e in cell.evaluations
    ]


def _each(names: object) -> tuple[object, ...]:
    if isinstance(names, Collection) and not isinstance(names, str):
        return tuple(names)
    return (names,)


def _frame(
    lines: Sequence[object], columns: list[str], numbers: Sequence[str] = ()
) -> "pd.DataFrame":
    """Return a frame; ``numbers`` may be missing, and are floats even if all are."""
    import pandas as pd

    return pd.DataFrame(lines, columns=columns).astype(dict.fromkeys(numbers, "float64"))
