"""Accuracy targets: ranges by hand, what is met, what is missed, and files that don't fit."""

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from gptfl_bench.cli import main
from gptfl_bench.core.errors import UsageError
from gptfl_reports.records.cells import read_cells
from gptfl_reports.targets import Finding, Range, compare, make, read, untested, write

MakeCell = Callable[..., Path]


@pytest.fixture
def three_seeds(make_cell: MakeCell, tmp_path: Path) -> Path:
    """Return a run folder: FedAvg ends at 70, 80 and 90 % and never reaches the target of 95 %."""
    for seed, value in enumerate((0.7, 0.8, 0.9)):
        make_cell("fedavg", seed, [0.1, value], target=0.95)
    return tmp_path / "run"


def ends(accepted: Range | None) -> tuple[float, float]:
    assert accepted is not None
    return accepted.low, accepted.high


def missed(findings: list[Finding]) -> dict[str, str]:
    return {finding.quantity: finding.reason for finding in findings if finding.reason}


def test_a_range_is_twice_the_standard_error_of_a_difference(three_seeds: Path) -> None:
    """Mean 0.8, sd 0.1: half-width 2 * 0.1 * sqrt(2 / 3) = 0.1633."""
    (target,) = make(read_cells(three_seeds)).targets
    assert ends(target.value) == pytest.approx((0.8 - 0.163299, 0.8 + 0.163299), abs=1e-6)
    assert (target.seeds, target.status) == ((0, 1, 2), ("finished",) * 3)
    assert (target.reached, target.scalars_to_target) == (0, None)
    assert target.traffic["scalars_down"] == 250


def test_what_made_the_targets_meets_them(three_seeds: Path, tmp_path: Path) -> None:
    path = tmp_path / "ci" / "targets.yaml"
    write(path, make(read_cells(three_seeds)))
    cells = read_cells(three_seeds)
    assert missed(compare(cells, read(path))) == {}
    assert read(path) == make(cells)
    assert untested(cells, read(path)) == []


def test_equal_seeds_leave_half_a_point_for_rounding(make_cell: MakeCell, tmp_path: Path) -> None:
    for seed in (0, 1):
        make_cell("fedavg", seed, [0.1, 0.96], target=0.95)
    (target,) = make(read_cells(tmp_path / "run")).targets
    assert ends(target.value) == pytest.approx((0.96 - 0.005, 0.96 + 0.005))
    # 250 + 125 scalars in the only round, 5 % less or more.
    assert ends(target.scalars_to_target) == pytest.approx((375 * 0.95, 375 * 1.05))
    assert target.reached == 2


@pytest.mark.parametrize(
    ("values", "changes", "expected"),
    [
        ((0.4, 0.5, 0.6), {}, {"value": "below"}),
        ((0.97, 0.98, 0.99), {"target": 0.999}, {"value": "above"}),
        ((0.7, 0.8, 0.9), {"once": 400}, {"client_bytes_once": "above"}),
    ],
)
def test_another_result_misses(
    make_cell: MakeCell,
    three_seeds: Path,
    tmp_path: Path,
    values: tuple[float, ...],
    changes: dict[str, float],
    expected: dict[str, str],
) -> None:
    targets = make(read_cells(three_seeds))
    for seed, value in enumerate(values):
        make_cell(
            "fedavg", seed, [0.1, value], run_folder=tmp_path / "now", **{"target": 0.95, **changes}
        )
    assert missed(compare(read_cells(tmp_path / "now"), targets)) == expected


def test_forgotten_traffic_and_another_ending_miss(make_cell: MakeCell, tmp_path: Path) -> None:
    make_cell("fedgen", 0, [0.1, 0.8], down=1000)
    make_cell("dynafed", 0, [0.1, 0.8])
    targets = make(read_cells(tmp_path / "run"))
    now = tmp_path / "now"
    make_cell("fedgen", 0, [0.1, 0.8], down=600, run_folder=now)
    make_cell("dynafed", 0, [0.1, 0.8], status="diverged", reason="nan", run_folder=now)
    findings = compare(read_cells(now), targets)
    assert missed([f for f in findings if f.method == "fedgen"]) == {
        "scalars_down": "below",
        "bytes_down": "below",
    }
    diverged = missed([f for f in findings if f.method == "dynafed"])
    assert diverged["status"] == "diverged instead of finished"
    assert diverged["value"] == "there is none"


def test_missing_seeds_miss_and_other_methods_are_named(
    make_cell: MakeCell, three_seeds: Path, tmp_path: Path
) -> None:
    targets = make(read_cells(three_seeds))
    make_cell("fedavg", 1, [0.1, 0.8], target=0.95, run_folder=tmp_path / "now")
    make_cell("fedprox", 1, [0.1, 0.8], target=0.95, run_folder=tmp_path / "now")
    cells = read_cells(tmp_path / "now")
    assert missed(compare(cells, targets)) == {"seeds": "seeds 0, 2 are missing"}
    (name,) = untested(cells, targets)
    assert name.startswith("fedprox on digits")


def test_two_settings_or_a_running_cell_are_refused(make_cell: MakeCell, tmp_path: Path) -> None:
    make_cell("fedavg", 0)
    make_cell("fedavg", 0, run_id="again")
    with pytest.raises(UsageError, match="fedavg was run with two settings"):
        make(read_cells(tmp_path / "run"))
    make_cell("moon", 0, status="running", run_folder=tmp_path / "now")
    with pytest.raises(UsageError, match="has not ended"):
        make(read_cells(tmp_path / "now"))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("schema: 1\ncommands: []\nversions: {}\ntargets: [{task: x}]", "targets.0.method"),
        ("schema: 2\ncommands: []\nversions: {}\ntargets: []", "has schema 2"),
        ("a: [", "no YAML file of targets"),
        ("- 1", "targets.yaml"),
        ("${oops", "targets"),
    ],
)
def test_files_that_are_no_targets(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "targets.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=named):
        read(path)
    with pytest.raises(UsageError, match="can't be read"):
        read(tmp_path / "nowhere.yaml")


def test_the_command(
    three_seeds: Path, make_cell: MakeCell, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    targets, xml = tmp_path / "targets.yaml", tmp_path / "check.xml"
    ours = ["--targets", str(targets)]
    assert main(["check", str(three_seeds), *ours]) == 2
    assert "--write makes one" in capsys.readouterr().err
    assert main(["check", str(three_seeds), *ours, "--write"]) == 0
    assert main(["check", str(three_seeds), *ours, "--junit", str(xml)]) == 0
    assert "8 of 8 met" in capsys.readouterr().out
    assert ElementTree.parse(xml).getroot().get("failures") == "0"
    for seed in range(3):
        make_cell("fedavg", seed, [0.1, 0.2], target=0.95, run_folder=tmp_path / "now")
    assert main(["check", str(tmp_path / "now"), *ours, "--junit", str(xml)]) == 1
    out = capsys.readouterr().out
    assert "below" in out
    assert "7 of 8 met" in out
    (failure,) = ElementTree.parse(xml).getroot().iter("failure")
    assert "below" in str(failure.get("message"))
