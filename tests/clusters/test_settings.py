"""What a launcher is told, and what it is not to be told."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gptfl_bench.cli import main
from gptfl_bench.clusters.settings import Dask, Submitit, parted, read
from gptfl_bench.core.errors import UsageError


def test_a_launchers_settings_are_parted_from_a_cells() -> None:
    overrides = ["rounds=2", "launcher.partition=gpu", 'launcher.modules="cuda/12,gcc"']
    told, rest = parted("submitit", [*overrides, "launcher.gpus=1", "plan.lr=0.1"])
    assert rest == ["rounds=2", "plan.lr=0.1"]
    settings = read(Submitit, told)
    assert settings == Submitit(partition="gpu", gpus=1, modules=("cuda/12", "gcc"))
    assert parted("basic", ["rounds=2"]) == ({}, ["rounds=2"])


def test_a_value_may_be_written_as_python_hands_it_over() -> None:
    told, _ = parted("dask", ['launcher.address="tcp://a:1"', "launcher.collect=true"])
    assert read(Dask, told) == Dask("tcp://a:1", collect=True)


@pytest.mark.parametrize(
    ("launcher", "setting", "sentence"),
    [
        ("basic", "launcher.address=tcp://a:1", "is for --launcher dask or submitit"),
        ("dask", "launcher.adress=tcp://a:1", "launcher.address"),
        ("dask", "launcher.collect=perhaps", "launcher.collect=perhaps must be true or false"),
        ("dask", "launcher.patience=0", "must be a whole number of 1 or more"),
        ("submitit", "launcher.gpus=-1", "launcher.gpus=-1 must be a whole number of 0 or more"),
        ("submitit", "launcher.minutes=2.5", "must be a whole number of 1 or more"),
        ("submitit", "launcher.cluster=pbs", "auto, local, slurm"),
    ],
)
def test_what_a_launcher_can_not_be_told(
    launcher: str,
    setting: str,
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(UsageError, match=sentence):
        parted(launcher, [setting])
    words = ["run", "--launcher", launcher, "--out", str(tmp_path / "runs"), setting]
    assert main(words) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_processes_are_for_launchers_of_this_machine() -> None:
    import gptfl_bench as gb

    run: Callable[..., Any] = gb.run
    with pytest.raises(UsageError, match="needs --launcher joblib or dask"):
        run("fedavg", processes=2)
