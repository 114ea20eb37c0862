"""Who holds what: how many samples of each class each client has, as numbers and as a figure.

A client's effective number of classes is the exponential of the entropy of its class shares, the
Hill number of order 1 (Hill, "Diversity and Evenness", Ecology 54, 1973): 1 for a client with a
single class, C for C classes in equal parts.

Letters in shapes: C classes, K clients.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median

from gptfl_reports.numbers.tasks import QUICK, data_title, sharing
from gptfl_reports.records.cells import Cell
from gptfl_reports.records.errors import UsageError
from gptfl_reports.records.schema import RunRecord
from gptfl_reports.tables import units
from gptfl_reports.tables.table import Column, Entry, Table, csv_text, terminal

_LARGEST_FILE = 2**28
"""Bytes of a partition file that are read: room for some thirty million samples."""
_NAME = re.compile(r"[0-9a-f]{16}-([0-9a-f]{8})\.json")
"""The name of a partition file, which ends in the beginning of the SHA-256 of what it holds."""


@dataclass(frozen=True)
class Summary:
    """Holdings in a line; both means are over the clients that hold anything.

    Attributes:
        clients: Number of clients K.
        samples: Samples of all of them.
        smallest: Samples of the smallest client.
        median: Median number of samples of a client.
        largest: Samples of the largest client.
        effective_classes: Mean effective number of classes of a client, in [1, C].
        largest_class: Mean share of a client's samples that its most frequent class has.
    """

    clients: int
    samples: int
    smallest: int
    median: float
    largest: int
    effective_classes: float
    largest_class: float


@dataclass(frozen=True)
class Holdings:
    """How many samples of each class each client holds.

    Attributes:
        title: The data, the partition's recipe and its seed, in a line.
        classes: Name of each class, (C,).
        counts: Samples of each class by client, K rows of C whole numbers.
        fingerprint: SHA-256 of the partition as hex; empty if unknown.
        stamp: A warning that goes before the title; empty for none.

    Raises:
        ValueError: If a row doesn't have a whole number for each class, or there is none.
    """

    title: str
    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    fingerprint: str = ""
    stamp: str = ""

    def __post_init__(self) -> None:
        """Refuse counts that don't fit."""
        if not self.classes or not self.counts:
            raise ValueError("there must be a class and a client")
        if any(len(row) != len(self.classes) for row in self.counts):
            raise ValueError(f"each client must have {len(self.classes)} counts, one a class")
        if any(type(n) is not int or n < 0 for row in self.counts for n in row):
            raise ValueError("counts must be whole numbers of 0 or more")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Samples of each client, (K,)."""
        return tuple(sum(row) for row in self.counts)

    @property
    def effective_classes(self) -> tuple[float, ...]:
        """Effective number of classes of each client, (K,), in [1, C]; 0 for an empty client."""
        return tuple(_effective(row) for row in self.counts)

    @property
    def summary(self) -> Summary:
        """The holdings in a line."""
        sizes = self.sizes
        held = [row for row in self.counts if any(row)]
        return Summary(
            clients=len(sizes),
            samples=sum(sizes),
            smallest=min(sizes),
            median=median(sizes),
            largest=max(sizes),
            effective_classes=fmean(map(_effective, held)) if held else 0.0,
            largest_class=fmean(max(row) / sum(row) for row in held) if held else 0.0,
        )


def _effective(row: Sequence[int]) -> float:
    total = sum(row)
    shares = [n / total for n in row if n]
    return math.exp(-math.fsum(p * math.log(p) for p in shares)) if shares else 0.0


def read_holdings(run_folder: Path, record: RunRecord) -> Holdings | None:
    """Return what a cell's partition gives its clients, as its run folder says.

    Args:
        run_folder: The folder that holds the cells.
        record: The cell's record.

    Returns:
        The holdings; None if the partition's file isn't there, or is an older one without counts.

    Raises:
        UsageError: If the file is damaged, is another partition's, or lies outside the folder.
    """
    partition = record["partition"]
    path = run_folder / partition["file"]
    try:
        if not path.resolve().is_relative_to(run_folder.resolve()):
            raise ValueError("it lies outside the run folder")
        if not path.is_file():
            return None
        if path.stat().st_size > _LARGEST_FILE:
            raise ValueError(f"it has more than {_LARGEST_FILE:,} bytes")
        data = path.read_bytes()
        digest = _NAME.fullmatch(path.name)
        if digest and not hashlib.sha256(data).hexdigest().startswith(digest[1]):
            raise ValueError("it is not what its name says")
        content = json.loads(data)
        if not isinstance(content, dict) or content.get("sha256") != partition["sha256"]:
            raise ValueError("it isn't the partition that the record names")
        if "classes" not in content or "counts" not in content:
            return None
        holdings = Holdings(
            _title([record]),
            tuple(str(name) for name in content["classes"]),
            tuple(tuple(row) for row in content["counts"]),
            partition["sha256"],
            QUICK if record["preset"]["quick"] else "",
        )
        if list(holdings.sizes) != partition["sizes"]:
            raise ValueError("its counts don't fit the sizes in the record")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise UsageError(
            f"the partition {path} can't be read ({error}); remove the file and run a cell of it "
            "again with --force."
        ) from error
    return holdings


def read_all(run_folder: Path, cells: Iterable[Cell]) -> dict[str, Holdings]:
    """Return the holdings of each distinct partition of a run folder, by the stem of its files.

    Cells share one if data and partition are the same, whatever their methods and models; its
    title names all their seeds, and it is stamped if all of them are quick.

    Raises:
        UsageError: If a partition's file is damaged.
    """
    alike: dict[tuple[str, str, str], list[RunRecord]] = {}
    for cell in cells:
        record = cell.record
        key = (record["dataset"]["name"], sharing(record), record["partition"]["file"])
        alike.setdefault(key, []).append(record)
    found: dict[str, Holdings] = {}
    for records in sorted(alike.values(), key=_place):
        holdings = read_holdings(run_folder, records[0])
        if holdings is not None:
            quick = all(record["preset"]["quick"] for record in records)
            holdings = replace(holdings, title=_title(records), stamp=QUICK if quick else "")
            # The same partition of other data has the same fingerprint.
            digits = re.sub("[^0-9a-f]", "", holdings.fingerprint)[:12]
            twins = sum(stem.startswith(f"holdings-{digits}") for stem in found)
            found[f"holdings-{digits}{f'-{twins + 1}' if twins else ''}"] = holdings
    return found


def _place(records: Sequence[RunRecord]) -> tuple[str, str, int, str]:
    first = records[0]
    seed = min(record["seed"] for record in records)
    return first["dataset"]["name"], sharing(first), seed, first["partition"]["file"]


def _title(records: Sequence[RunRecord]) -> str:
    seeds = sorted({record["seed"] for record in records})
    named = f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"
    return f"{data_title(records)} · {sharing(records[0])} · {named}"


def holdings_table(held: Sequence[Holdings]) -> Table:
    """Return the summaries of some holdings, one a row."""
    columns = (
        Column("partition", "partition", "left"),
        Column("title", "of what", "wide"),
        Column("clients", "clients"),
        Column("samples", "samples"),
        Column("smallest", "smallest client"),
        Column("median", "median client"),
        Column("largest", "largest client"),
        Column("effective", "effective classes"),
        Column("share", "largest class"),
    )
    notes = (
        "Effective classes: exponential of the entropy of a client's class shares, 1 for a single "
        "class and the number of classes if all have the same share.",
        "Largest class: share of a client's samples that its most frequent class has.",
        "Sizes in samples; the last two are means over the clients that hold any.",
    )
    stamps = {holdings.stamp for holdings in held}
    stamp = stamps.pop() if len(stamps) == 1 else ""
    return Table("Who holds what", columns, tuple(_entries(h) for h in held), notes, stamp)


def _entries(holdings: Holdings) -> tuple[Entry, ...]:
    s = holdings.summary
    return (
        Entry(holdings.fingerprint[:12] or units.NONE),
        Entry(holdings.title),
        Entry(f"{s.clients:,}"),
        Entry(f"{s.samples:,}"),
        Entry(f"{s.smallest:,}"),
        Entry(f"{s.median:,.1f}".removesuffix(".0")),
        Entry(f"{s.largest:,}"),
        Entry(f"{s.effective_classes:.2f} of {len(holdings.classes):,}"),
        Entry(f"{100 * s.largest_class:.1f} %"),
    )


def summary_text(holdings: Holdings, width: int = 120) -> str:
    """Return the summary for a terminal of ``width`` characters."""
    table = holdings_table([holdings])
    numbers = table.select(column.key for column in table.columns[2:])
    return terminal(replace(numbers, title=holdings.title), width)


def holdings_csv(holdings: Holdings) -> str:
    """Return the figure's numbers: ``client, size, effective_classes``, then a column a class."""
    rows = zip(holdings.sizes, holdings.effective_classes, holdings.counts, strict=True)
    return csv_text(
        ("client", "size", "effective_classes", *holdings.classes),
        [(k, size, units.exact(n), *row) for k, (size, n, row) in enumerate(rows)],
    )
