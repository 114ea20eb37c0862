"""The paper's Table 1 from code and observation, with the paper's own values beside it.

Whether a method works under secure aggregation is what the cohort observed: a server that read
single replies could not have done so from sums. All other columns come from the method's code.
"""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from gptfl_reports.records.cells import Cell
from gptfl_reports.records.events import RoundAggregated
from gptfl_reports.records.schema import ABLATED
from gptfl_reports.tables import units
from gptfl_reports.tables.table import Column, Entry, Table, csv_text, markdown

COLUMNS = {
    "external_data": "external data",
    "limited_to_small_models": "small models only",
    "generates_during_fl": "generates data during FL",
    "generator_location": "generator at",
    "client_access": "clients hold those data",
    "modalities": "modalities",
}
"""The paper's columns but the last, by key."""
SECURE = "secure_aggregation"

EXPLAINED = {
    "dsfl": "DS-FL: the paper says no, for each client sends soft labels; but the server needs "
    "their mean alone, which secure sums give, and reads nothing else.",
    "dynafed": "DynaFed: there is no generator; the server trains the pixels of its images.",
    "fedftg": "FedFTG: the paper calls all methods with a second optimisation limited to small "
    "models; in code there is no such limit, though it may not converge on large ones.",
    "fedgen": "FedGen: as FedFTG; its generator grows with the features of the network.",
    "moon": "MOON: it needs no public data, as the paper's table says and its text and Table 2 do "
    "not, so there is nothing for clients to have access to.",
}
"""Why a method's row differs from the paper's."""


@dataclass(frozen=True)
class Facts:
    """One method's row.

    Attributes:
        method: The method's name.
        profile: What its code says, by key of :data:`COLUMNS`, and ``generated`` in words; empty
            if it is not known.
        saw_clients: Whether its server was seen to read single replies; None if it never ran.
    """

    method: str
    profile: Mapping[str, str]
    saw_clients: bool | None

    @property
    def secure(self) -> str:
        """Whether it works under secure aggregation, as observed."""
        return {None: "not observed", True: "no", False: "yes"}[self.saw_clients]


def observed(cells: Iterable[Cell]) -> tuple[Facts, ...]:
    """Return the facts of all methods of some cells, by name.

    References and ablated methods are left out.
    """
    by_method: dict[str, list[Cell]] = {}
    for cell in cells:
        reference = "reference" in cell.record.get("profile", {})
        if not (reference or cell.record["method"].endswith(ABLATED)):
            by_method.setdefault(cell.record["method"], []).append(cell)
    return tuple(_facts(name, members) for name, members in sorted(by_method.items()))


@cache
def published() -> Mapping[str, Mapping[str, str]]:
    """Return the paper's rows by method and key, in lower case."""
    text = (files("gptfl_reports") / "published" / "table1.csv").read_text(encoding="utf-8")
    return {row.pop("method"): row for row in csv.DictReader(text.splitlines())}


def table1(facts: Iterable[Facts]) -> Table:
    """Return the table; where the paper says otherwise, its word stands behind ours."""
    listed = list(facts)
    columns = (
        Column("method", "method", "left"),
        *(Column(key, title, "left") for key, title in COLUMNS.items()),
        Column(SECURE, "secure aggregation (observed)", "left"),
        Column("paper", "secure aggregation (paper)", "left"),
    )
    notes = (
        "Secure aggregation is observed: no means that the server read single clients' replies. "
        "All else is derived from the method's code; in brackets the paper's Table 1 where it "
        "differs.",
        *(EXPLAINED[f.method] for f in listed if f.method in EXPLAINED and _differs(f)),
    )
    title = "What methods need (the paper's Table 1)"
    return Table(title, columns, tuple(_row(f) for f in listed), notes)


def table1_markdown(facts: Iterable[Facts]) -> str:
    """Return the table as one Markdown page."""
    return markdown(table1(facts), level=1)


def table1_csv(facts: Iterable[Facts]) -> str:
    """Return one line a method: each column as it is here, then as the paper has it."""
    keys = [*COLUMNS, SECURE]
    lines = []
    for f in facts:
        paper = published().get(f.method, {})
        ours = {**f.profile, SECURE: f.secure}
        values = [v for key in keys for v in (ours.get(key, ""), paper.get(key, ""))]
        lines.append([f.method, f.profile.get("generated", ""), *values])
    pairs = [name for key in keys for name in (key, f"{key}_paper")]
    return csv_text(["method", "generated", *pairs], lines)


def _facts(name: str, cells: list[Cell]) -> Facts:
    rounds = [e for c in cells for e in c.events if isinstance(e, RoundAggregated)]
    saw = any(e.server_saw_clients for e in rounds) if rounds else None
    return Facts(name, cells[-1].record.get("profile", {}), saw)


def _differs(facts: Facts) -> bool:
    paper, ours = published()[facts.method], {**facts.profile, SECURE: facts.secure}
    return any(key in ours and ours[key] != value for key, value in paper.items())


def _row(facts: Facts) -> tuple[Entry, ...]:
    paper = published().get(facts.method, {})
    made = facts.profile.get("generated", "")
    cells = []
    for key in COLUMNS:
        ours = facts.profile.get(key, units.NONE)
        other = f" (paper: {paper[key]})" if facts.profile and paper.get(key, ours) != ours else ""
        cells.append(Entry(ours + other, made if key == "generates_during_fl" else ""))
    return (
        Entry(facts.method),
        *cells,
        Entry(facts.secure),
        Entry(paper.get(SECURE, units.NONE)),
    )
