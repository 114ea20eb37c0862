"""Clients on processes that torchrun starts: the numbers of one, and the end of a rank."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from gptfl_bench.cli import main
from gptfl_reports.records.cells import Cell, read_cells
from gptfl_reports.records.events import CellEnded, RoundEvaluated, read_events

SMALL = ("--preset", "quick", "--seeds", "0", "cohort_size=3", "synthetic.generator=renderer")
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Return a function that starts the command line in two processes."""

    def begin(*words: str) -> "subprocess.Popen[str]":
        run = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
        run += ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", "-m", "gptfl_bench"]
        return subprocess.Popen([*run, *words], cwd=tmp_path, stderr=subprocess.PIPE, text=True)

    return begin


def happened(folder: Path) -> list[object]:
    """All that the cells of a run folder tell but how long it took and where results came from."""
    return [_told(cell) for cell in read_cells(folder)]


def _told(cell: Cell) -> list[object]:
    row = {key: value for key, value in cell.row().items() if key != "seconds"}
    events: Sequence[object] = [
        replace(e, **{name: 0 for name in ("seconds", "cached") if hasattr(e, name)})  # type: ignore[arg-type]
        for e in cell.events
    ]
    return [row, *events]


def test_two_ranks_have_the_numbers_of_one_process(start: Start, tmp_path: Path) -> None:
    words = ["run", "--methods", "scaffold,feddf", *SMALL, "rounds=2", "model=linear"]
    ranks = start(*words, "--out", "ranks")
    _, said = ranks.communicate(timeout=300)
    assert ranks.returncode == 0, said
    assert "one after another" not in said
    assert main([*words, "--out", str(tmp_path / "serial")]) == 0
    assert happened(tmp_path / "ranks") == happened(tmp_path / "serial")
    # What the other rank did is seen by nothing but time, so its part is asked for.
    assert "ranks=2" in read_cells(tmp_path / "ranks")[0].record["machine"]


@pytest.mark.slow
def test_a_mistake_is_one_sentence_on_two_ranks(start: Start) -> None:
    ranks = start("run", "--methods", "fedavgg")
    _, said = ranks.communicate(timeout=300)
    assert ranks.returncode != 0
    assert said.count("gptfl-bench: unknown method 'fedavgg'") == 1


@pytest.mark.slow
def test_a_cell_of_each_method_on_two_ranks(start: Start, tmp_path: Path) -> None:
    words = ["run", "--methods", "all,gptfl+scaffold", *SMALL, "rounds=2"]
    ranks = start(*words, "--out", "ranks")
    _, said = ranks.communicate(timeout=3000)
    assert ranks.returncode == 0, said
    assert "one after another" not in said
    assert main([*words, "--out", str(tmp_path / "serial")]) == 0
    assert happened(tmp_path / "ranks") == happened(tmp_path / "serial")


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_killed_in_round_3_ends_all_and_the_same_command_goes_on(
    start: Start, tmp_path: Path, rank: int
) -> None:
    words = ["run", "--methods", "scaffold", *SMALL, "rounds=8", "plan.epochs=20"]
    ranks = start(*words, "--out", "ranks")
    while not any(
        isinstance(event, RoundEvaluated) and event.round == 2
        for log in (tmp_path / "ranks").glob("*/events.jsonl")
        for event in read_events(log)
    ):
        assert ranks.poll() is None
        time.sleep(0.05)
    os.kill(_pid_of(rank, tmp_path), signal.SIGKILL)
    _, said = ranks.communicate(timeout=300)
    assert ranks.returncode != 0
    assert said.count("of torchrun's processes is gone; the same command goes on from here") == 1
    (cell,) = read_cells(tmp_path / "ranks")
    assert not [event for event in cell.events if isinstance(event, CellEnded)]
    again = start(*words, "--out", "ranks")
    _, said = again.communicate(timeout=3000)
    assert again.returncode == 0, said
    assert main([*words, "--out", str(tmp_path / "serial")]) == 0
    assert happened(tmp_path / "ranks") == happened(tmp_path / "serial")


def _pid_of(rank: int, folder: Path) -> int:
    """Return the process of a rank that works in a folder."""
    for place in Path("/proc").glob("[0-9]*"):
        try:
            told = (place / "environ").read_bytes().split(b"\0")
            here = (place / "cwd").resolve() == folder
        except OSError:
            continue
        if here and f"RANK={rank}".encode() in told:
            return int(place.name)
    raise AssertionError(f"no rank {rank}")
