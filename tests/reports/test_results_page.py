"""The pages of results: what they say is in the committed records, and comes out of them again."""

import re
import sys
from pathlib import Path

import pytest

from gptfl_reports.claims.paper import read as read_claims
from gptfl_reports.records.cells import Cell, read_cells

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "ci"))

import document_results  # type: ignore[import-not-found]  # noqa: E402  # ci/
import marked_tables  # type: ignore[import-not-found]  # noqa: E402  # ci/

REPORTS = ROOT / "reports"
_TABLE = re.compile(r"<!-- table: .*?<!-- end -->", re.DOTALL)
_CODE = re.compile(r"```.*?```|`[^`]*`|\[[^\]]*\]\([^)]*\)", re.DOTALL)
_TEXT = re.compile(r"<text[^>]*>([^<]*)</text>")
_NUMBER = re.compile(r"(?<![\w.])\d+\.\d+|\d+(?= (?:%|points?\b|MB\b))")


@pytest.fixture(scope="module")
def page() -> str:
    return (REPORTS / "RESULTS.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def questions() -> str:
    return (REPORTS / "QUESTIONS.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def cells() -> tuple[Cell, ...]:
    return tuple(read_cells(document_results.RECORDS))


@pytest.mark.parametrize("path", document_results.PAGES, ids=lambda path: path.name)
def test_records_give_every_table_of_a_page(path: Path, cells: tuple[Cell, ...]) -> None:
    page = path.read_text(encoding="utf-8")
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


def test_every_question_is_asked_on_the_page_once(questions: str) -> None:
    keys = [one.key for one in read_claims(document_results.QUESTIONS.read_text(encoding="utf-8"))]
    marked = [mark.split()[1:] for mark in marked_tables.marks(questions) if "questions" in mark]
    assert sorted(key for words in marked for key in words) == sorted(keys)


def test_numbers_of_the_text_stand_in_tables(page: str, questions: str) -> None:
    assert _unfounded(_TABLE.sub("", page), page + questions) == []
    assert _unfounded(_TABLE.sub("", questions), page + questions) == []


def test_numbers_of_the_first_screen_stand_there_too(page: str, questions: str) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.split("## Results on real data\n")[1].split("\n## ")[0]
    assert _unfounded(section, page + questions) == []


def _unfounded(text: str, pages: str) -> list[str]:
    """Return the numbers of a text that no table of the pages has."""
    there = set(re.findall(r"\d+(?:\.\d+)?", " ".join(_TABLE.findall(pages))))
    said = _NUMBER.findall(_CODE.sub("", text))
    assert said
    return [number for number in said if number not in there]


def test_the_page_is_short(page: str) -> None:
    assert len(page.splitlines()) <= 200


def test_records_give_every_figure(page: str, questions: str, cells: tuple[Cell, ...]) -> None:
    linked = set(re.findall(r"\]\((figures/[^)]+)\)", page + questions))
    drawn = document_results.figures(page + questions, cells)
    assert linked == {f"figures/{name}" for name in drawn} != set()
    for name, data in drawn.items():
        kept = (REPORTS / "figures" / name).read_text(encoding="utf-8")
        # Other versions of matplotlib write the same drawing with other bytes.
        assert _TEXT.findall(kept) == _TEXT.findall(data.decode("utf-8")) != [], name


def test_records_fit_a_repository() -> None:
    files = [path for path in document_results.RECORDS.rglob("*") if path.is_file()]
    assert 0 < sum(path.stat().st_size for path in files) <= 15 * 10**6


def test_a_task_that_is_not_there_is_said(cells: tuple[Cell, ...]) -> None:
    with pytest.raises(ValueError, match="is not one task but"):
        document_results.table("methods cifar10 cohort_size=99", cells)


def test_a_question_that_is_not_there_is_said(cells: tuple[Cell, ...]) -> None:
    with pytest.raises(ValueError, match=r"questions.toml has no question 'epoch'"):
        document_results.table("questions epoch", cells)
