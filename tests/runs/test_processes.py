"""How many cells run at once, and on which GPU; the GPUs are made up."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gptfl_bench.cells.spec import CellSpec
from gptfl_bench.cli import main
from gptfl_bench.runs import launchers
from gptfl_bench.runs.processes import processes_for, spread
from gptfl_methods.fedavg import FedAvg

GIB = 2**30
Specs = Callable[..., list[CellSpec]]


@pytest.fixture
def specs(make_spec: Callable[..., CellSpec]) -> Specs:
    def make(*devices: str, threads: int = 1) -> list[CellSpec]:
        return [
            make_spec(FedAvg(), seed=seed, device=device, threads=threads)
            for seed, device in enumerate(devices)
        ]

    return make


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return what makes this a machine of some cores and GPUs with so many GiB free."""

    def make(cores: int, *free: float) -> None:
        monkeypatch.setattr(os, "cpu_count", lambda: cores)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(free))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(free))
        room = [(int(gib * GIB), 80 * GIB) for gib in free]
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda number: room[number])

    return make


@pytest.mark.parametrize(
    ("cores", "free", "devices", "threads", "count"),
    [
        (8, (), ["auto"], 1, 8),
        (8, (), ["cpu"], 2, 4),
        (8, (80,), ["cpu"], 1, 8),
        (16, (80,), ["auto"], 1, 4),
        (2, (80,), ["auto"], 1, 2),
        (16, (9.5,), ["cuda"], 1, 2),
        (16, (1,), ["cuda"], 1, 1),
        (16, (80, 80), ["auto"], 1, 8),
        (16, (80, 5), ["cuda"], 1, 5),
        (16, (80, 5), ["cuda:1"], 1, 1),
        (16, (80, 5), ["cuda:0", "cpu"], 1, 4),
    ],
)
def test_free_memory_says_how_many_share_a_gpu(
    machine: Callable[..., None],
    specs: Specs,
    cores: int,
    free: tuple[float, ...],
    devices: list[str],
    threads: int,
    count: int,
) -> None:
    machine(cores, *free)
    assert processes_for(specs(*devices, threads=threads)) == count
    assert processes_for(specs(*devices, threads=threads), 7) == 7


def test_gpus_take_turns(machine: Callable[..., None], specs: Specs) -> None:
    machine(16, 80, 80, 80)
    cells = specs("auto", "cuda", "cpu", "auto", "cuda:2", "auto")
    there = spread(cells)
    assert [spec.settings.device for spec in there] == [
        *("cuda:0", "cuda:1", "cpu", "cuda:2", "cuda:2", "cuda:0")
    ]
    assert [spec.run_id for spec in there] == [spec.run_id for spec in cells]


@pytest.mark.parametrize("free", [(), (80,)])
def test_one_gpu_or_none_takes_no_turns(
    machine: Callable[..., None], specs: Specs, free: tuple[int, ...]
) -> None:
    machine(16, *free)
    cells = specs("auto", "cpu")
    assert spread(cells) == cells


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--processes", "0", "--launcher", "joblib"], "'0' must be a whole number of 1 or more"),
        (["--processes", "two", "--launcher", "joblib"], "'two' must be a whole number"),
        (["--processes", "-1", "--launcher", "joblib"], "'-1' must be"),
        (["--processes", "2"], "needs --launcher joblib"),
    ],
)
def test_a_wrong_number_of_processes_is_wrong_use(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "runs"
    assert main(["run", "--methods", "fedavg", "--out", str(out), *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not out.exists()


def test_as_many_processes_run_as_were_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    pool = launchers._pool

    def look(cells: list[CellSpec], context: object, processes: int) -> object:
        seen.append(processes)
        return pool(cells, context, processes)  # type: ignore[arg-type]

    monkeypatch.setattr(launchers, "_pool", look)
    words = ["run", "--methods", "fedavg", "--seeds", "0,1,2", "--preset", "quick", "rounds=1"]
    words += ["--launcher", "joblib", "--processes", "3", "--out", str(tmp_path / "runs")]
    assert main(words) == 0
    assert seen == [3]
