"""The page of results: what it says is in the committed records, and comes out of them again."""

import re
import sys
from pathlib import Path

import pytest

from gptfl_reports.records.cells import read_cells

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "ci"))

import document_results  # type: ignore[import-not-found]  # noqa: E402  # ci/
import marked_tables  # type: ignore[import-not-found]  # noqa: E402  # ci/

PAGE = ROOT / "reports" / "RESULTS.md"
_TABLE = re.compile(r"<!-- table: .*?<!-- end -->", re.DOTALL)
_CODE = re.compile(r"```.*?```|`[^`]*`|\[[^\]]*\]\([^)]*\)", re.DOTALL)
_NUMBER = re.compile(r"(?<![\w.])\d+\.\d+|\d+(?= (?:%|points?\b|MB\b))")


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def test_records_give_every_table_of_the_page(page: str) -> None:
    cells = read_cells(document_results.RECORDS)
    made = {mark: document_results.table(mark, cells) for mark in marked_tables.marks(page)}
    assert made
    assert marked_tables.filled(page, made) == page


def test_methods_that_are_refused_are_named_below_their_table(page: str) -> None:
    (speech,) = [table for table in _TABLE.findall(page) if "lift_conventions=false" in table]
    said = [line for line in speech.splitlines() if line.startswith("- Refused: ")]
    assert ["set lift_conventions=true" in line for line in said] == [True, False]
    for method in ("dynafed", "fedftg", "fedgen", "moon"):
        assert method in " ".join(said)
        assert f"\n| {method} " not in speech


def test_numbers_of_the_text_stand_in_its_tables(page: str) -> None:
    assert _unfounded(_TABLE.sub("", page), page) == []


def test_numbers_of_the_first_screen_stand_there_too(page: str) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.split("## Results on real data\n")[1].split("\n## ")[0]
    assert _unfounded(section, page) == []


def _unfounded(text: str, page: str) -> list[str]:
    """Return the numbers of a text that no table of the page has."""
    there = set(re.findall(r"\d+(?:\.\d+)?", " ".join(_TABLE.findall(page))))
    said = _NUMBER.findall(_CODE.sub("", text))
    assert said
    return [number for number in said if number not in there]


def test_the_page_is_short_and_its_figures_are_there(page: str) -> None:
    assert len(page.splitlines()) <= 200
    figures = re.findall(r"\]\((figures/[^)]+)\)", page)
    assert figures
    assert all((PAGE.parent / figure).is_file() for figure in figures)


def test_records_fit_a_repository() -> None:
    files = [path for path in document_results.RECORDS.rglob("*") if path.is_file()]
    assert 0 < sum(path.stat().st_size for path in files) <= 15 * 10**6


def test_a_task_that_is_not_there_is_said(page: str) -> None:
    cells = read_cells(document_results.RECORDS)
    with pytest.raises(ValueError, match="is not one task but"):
        document_results.table("methods cifar10 cohort_size=99", cells)
