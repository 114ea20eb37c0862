"""Several runs on one folder share its cells, and readers may look at any moment."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from filelock import BaseFileLock, FileLock

import gptfl_bench as gb
from gptfl_bench.cells.cell import Context
from gptfl_bench.core.cache import Artifacts
from gptfl_bench.runs import experiment, launchers
from gptfl_bench.runs.bars import Plain
from gptfl_reports.records.cells import Cell, read_cells
from gptfl_reports.records.events import CellEnded, RoundAggregated, read_events
from gptfl_reports.tables.rows import rows_table

Start = Callable[[Sequence[object]], BaseProcess]
Bench = Callable[..., Any]
SETTINGS = ("rounds=3", "model=linear", "num_clients=4", "cohort_size=2")
METHODS = ("fedavg", "fedprox", "fedopt")


def _words(out: Path, *more: str, methods: Sequence[str] = METHODS) -> list[object]:
    names = ",".join(methods)
    return [
        *("run", "--methods", names, "--seeds", "0", "--preset", "quick", "--out", out),
        *("--cache", out.with_name("cache"), *SETTINGS, *more),
    ]


def _wait(moment: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not moment():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _ended(out: Path) -> set[str]:
    return {
        path.parent.name.split("-")[0]
        for path in out.glob("*/events.jsonl")
        if any(isinstance(event, CellEnded) for event in read_events(path))
    }


def _code(process: BaseProcess) -> int | None:
    process.join(300)
    return process.exitcode


def _log_length(out: Path, method: str) -> int:
    """Return the length of a cell's log in bytes, 0 before it begins."""
    return sum(path.stat().st_size for path in out.glob(f"{method}-*/events.jsonl"))


def _check_done_once(cells: Sequence[Cell], rounds: int = 3) -> None:
    """Each cell has each of its rounds once, so nobody did another's work again."""
    for cell in cells:
        done = Counter(event.round for event in cell.events if isinstance(event, RoundAggregated))
        assert done == Counter(range(1, rounds + 1))
        assert [event.status for event in cell.events if isinstance(event, CellEnded)] == [
            "finished"
        ]


@contextmanager
def _held(out: Path, method: str) -> Iterator[BaseFileLock]:
    """Hold a cell as a run does, before any run has begun."""
    plan = experiment.plan(METHODS, "digits", "quick", [0], SETTINGS)
    (spec,) = [cell for cell in plan.cells if cell.name == method]
    folder = out / spec.run_id
    folder.mkdir(parents=True)
    # Any thread may let go of it.
    with FileLock(folder / ".lock", thread_local=False) as lock:
        yield lock


@pytest.mark.parametrize("launcher", launchers.LAUNCHERS[:2])
def test_a_held_cell_is_passed_over_and_taken_up_when_it_is_free(
    tmp_path: Path, launcher: launchers.Launcher
) -> None:
    plan = experiment.plan(METHODS, "digits", "quick", [0], SETTINGS)
    context = Context(tmp_path / "runs", Artifacts(tmp_path / "cache"))
    lines: list[str] = []
    with _held(context.out, "fedavg") as lock:
        ended = []
        for cell in launchers.execute(plan.cells, context, Plain(lines.append), launcher):
            ended.append(cell.record["method"])
            if len(ended) == 2:
                threading.Timer(0.2, lock.release, [True]).start()
    assert ended == ["fedprox", "fedopt", "fedavg"]
    assert "[3/3] waiting for 1 cell that another run holds" in lines
    _check_done_once(read_cells(context.out))


def test_two_runs_share_the_work_and_both_have_all_results(
    start: Start, bench: Bench, tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    words = _words(out)
    with _held(out, "fedopt"):
        other = start(words)
        _wait(lambda: "fedavg" in _ended(out))
    answer = bench(*words)
    assert answer.code == 0
    assert all(method in answer.out for method in METHODS)
    assert _code(other) == 0
    _check_done_once(read_cells(out))


def test_the_cell_of_a_killed_run_is_gone_on_with(start: Start, tmp_path: Path) -> None:
    out, rounds = tmp_path / "runs", 40
    more = (f"rounds={rounds}", f"evaluation.every={rounds}")
    holder = start(_words(out, *more, methods=["fedavg"]))
    _wait(lambda: _log_length(out, "fedavg") > 2000)
    assert holder.pid
    os.kill(holder.pid, signal.SIGSTOP)
    assert not _ended(out)
    other = start(_words(out, *more, methods=["fedavg", "fedprox"]))
    _wait(lambda: _log_length(out, "fedprox") > 500)
    holder.kill()
    assert _code(other) == 0
    cells = read_cells(out)
    assert len(cells) == 2
    _check_done_once(cells, rounds)


def test_python_waits_alike(tmp_path: Path) -> None:
    out = tmp_path / "runs"
    with _held(out, "fedprox") as lock:
        threading.Timer(1, lock.release, [True]).start()
        results = gb.run(
            [*METHODS], seeds=[0], preset="quick", out=out, cache=tmp_path / "cache",
            rounds=3, model="linear", num_clients=4, cohort_size=2,
        )  # fmt: skip
    assert list(results.rows["status"]) == ["finished"] * 3
    _check_done_once(results.cells)


@pytest.mark.parametrize("readers", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_readers_never_fail_while_a_run_writes(
    start: Start, bench: Bench, tmp_path: Path, readers: int
) -> None:
    """Each report goes to the same folder, and the run does its cells again, which clears them."""
    out = tmp_path / "runs"
    assert bench(*_words(out)).code == 0
    writer = start(_words(out, "--force", "rounds=3"))
    reports = [start(["report", out]) for _ in range(readers)]
    looks = 0
    while writer.is_alive() or any(report.is_alive() for report in reports):
        # As results does; what other processes say would be in this one's answer.
        looks += bool(rows_table(read_cells(out)))
    assert looks
    assert _code(writer) == 0
    assert [_code(report) for report in reports] == [0] * readers
