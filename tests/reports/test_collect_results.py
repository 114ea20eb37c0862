"""Records to commit: what has ended, without checkpoints and paths of this machine."""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gptfl_reports.records.cells import read_cells

MakeCell = Callable[..., Path]
HandOut = Callable[..., dict[str, object]]
SCRIPT = Path(__file__).parents[2] / "ci" / "collect_results.py"


@pytest.fixture
def collect() -> Callable[[Path, Path], int]:
    script: dict[str, Any] = runpy.run_path(str(SCRIPT))
    collected: Callable[[Path, Path], int] = script["collect"]
    return collected


def test_rows_are_the_same_and_checkpoints_are_left(
    collect: Callable[[Path, Path], int],
    make_cell: MakeCell,
    hand_out: HandOut,
    run_folder: Path,
    tmp_path: Path,
) -> None:
    partition = hand_out([[3, 4], [5, 6]])
    for method, status in (("fedavg", "finished"), ("moon", "diverged"), ("dsfl", "running")):
        folder = make_cell(method, partition=partition, status=status)
        (folder / "state").mkdir()
        (folder / "state" / "checkpoint.safetensors").write_bytes(b"x" * 1000)
    size = collect(run_folder, tmp_path / "out")
    before = {cell.record["run_id"]: cell.row() for cell in read_cells(run_folder)}
    after = {cell.record["run_id"]: cell.row() for cell in read_cells(tmp_path / "out")}
    assert after.keys() == {"fedavg-0", "moon-0"}
    assert all(before[run_id] == row for run_id, row in after.items())
    assert not list(tmp_path.glob("out/*/state"))
    assert {path.name for path in (tmp_path / "out" / "fedavg-0").iterdir()} == {
        "checksums.json", "events.jsonl.gz", "record.json",
    }  # fmt: skip
    assert (tmp_path / "out" / "partitions" / "x.json").exists()
    assert size == sum(p.stat().st_size for p in (tmp_path / "out").rglob("*") if p.is_file())


def test_a_path_of_this_machine_is_refused_before_anything_is_copied(
    collect: Callable[[Path, Path], int], make_cell: MakeCell, run_folder: Path, tmp_path: Path
) -> None:
    make_cell("fedavg")
    make_cell("moon", command="gptfl-bench run data.path=/home/me/cifar10")
    with pytest.raises(SystemExit, match="names /home/me/cifar10"):
        collect(run_folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
