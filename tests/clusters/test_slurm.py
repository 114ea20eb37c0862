"""Jobs of submitit: what Slurm is asked for, and processes of this machine."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gptfl_bench.core.errors import UsageError
from gptfl_reports.records.cells import Cell

Launch = Callable[..., list[Cell]]
submitit = pytest.importorskip("submitit", reason="needs gptfl-bench[cluster]")

SBATCH = """#!/bin/sh
cp "$1" "$ASKED/$(ls "$ASKED" | wc -l).sh"
echo Submitted batch job 17
"""
SACCT = """#!/bin/sh
echo 'JobID|State|NodeList'
for n in 0 1 2 3; do echo "17_$n|NODE_FAIL|n1"; done
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where what Slurm is asked for lies, whose node fails each time."""
    programs, asked = tmp_path / "bin", tmp_path / "asked"
    for name, text in {"sbatch": SBATCH, "sacct": SACCT, "srun": "#!/bin/sh\n"}.items():
        programs.mkdir(exist_ok=True)
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    asked.mkdir()
    # A job that failed left no result, and none will come.
    monkeypatch.setattr(submitit.Job, "_results_timeout_s", 0)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("ASKED", str(asked))
    return asked


def test_slurm_is_asked_for_what_the_user_says(launch: Launch, slurm: Path) -> None:
    told = {"partition": "gpu", "account": "me", "gpus": "1", "cpus": "4", "memory": "8"}
    more = {"minutes": "90", "array": "2", "modules": "cuda/12.1,gcc"}
    ended = launch("runs", "submitit", cluster="slurm", **told, **more)
    first, again = [path.read_text() for path in sorted(slurm.iterdir())]
    for line in (
        *("partition=gpu", "account=me", "gpus-per-node=1", "cpus-per-task=4", "mem=8GB"),
        *("time=90", "array=0-3%2", "job-name=gptfl-bench"),
    ):
        assert f"#SBATCH --{line}\n" in first, line
    assert "\nmodule load cuda/12.1\nmodule load gcc\n" in first
    assert first.index("module load gcc") < first.index("srun")
    # Each cell had another job, and goes on later.
    assert "array=0-3%2" in again
    assert {cell.ending.status for cell in ended} == {"failed"}
    assert all(cell.ending.interrupted for cell in ended)
    assert "its job 17_0 gave no result" in ended[0].ending.reason


def test_without_slurm_it_is_said(
    launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"launcher.cluster=slurm is not there .*=local"):
        launch("runs", "submitit", cluster="slurm")


@pytest.mark.slow
def test_processes_of_this_machine_have_the_numbers_of_one(
    launch: Launch, told: Callable[[list[Cell]], list[object]], serial: list[object]
) -> None:
    assert told(launch("jobs", "submitit", cluster="local", array="2")) == serial
