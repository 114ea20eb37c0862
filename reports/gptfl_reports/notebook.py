"""Results for a notebook or a script: frames, a plot and a report of some cells."""

from collections.abc import Collection, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, overload

from gptfl_reports.figures import curves
from gptfl_reports.numbers.board import Leaderboard, leaderboard
from gptfl_reports.numbers.standings import Standing
from gptfl_reports.records.cells import Cell, read_cells
from gptfl_reports.records.errors import UsageError, unknown
from gptfl_reports.records.schema import Row
from gptfl_reports.report import Report
from gptfl_reports.tables.comparison import differences

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_SHOWN = 6
"""Methods that a line about results names."""


class Results:
    """What came of some cells.

    ``results["method"]`` and ``len(results)`` go through to :attr:`rows`. Values are fractions.

    Args:
        cells: The cells.
        keep: Held for as long as the results are, such as the temporary folder of the cells.
    """

    def __init__(self, cells: Sequence[Cell], keep: object = None) -> None:
        self.cells = tuple(cells)
        self._keep = keep

    @property
    def rows(self) -> "pd.DataFrame":
        """One row a cell, with the columns of ``gptfl-bench results``."""
        import pandas as pd

        return pd.DataFrame([cell.row() for cell in self.cells], columns=list(Row.__annotations__))

    @overload
    def __getitem__(self, column: str) -> "pd.Series": ...

    @overload
    def __getitem__(self, column: list[str]) -> "pd.DataFrame": ...

    def __getitem__(self, column: str | list[str]) -> "pd.Series | pd.DataFrame":
        """Return a column of :attr:`rows`, or several."""
        return self.rows[column]

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.cells)

    def curves(self) -> "pd.DataFrame":
        """Return one row an evaluation: the value of a cell, and the bytes sent until then.

        Columns ``run_id method dataset seed round metric value bytes``; bytes are those of the
        whole cohort in both directions, from round 0 on.
        """
        import pandas as pd

        columns = ("run_id", "method", "dataset", "seed", "round", "metric", "value", "bytes")
        rows = []
        for cell in self.cells:
            row = cell.row()
            sent = [t for t in cell.traffic if t.direction != "once"]
            about = (row["run_id"], row["method"], row["dataset"], row["seed"])
            for event in cell.evaluations:
                spent = sum(t.nbytes for t in sent if t.round <= event.round)
                rows.append((*about, event.round, row["metric"], cell.value(event), spent))
        return pd.DataFrame(rows, columns=list(columns))

    def leaderboard(self) -> "pd.DataFrame":
        """Return one row a task and method, the best first, over its finished cells.

        Columns ``task method n mean sd best rounds_to_target bytes_to_target status``; ``mean`` is
        what is ranked, the mean of the last evaluations, and ``sd`` its sample standard deviation.
        """
        import pandas as pd

        columns = ("task", "method", "n", "mean", "sd", "best")
        more = ("rounds_to_target", "bytes_to_target", "status")
        rows = [
            (ranking.task.title, *_measured(standing))
            for ranking in self._board().rankings
            for standing in ranking.standings
        ]
        return pd.DataFrame(rows, columns=[*columns, *more])

    def compare(self, baseline: str = "fedavg") -> "pd.DataFrame":
        """Return each method against a baseline, paired by seed and partition.

        Columns ``task method n difference low high``; ``low`` and ``high`` are the ends of the 95 %
        interval of the mean difference by Student's t, empty for fewer than two seeds.

        Args:
            baseline: A method that ran.

        Raises:
            UsageError: If it did not run.
        """
        import pandas as pd

        ran = {cell.record["method"] for cell in self.cells}
        if baseline not in ran:
            raise unknown("baseline", baseline, ran)
        rows = [
            (ranking.task.title, d.method, d.seeds, d.mean, *(d.by_t or (None, None)))
            for ranking in self._board(baseline).rankings
            for d in differences(ranking)
        ]
        columns = ["task", "method", "n", "difference", "low", "high"]
        return pd.DataFrame(rows, columns=columns)

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the mean of each method by round with a band of one standard deviation.

        Args:
            ax: Where to draw; a new figure if left out.

        Returns:
            The axes.

        Raises:
            UsageError: If no cell has finished.
        """
        import matplotlib.pyplot as plt

        panels = curves.panels(self._board())
        if not panels:
            raise UsageError("there is nothing to plot: no cell has finished.")
        axes = plt.subplots()[1] if ax is None else ax
        looks = curves.styles(panels)
        for panel in panels:
            for curve in panel.curves:
                color, dash = looks[curve.label]
                name = curve.label if len(panels) == 1 else f"{curve.label}: {panel.task.title}"
                means = [value.mean for value in curve.values]
                spreads = [value.sd or 0.0 for value in curve.values]
                axes.plot(curve.rounds, means, color=color, linestyle=dash, label=name)
                low = [m - s for m, s in zip(means, spreads, strict=True)]
                high = [m + s for m, s in zip(means, spreads, strict=True)]
                axes.fill_between(curve.rounds, low, high, color=color, alpha=0.15, linewidth=0)
        axes.set_xlabel("round")
        axes.set_ylabel(" or ".join(dict.fromkeys(panel.task.metric for panel in panels)))
        axes.legend()
        return axes

    def select(
        self,
        *,
        method: str | Collection[str] = (),
        dataset: str | Collection[str] = (),
        seed: int | Collection[int] = (),
        status: str | Collection[str] = (),
    ) -> "Results":
        """Return the cells that have one of the given values in each of the given columns.

        Raises:
            UsageError: If no cell has one of the values; the sentence names what there is.
        """
        chosen = self.cells
        asked = {"method": method, "dataset": dataset, "seed": seed, "status": status}
        for column, value in asked.items():
            wanted = {value} if isinstance(value, str | int) else set(value)
            there = {cell.row()[column] for cell in self.cells}  # type: ignore[literal-required]
            for one in wanted - there:
                raise unknown(column, str(one), map(str, there))
            if wanted:
                chosen = tuple(
                    cell
                    for cell in chosen
                    if cell.row()[column] in wanted  # type: ignore[literal-required]
                )
        return Results(chosen, self._keep)

    def report(self, folder: str | Path, baseline: str = "fedavg") -> list[Path]:
        """Write the report of these cells, and return its files.

        Raises:
            UsageError: If there is no cell, or the folder can't be written to.
        """
        if not self.cells:
            raise UsageError("there is no cell to report on.")
        run_folder = self.cells[0].folder.parent
        return Report.of(self.cells, run_folder, baseline).write(Path(folder).expanduser())

    def __repr__(self) -> str:
        """Return what ran and how it ended, in a line."""
        rankings = self._board().rankings
        methods = {cell.record["method"] for cell in self.cells}
        text = (
            f"Results: {_count(len(self.cells), 'cell')}, {_count(len(methods), 'method')}, "
            f"{_count(len(rankings), 'task')}"
        )
        if len(rankings) != 1:
            return text
        standings = rankings[0].standings
        named = [f"{s.entrant.label} {_in_words(s)}" for s in standings[:_SHOWN]]
        more = len(standings) - len(named)
        return f"{text}; {', '.join(named)}" + (f" and {more} more" if more else "")

    def _repr_html_(self) -> str:
        """Return the leaderboard as a table."""
        parts = []
        for ranking in self._board().rankings:
            rows = "".join(
                f"<tr><td>{escape(s.entrant.label)}</td><td>{escape(_in_words(s))}</td></tr>"
                for s in ranking.standings
            )
            parts.append(
                f"<table><caption>{escape(ranking.task.title)}</caption>"
                f"<tr><th>method</th><th>{escape(ranking.task.metric)}, %</th></tr>{rows}</table>"
            )
        return "".join(parts)

    def _board(self, baseline: str = "fedavg") -> Leaderboard:
        return leaderboard(self.cells, baseline)


def read(folder: str | Path) -> Results:
    """Return the results of a run folder, cells that have not ended included.

    Raises:
        UsageError: If the folder holds no cells, or a damaged one.
    """
    return Results(read_cells(Path(folder).expanduser()))


def _measured(standing: Standing) -> tuple[object, ...]:
    """Return a row of the leaderboard without its task."""
    means = (standing.best, standing.rounds_to_target, standing.bytes_to_target)
    ranked, endings = (
        standing.mean_last,
        dict.fromkeys(cell.ending.status for cell in standing.entrant.cells),
    )
    return (
        standing.entrant.label,
        standing.n,
        ranked.mean if ranked else None,
        ranked.sd if ranked else None,
        *(one.mean if one else None for one in means),
        ", ".join(endings),
    )


def _in_words(standing: Standing) -> str:
    """Return mean and spread in percent, or how the cells ended if none finished."""
    ranked = standing.mean_last
    if ranked is None:
        return ", ".join(dict.fromkeys(cell.ending.status for cell in standing.entrant.cells))
    spread = f" ± {100 * ranked.sd:.1f}" if ranked.sd is not None else ""
    return f"{100 * ranked.mean:.1f}{spread} (n={standing.n})"


def _count(number: int, word: str) -> str:
    return f"{number} {word}" + ("" if number == 1 else "s")
