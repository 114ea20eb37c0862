"""Two run folders in one report: what is in both, what changed, and what counts."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from gptfl_bench.cli import main
from gptfl_reports.records.errors import UsageError
from gptfl_reports.report import Report

MakeCell = Callable[..., Path]


@pytest.fixture
def two(make_cell: MakeCell, tmp_path: Path) -> tuple[Path, Path]:
    """Return two run folders: FedAvg as before, MOON with a bug, SCAFFOLD and FedProx in one."""
    before, after = tmp_path / "before", tmp_path / "after"
    for seed in range(3):
        for folder, moon in ((before, 0.8), (after, 0.6 + seed / 100)):
            make_cell("fedavg", seed, [0.1, 0.5], run_folder=folder)
            sha256 = "ef" if folder is before else "ab"
            make_cell("moon", seed, [0.1, moon], run_folder=folder, method_sha256=32 * sha256)
        make_cell("scaffold", seed, run_folder=before)
        make_cell("fedprox", seed, run_folder=after)
    return before, after


def test_a_planted_bug_shows_and_what_is_equal_is_called_so(two: tuple[Path, Path]) -> None:
    comparison = Report.of_folders(two).between
    assert comparison is not None
    found = {change.label: change for change in comparison.changes}
    assert found.keys() == {"fedavg", "moon"}
    assert found["fedavg"].verdict == "the same numbers"
    moon = found["moon"]
    assert moon.difference is not None
    assert moon.difference.mean == pytest.approx(-0.19)
    assert moon.verdict == "lower"
    assert moon.made == "source efefefef and abababab"
    assert [(name, what.split()[0]) for name, what in comparison.alone] == [
        ("before", "scaffold"),
        ("after", "fedprox"),
    ]


def test_differences_that_noise_explains_are_no_verdict(
    make_cell: MakeCell, tmp_path: Path
) -> None:
    for seed, shift in enumerate((0.05, -0.04, 0.01)):
        for name, by in (("a", 0.0), ("b", shift)):
            make_cell("fedavg", seed, [0.1, 0.5 + by], run_folder=tmp_path / name)
    comparison = Report.of_folders([tmp_path / "a", tmp_path / "b"]).between
    assert comparison is not None
    assert [change.verdict for change in comparison.changes] == [
        "different numbers, within the noise"
    ]


def _lines(name: str) -> list[dict[str, str]]:
    text = Path("report", f"{name}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def test_the_command_takes_several_folders_and_another_target(
    two: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(two[0].parent)
    assert main(["report", "before", "after", "--target", "0.5"]) == 0
    assert "report/between.csv" in capsys.readouterr().out
    lines = _lines("between")
    assert {line["method"]: line["verdict"] for line in lines} == {
        "fedavg": "the same numbers",
        "moon": "lower",
    }
    board = _lines("leaderboard")
    # The later folder's MOON counts, and 0.5 is reached by FedAvg, too.
    rows = {line["method"]: line for line in board}
    assert rows.keys() == {"fedavg", "moon", "scaffold", "fedprox"}
    assert float(rows["moon"]["value_mean_last_mean"]) == pytest.approx(0.61)
    assert {(line["target"], line["n_to_target"]) for line in rows.values()} == {("0.5", "3")}
    page = Path("report/index.html").read_text(encoding="utf-8")
    assert "gptfl-bench report before after --target 0.5" in page
    # A page of several folders lies in none of them.
    assert "record.json" not in page


def test_one_folder_is_compared_with_nothing(two: tuple[Path, Path]) -> None:
    report = Report.of_folders(two[:1])
    assert report.between is None
    assert report.files()["between.md"] == b""


@pytest.mark.parametrize("target", [0, -0.1, 1.5, 50])
def test_a_target_is_a_share(target: float, two: tuple[Path, Path]) -> None:
    with pytest.raises(UsageError, match=r"--target .* must be more than 0 and at most 1"):
        Report.of_folders(two, target=target)
