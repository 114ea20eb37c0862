import ast
import csv
import io
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from gptfl_bench.core.errors import UsageError
from gptfl_reports.figures import curves
from gptfl_reports.numbers.board import leaderboard
from gptfl_reports.records.cells import read_cells
from gptfl_reports.records.schema import Row
from gptfl_reports.report import write_report
from gptfl_reports.tables.rounds import milestones, rounds_csv, rounds_markdown
from gptfl_reports.tables.rows import rows_csv, rows_table

MakeCell = Callable[..., Path]

FILES = {
    "ablations.csv", "ablations.md", "comparison.csv", "comparison.md", "curves.csv", "index.html",
    "leaderboard.csv", "leaderboard.md", "leaderboard.tex", "rounds.csv", "rounds.md",
    "table1.csv", "table1.md",
}  # fmt: skip
FIGURES = {
    f"{family}.{kind}"
    for family in ("communication", "pareto", "phases")
    for kind in ("csv", "png", "svg")
} | {"curves.png", "curves.svg"}
ODD = '<script>alert("x")</script> $y$ & z'


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_report_has_all_files_and_leaves_no_parts(
    make_cell: MakeCell, run_folder: Path, tmp_path: Path
) -> None:
    make_cell("fedavg", 0)
    written = write_report(run_folder, tmp_path / "a" / "b")
    assert {path.name for path in written} == FILES | FIGURES
    assert {path.name for path in (tmp_path / "a" / "b").iterdir()} == FILES | FIGURES
    assert (tmp_path / "a" / "b" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_report_inside_the_run_folder_does_not_become_a_cell(
    make_cell: MakeCell, run_folder: Path
) -> None:
    make_cell("fedavg", 0)
    write_report(run_folder, run_folder / "report")
    assert len(read_cells(run_folder)) == 1


def test_same_records_give_the_same_bytes(
    make_cell: MakeCell, run_folder: Path, tmp_path: Path
) -> None:
    for method in ("fedavg", "moon"):
        for seed in (0, 1):
            make_cell(method, seed, (0.1, 0.4 + seed / 10, 0.7))
    make_cell("dsfl", 0, (), status="refused", reason="needs public data.", rounds=2)
    first = {p.name: p.read_bytes() for p in write_report(run_folder, tmp_path / "one")}
    # Another process, another hash seed, another folder, another working directory.
    code = (
        "import sys; from pathlib import Path; from gptfl_reports.report import write_report; "
        "write_report(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    (tmp_path / "matplotlibrc").write_text("font.size: 30\naxes.facecolor: red\n")
    subprocess.run(
        [sys.executable, "-c", code, str(run_folder), str(tmp_path / "two")],
        check=True,
        cwd=tmp_path,
    )
    second = {p.name: p.read_bytes() for p in (tmp_path / "two").iterdir()}
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_reports_import_nothing_heavy(make_cell: MakeCell, run_folder: Path) -> None:
    make_cell("fedavg", 0)
    code = (
        "import sys; import gptfl_reports.report, gptfl_reports.tables.rows; "
        "heavy = {'torch', 'transformers', 'diffusers', 'pandas', 'matplotlib'}; "
        "assert not heavy & set(sys.modules), heavy & set(sys.modules); "
        "from pathlib import Path; "
        "gptfl_reports.report.write_report(Path(sys.argv[1]), Path(sys.argv[1]) / 'report'); "
        "heavy.remove('matplotlib'); "
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(run_folder)], check=True)


def test_reports_know_nothing_of_the_engine() -> None:
    import gptfl_reports

    imported = {
        name
        for path in Path(next(iter(gptfl_reports.__path__))).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else []
        )
    }
    ours = {name for name in imported if name.startswith("gptfl_")}
    assert "gptfl_reports.records.cells" in ours
    assert all(name.startswith("gptfl_reports") for name in ours)


