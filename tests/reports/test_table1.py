"""Table 1 of a report: what records say and show, beside the paper's own values."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

from gptfl_reports.records.cells import read_cells
from gptfl_reports.tables.table1 import EXPLAINED, observed, published, table1, table1_csv

MakeCell = Callable[..., Path]
DSFL = {
    "external_data": "public data",
    "limited_to_small_models": "no",
    "generates_during_fl": "n/a",
    "generator_location": "n/a",
    "client_access": "required",
    "modalities": "any",
    "generated": "",
}


def test_the_papers_rows_are_whole() -> None:
    assert len(published()) == 12
    assert all(len(row) == 7 and all(row.values()) for row in published().values())
    yes = {name for name, row in published().items() if row["secure_aggregation"] == "yes"}
    assert yes == {"fedavg", "fedopt", "fedprox", "scaffold", "moon", "dynafed", "gptfl"}


def test_secure_aggregation_is_what_the_rounds_show(make_cell: MakeCell, run_folder: Path) -> None:
    """Any seed that read single replies counts; a method that never ran a round shows nothing."""
    make_cell("dsfl", 0, profile=DSFL)
    make_cell("dsfl", 1, profile=DSFL, saw=False)
    make_cell("feddf", 0, saw=False)
    make_cell("feddf", 1, saw=True)
    make_cell("fedgen", 0, (), status="refused", reason="needs images.", rounds=3)
    make_cell("moon-ablated", 0)
    facts = observed(read_cells(run_folder))
    assert [(f.method, f.secure) for f in facts] == [
        ("dsfl", "yes"),
        ("feddf", "no"),
        ("fedgen", "not observed"),
    ]
    table = table1(facts)
    row = {c.key: entry for c, entry in zip(table.columns, table.rows[0], strict=True)}
    assert (row["secure_aggregation"].text, row["paper"].text) == ("yes", "no")
    assert EXPLAINED["dsfl"] in table.notes
    assert EXPLAINED["moon"] not in table.notes


def test_a_different_value_shows_both(make_cell: MakeCell, run_folder: Path) -> None:
    make_cell("dsfl", 0, profile=DSFL | {"client_access": "not required"})
    (row,) = table1(observed(read_cells(run_folder))).rows
    assert "not required (paper: required)" in [entry.text for entry in row]


def test_records_without_a_profile_and_unknown_methods(
    make_cell: MakeCell, run_folder: Path
) -> None:
    make_cell("fedavg", 0)
    make_cell("fedexp", 0, profile=DSFL)
    rows = table1(observed(read_cells(run_folder))).rows
    assert [entry.text for entry in rows[0]] == ["fedavg", *"––––––", "yes", "yes"]
    assert rows[1][-1].text == "–"


def test_csv_has_both_values_of_every_column(make_cell: MakeCell, run_folder: Path) -> None:
    make_cell("dsfl", 0, profile=DSFL)
    (line,) = csv.DictReader(io.StringIO(table1_csv(observed(read_cells(run_folder)))))
    assert (line["external_data"], line["external_data_paper"]) == ("public data", "public data")
    assert (line["secure_aggregation"], line["secure_aggregation_paper"]) == ("yes", "no")
