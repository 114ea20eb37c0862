"""One damaged cell hides no other, and what no longer applies does not stay."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import gptfl_bench as gb
from gptfl_bench.cli import main
from gptfl_reports.numbers.board import leaderboard
from gptfl_reports.records.cells import read_cells
from gptfl_reports.records.errors import UsageError
from gptfl_reports.report import write_report
from gptfl_reports.tables.leaderboard import to_csv, to_markdown, to_terminal
from gptfl_reports.tables.rows import rows_table

MakeCell = Callable[..., Path]
HandOut = Callable[..., dict[str, object]]

DAMAGE = {
    "record of NULs": ("record.json", b"\0" * 40),
    "half a record": ("record.json", b'{"schema": 1, "run_id"'),
    "a list": ("record.json", b"[1, 2]"),
    "newer": ("record.json", b""),
    "log of NULs": ("events.jsonl", b'{"event":\0\0\0\0}\n{}\n'),
}


@pytest.fixture(params=DAMAGE)
def damaged(request: pytest.FixtureRequest, make_cell: MakeCell, run_folder: Path) -> Path:
    make_cell("fedavg", 0)
    folder = make_cell("moon", 0)
    name, content = DAMAGE[request.param]
    if request.param == "newer":
        record = json.loads((folder / name).read_text())
        content = json.dumps({**record, "schema": 999}).encode()
    (folder / name).write_bytes(content)
    return run_folder


def test_the_others_are_shown(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["results", str(damaged), "--format", "csv"]) == 1
    shown = capsys.readouterr()
    assert "fedavg-0" in shown.out
    assert "moon-0" not in shown.out
    assert len(shown.err.splitlines()) == 1
    assert "moon-0" in shown.err
    assert main(["report", str(damaged)]) == 1
    assert "moon-0" in capsys.readouterr().err
    with pytest.warns(UserWarning, match="moon-0"):
        assert len(gb.read(damaged)) == 1
    with pytest.raises(UsageError, match="moon-0"):
        read_cells(damaged)


def test_what_to_do_is_said_of_the_cell_alone(make_cell: MakeCell, run_folder: Path) -> None:
    (make_cell("moon", 0) / "record.json").write_text("{")
    with pytest.raises(UsageError, match=r"run it again with --force moon-0\.$"):
        read_cells(run_folder)


def test_figures_of_an_earlier_report_go(
    make_cell: MakeCell, hand_out: HandOut, run_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report"
    make_cell("fedavg", 0, partition=hand_out([[1, 2], [3, 4]]))
    write_report(run_folder, out)
    before = {path.name for path in out.glob("holdings-*")}
    assert len(before) == 3
    (out / "mine.svg").write_text("kept")
    make_cell("fedavg", 0, partition=hand_out([[4, 3], [2, 1]], name="y", digit="e"))
    write_report(run_folder, out)
    after = {path.name for path in out.glob("holdings-*")}
    assert len(after) == 3
    assert not before & after
    assert (out / "mine.svg").exists()


@pytest.mark.parametrize("package", ["torch", "gptfl-bench"])
def test_seeds_of_different_versions_are_marked(
    package: str, make_cell: MakeCell, run_folder: Path
) -> None:
    make_cell("fedavg", 0)
    make_cell("fedavg", 1, versions={package: "9.9"})
    make_cell("moon", 0)
    board = leaderboard(read_cells(run_folder))
    for text in (to_markdown(board), to_csv(board), to_terminal(board)):
        assert f"{package} 9.9" in text
    statuses = {s.entrant.label: s.entrant.status for s in board.rankings[0].standings}
    assert "seed 0 made by" in statuses["fedavg"]
    assert statuses["moon"] == "1 of 1 finished"


def test_two_settings_of_a_method_can_be_told_apart(make_cell: MakeCell, run_folder: Path) -> None:
    for mu in (0.1, 1.0):
        make_cell("moon", 0, run_id=f"m{mu}", config={"method": {"mu": mu}})
        config = {"method": {"temperature": mu, "another_setting": "constant"}}
        make_cell("fedprox", 0, run_id=f"p{mu}", config=config)
    text = rows_table(read_cells(run_folder))
    assert "moon (mu=0.1)" in text
    assert "moon (mu=1.0)" in text
    assert "fedprox (tempera [1]: fedprox (temperature=0.1)" in text.replace("[3]", "[1]")
    assert sum("fedprox (temperature=" in line for line in text.splitlines()) == 2