def test_folder_without_cells_is_an_error_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "missing"):
        with pytest.raises(UsageError, match=folder):
            write_report(tmp_path / folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_damaged_cell_is_an_error_and_writes_nothing(
    make_cell: MakeCell, run_folder: Path, tmp_path: Path
) -> None:
    make_cell("fedavg", 0)
    (make_cell("moon", 0) / "record.json").write_text("{")
    with pytest.raises(UsageError, match="moon-0"):
        write_report(run_folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_out_that_is_a_file_is_an_error(
    make_cell: MakeCell, run_folder: Path, tmp_path: Path
) -> None:
    make_cell("fedavg", 0)
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UsageError, match="--out"):
        write_report(run_folder, tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_run_in_which_nothing_finished_has_a_page_without_curves(
    make_cell: MakeCell, run_folder: Path, tmp_path: Path
) -> None:
    make_cell("fedavg", 0, (0.1,), status="running")
    names = {path.name for path in write_report(run_folder, tmp_path / "out")}
    assert names == FILES
    assert "No cell has finished yet" in (tmp_path / "out" / "index.html").read_text()


def test_figure_of_an_earlier_report_does_not_outlive_its_numbers(
    make_cell: MakeCell, run_folder: Path, tmp_path: Path
) -> None:
    cell = make_cell("fedavg", 0)
    write_report(run_folder, tmp_path / "out")
    (cell / "events.jsonl").write_text("")  # as after --force
    write_report(run_folder, tmp_path / "out")
    assert not (tmp_path / "out" / "curves.svg").exists()


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.fixture
def odd_page(make_cell: MakeCell, run_folder: Path, tmp_path: Path) -> str:
    make_cell(
        ODD, 0, run_id="odd", dataset={"name": ODD, "note": ODD}, command=ODD,
        versions={ODD: ODD}, preset={"name": ODD, "quick": True, "search": ODD},
    )  # fmt: skip
    make_cell("fedavg", 0, dataset={"name": ODD}, status="failed", reason=ODD)
    write_report(run_folder, tmp_path / "out")
    return (tmp_path / "out" / "index.html").read_text()


def test_markup_in_labels_is_escaped_on_the_page(odd_page: str) -> None:
    assert "<script>alert" not in odd_page
    assert "&lt;script&gt;" in odd_page
    # The page's own, and the numbers of a chart.
    assert [tag for tag, _ in Page(odd_page).tags].count("script") == 4


def test_page_needs_nothing_from_elsewhere(odd_page: str) -> None:
    for tag, attributes in Page(odd_page).tags:
        assert tag not in {"link", "img", "iframe"}
        assert not attributes.keys() & {"src", "srcset", "onclick", "onload"}
        for key in ("href", "xlink:href"):
            assert (attributes.get(key) or "#").startswith("#")
    style = odd_page[odd_page.index("<style>") : odd_page.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_page_has_captions_scopes_and_unique_ids(odd_page: str) -> None:
    tags = Page(odd_page).tags
    names = [tag for tag, _ in tags]
    # A leaderboard, its cells and values by round for each of two tasks; all tasks; ranks; needs.
    assert names.count("caption") == names.count("table") == 11
    scopes = {"row", "col", "rowgroup"}
    assert all(attributes.get("scope") in scopes for tag, attributes in tags if tag == "th")
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_page_is_stamped_when_a_task_is_quick(odd_page: str) -> None:
    assert "<title>QUICK RUN - not for comparison" in odd_page
    assert 'class="banner">QUICK RUN - not for comparison' in odd_page


def test_page_says_how_it_was_made(make_cell: MakeCell, run_folder: Path, tmp_path: Path) -> None:
    make_cell("fedavg", 0)
    write_report(run_folder, tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text()
    for words in ("torch 2.14.0", "0123abc", "gptfl-bench run", "gptfl-bench report run"):
        assert words in page
    assert str(tmp_path) not in page


def test_a_command_from_a_locale_without_utf_8_is_shown(
    make_cell: MakeCell, run_folder: Path, tmp_path: Path
) -> None:
    typed = "gptfl-bench run --out föhn".encode().decode("ascii", "surrogateescape")
    make_cell("fedavg", 0, command=typed)
    write_report(run_folder, tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "gptfl-bench run --out föhn" in page


def test_figure_numbers_are_means_over_finished_seeds(
    make_cell: MakeCell, run_folder: Path
) -> None:
    make_cell("fedavg", 0, (0.1, 0.4))
    make_cell("fedavg", 1, (0.1, 0.6))
    make_cell("fedavg", 2, (0.9, 0.9), status="diverged", reason="loss.")
    drawn = curves.panels(leaderboard(read_cells(run_folder)))
    rows = table(curves.curves_csv(drawn))
    assert [(r["method"], r["round"], r["n"]) for r in rows] == [
        ("fedavg", "0", "2"),
        ("fedavg", "1", "2"),
    ]
    assert float(rows[1]["mean"]) == pytest.approx(0.5)
    assert float(rows[1]["sd"]) == pytest.approx(0.02**0.5)


def test_figure_is_well_formed_names_all_curves_and_carries_the_stamp(
    make_cell: MakeCell, run_folder: Path
) -> None:
    methods = [f"method{i:02d}" for i in range(30)]  # more than there are looks
    for i, method in enumerate([*methods, "<a> $b$"]):
        make_cell(method, 0, (0.1, 0.9), run_id=f"r{i}", preset={"quick": True})
    drawn = curves.panels(leaderboard(read_cells(run_folder)))
    svg = curves.svg(drawn, curves.styles(drawn))
    words = " ".join(ElementTree.fromstring(svg).itertext())
    assert all(method in words for method in [*methods, "<a> $b$"])
    assert "QUICK RUN - not for comparison" in words
    assert "#123457" not in svg


def test_colours_of_a_method_are_the_same_on_every_task(
    make_cell: MakeCell, run_folder: Path
) -> None:
    for dataset, methods in (("a", ("fedavg", "moon")), ("b", ("fedprox", "moon"))):
        for method in methods:
            make_cell(method, 0, run_id=f"{dataset}{method}", dataset={"name": dataset})
    drawn = curves.panels(leaderboard(read_cells(run_folder)))
    style = curves.styles(drawn)
    assert len(set(style.values())) == 3
    color = style["moon"][0]
    assert all(color in curves.svg([panel], style) for panel in drawn)


def test_value_by_round_shows_the_rounds_there_are_and_the_end(
    make_cell: MakeCell, run_folder: Path
) -> None:
    for seed, shift in ((0, 0.0), (1, 0.02)):
        make_cell("fedavg", seed, [0.1 + r / 20 + shift for r in range(13)])
        make_cell("gptfl", seed, [0.6 + r / 50 + shift for r in range(13)])
    board = leaderboard(read_cells(run_folder))
    text = rounds_markdown(board)
    header = next(line for line in text.splitlines() if line.startswith("| method"))
    assert [cell.strip() for cell in header.strip("|").split("|")] == [
        "method", "round 0", "round 5", "round 10", "last (12)",
    ]  # fmt: skip
    assert "| gptfl    | 61.00 ± 1.41 | 71.00 ± 1.41 | 81.00 ± 1.41 | 85.00 ± 1.41 |".replace(
        " ", ""
    ) in text.replace(" ", "")
    rows = [row for row in table(rounds_csv(board)) if row["label"] == "fedavg"]
    assert [row["round"] for row in rows] == ["0", "5", "10", "last"]
    assert float(rows[1]["mean"]) == pytest.approx(0.36)


def test_a_round_that_is_the_end_has_one_column(make_cell: MakeCell, run_folder: Path) -> None:
    make_cell("fedavg", 0, [r / 20 for r in range(11)])
    text = rounds_markdown(leaderboard(read_cells(run_folder)))
    assert "last (10)" in text
    assert "round 10" not in text


def test_rounds_that_were_not_evaluated_are_left_out(make_cell: MakeCell, run_folder: Path) -> None:
    make_cell("fedavg", 0, (0.1, 0.2, 0.3), evaluated=(0, 4, 8))
    (ranking,) = leaderboard(read_cells(run_folder)).rankings
    found = milestones(ranking.standings[0].entrant)
    assert list(found.at) == [0]
    assert found.last is not None
    assert found.last.mean == pytest.approx(0.3)


def test_results_table_has_one_short_line_a_cell_and_every_sentence(
    make_cell: MakeCell, run_folder: Path
) -> None:
    make_cell("gptfl+a_method_with_a_very_long_name_indeed", 123456, (0.1, 0.95), down=10**12)
    make_cell("fedavg", 0, (0.1, 0.5), status="diverged", reason="the loss was not finite.")
    make_cell("dsfl", 1, (), status="running", rounds=1)
    text = rows_table(read_cells(run_folder))
    assert max(map(len, text.splitlines())) <= 120
    assert "fedavg seed 0: not converged: the loss was not finite." in text
    assert sum(line.startswith(("gptfl+", "dsfl", "fedavg  ")) for line in text.splitlines()) == 3
    assert "95.00" in text
    assert rows_table([]) == "no cells\n"


def test_results_csv_has_the_columns_of_a_row_and_empty_fields_for_null(
    make_cell: MakeCell, run_folder: Path
) -> None:
    make_cell("fedavg", 0, (0.1, 0.5), saw=True)
    make_cell("dsfl", 0, (), status="refused", reason='needs "public", data', rounds=1)
    rows = [cell.row() for cell in read_cells(run_folder)]
    found = table(rows_csv(rows))
    assert list(found[0]) == list(Row.__annotations__)
    assert found[0]["reason"] == 'needs "public", data'
    assert (found[0]["value_last"], found[1]["value_last"]) == ("", "0.5")
    assert (found[1]["server_saw_clients"], found[1]["rounds_to_target"]) == ("true", "")
