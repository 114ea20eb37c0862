"""Where each row of a leaderboard comes from: its cells, and what they were made with."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from gptfl_reports.numbers.standings import Ranking
from gptfl_reports.numbers.tasks import data_title, fate
from gptfl_reports.records.cells import Cell
from gptfl_reports.tables import units


@dataclass(frozen=True)
class Source:
    """One cell behind a row.

    Attributes:
        run_id: Its id, which is the name of its folder.
        link: Where its record is, seen from the page; empty where the page lies elsewhere.
        seed: Its seed.
        value: Mean of the last evaluations in percent, if it has any.
        method: The method's source and the first 12 digits of its SHA-256.
        status: What became of it, with the sentence.
    """

    run_id: str
    link: str
    seed: int
    value: str
    method: str
    status: str


@dataclass(frozen=True)
class Origin:
    """The cells behind one row; ``anchor`` is the id on the page that the row links to."""

    anchor: str
    label: str
    cells: tuple[Source, ...]


def origins(ranking: Ranking, number: int, back: str | None) -> tuple[Origin, ...]:
    """Return the cells behind each row of a task, rows in order.

    Args:
        ranking: The task's rows.
        number: The task's number on the page.
        back: The way from the page to the run folder, such as ``../``; None for no links.
    """
    return tuple(
        Origin(
            f"cells-{number}-{n}",
            standing.entrant.label,
            tuple(_source(cell, back) for cell in standing.entrant.cells),
        )
        for n, standing in enumerate(ranking.standings, 1)
    )


def made(cells: Sequence[Cell]) -> dict[str, list[str]]:
    """Return what cells were made with, by what it is: versions, commit, device and data."""
    records = [cell.record for cell in cells]
    return {
        "Versions": sorted({f"{k} {v}" for r in records for k, v in r["versions"].items()}),
        "Commit": sorted({r["commit"] or "unknown" for r in records}),
        "Device": sorted({f"{r['device']}, {r['machine']}" for r in records}),
        "Data": sorted(
            {
                f"{data_title([r])}, version {r['dataset']['version']}, "
                f"SHA-256 {r['dataset']['sha256']}"
                for r in records
            }
        ),
    }


def _source(cell: Cell, back: str | None) -> Source:
    record, value = cell.record, cell.row()["value_mean_last"]
    return Source(
        run_id=record["run_id"],
        link="" if back is None else f"{back}{quote(cell.folder.name)}/record.json",
        seed=record["seed"],
        value=units.fraction(value),
        method=f"{record['method_source']} {record['method_sha256'][:12]}",
        status=fate(cell.ending.status, cell.ending.reason),
    )
