"""Measured beside published: the numbers of one of the paper's tables, with the scale of each.

The paper's are those of its setting; it ranks by the best test value of any round where its code
says anything. Ours are means of the last evaluations, which nothing was selected by.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from gptfl_reports.numbers.spread import Spread, spread
from gptfl_reports.numbers.tasks import metric_words
from gptfl_reports.records.files import write_files
from gptfl_reports.tables import units
from gptfl_reports.tables.table import Column, Entry, Table, csv_text, latex, markdown, terminal


@dataclass(frozen=True)
class Measured:
    """One number of the paper, measured.

    Attributes:
        table: The table or figure.
        dataset: The data set's name in the paper.
        model: The network's in the paper.
        partition: The partition's in the paper.
        method: The method's in the paper.
        values: What finished cells came to, as fractions.
        reason: Why others did not finish; empty if none.
        setting: Network, rounds and clients it was measured with.
        metric: What was measured.
    """

    table: str
    dataset: str
    model: str
    partition: str
    method: str
    values: tuple[float, ...]
    reason: str
    setting: str
    metric: str

    @property
    def here(self) -> Spread | None:
        """Mean and spread of the values."""
        return spread(self.values)

    @property
    def published(self) -> Spread | None:
        """The paper's mean and deviation over three seeds as fractions; None if it has none."""
        key = (self.table, self.dataset, self.model, self.partition, self.method)
        return _published().get(key)


def as_text(measured: Sequence[Measured], scale: str, width: int = 120) -> str:
    """Return the table for a terminal of ``width`` characters."""
    return terminal(_table(measured, scale), width)


def write(measured: Sequence[Measured], scale: str, out: Path, name: str) -> list[Path]:
    """Write the table as Markdown, CSV and LaTeX, and return the files.

    Raises:
        UsageError: If the folder can't be written to.
    """
    table = _table(measured, scale)
    return write_files(
        out,
        {
            f"{name}.md": markdown(table, 1).encode(),
            f"{name}.tex": latex(table).encode(),
            f"{name}.csv": _csv(measured, scale).encode(),
        },
    )


def _csv(measured: Sequence[Measured], scale: str) -> str:
    return csv_text(
        (
            *("table", "scale", "dataset", "model", "partition", "method", "setting", "metric"),
            *("n", "mean", "sd", "published_mean", "published_sd", "reason"),
        ),
        [
            (
                *(one.table, scale, one.dataset, one.model, one.partition, one.method),
                *(one.setting, one.metric, len(one.values)),
                *_numbers(one.here),
                *_numbers(one.published),
                one.reason,
            )
            for one in measured
        ],
    )


def _numbers(value: Spread | None) -> tuple[str, str]:
    return (units.exact(value.mean), units.exact(value.sd)) if value else ("", "")


def _table(measured: Sequence[Measured], scale: str) -> Table:
    columns = (
        Column("method", "method", "left"),
        Column("dataset", "data set", "left"),
        Column("measured", "measured"),
        Column("published", "published"),
        Column("setting", "measured with", "wide"),
        Column("paper", "published with", "wide"),
    )
    notes = (
        "Percent, mean ± sample standard deviation. Measured: mean of the last evaluations, or for "
        "synthetic data alone the value before the first round; published: as the paper gives it.",
        "A number at the scale of a CPU has another network, fewer rounds and fewer synthetic "
        "samples than the published one beside it, and says nothing about it."
        if scale == "cpu"
        else "The paper leaves open what the presets' comments name; those values are guesses.",
        *sorted({f"{one.method} on {one.dataset}: {one.reason}" for one in measured if one.reason}),
    )
    title = f"{measured[0].table if measured else ''} at the scale: {scale}"
    return Table(title, columns, tuple(_entries(one) for one in measured), notes)


def _entries(one: Measured) -> tuple[Entry, ...]:
    n = len(one.values)
    return (
        Entry(one.method),
        Entry(one.dataset, metric_words(one.metric)),
        Entry(units.percent(one.here), f"n={n}"),
        Entry(units.percent(one.published)),
        Entry(one.setting),
        Entry(", ".join(part for part in (one.model, one.partition) if part)),
    )


@cache
def _published() -> dict[tuple[str, str, str, str, str], Spread]:
    text = (files("gptfl_reports") / "published" / "results.csv").read_text(encoding="utf-8")
    return {
        (row["table"], row["dataset"], row["model"], row["partition"], row["method"]): Spread(
            3, float(row["mean"]) / 100, float(row["std"]) / 100 if row["std"] else None
        )
        for row in csv.DictReader(text.splitlines())
    }
