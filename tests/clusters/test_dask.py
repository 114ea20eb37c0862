"""Workers of Dask: the numbers of one process, lost workers, and disks that are not shared."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from gptfl_bench.cells.checkpoint import Checkpoint
from gptfl_bench.cells.rounds import Rounds
from gptfl_bench.core.errors import UsageError, WorkerKilled
from gptfl_reports.records.cells import Cell, read_cells

Launch = Callable[..., list[Cell]]
Told = Callable[[list[Cell]], list[object]]
distributed = pytest.importorskip("distributed", reason="needs gptfl-bench[dask]")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A scheduler with a worker of two threads."""
    options = {"n_workers": 1, "threads_per_worker": 2, "processes": False}
    with distributed.LocalCluster(**options, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


def test_a_grid_on_workers_has_the_numbers_of_one_process(
    launch: Launch, told: Told, serial: list[object], address: str, tmp_path: Path
) -> None:
    assert told(launch("dask", "dask", address=address)) == serial
    # Cells that stand are not sent anywhere.
    begun = (tmp_path / "dask").stat().st_mtime_ns
    again = launch("dask", "dask", address=address)
    assert [cell.ending.status for cell in again] == ["finished"] * 4
    assert (tmp_path / "dask").stat().st_mtime_ns == begun


def test_folders_come_back_from_machines_without_a_shared_disk(
    launch: Launch, told: Told, serial: list[object], address: str, tmp_path: Path
) -> None:
    far = tmp_path / "far"
    assert told(launch("far", "dask", address=address, collect="true")) == serial
    assert [cell.folder.parent for cell in read_cells(far)] == [far] * 4

    def files(folder: Path) -> set[str]:
        there = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
        return {str(path.relative_to(folder)) for path in there}

    assert files(far) == files(tmp_path / "serial")


def test_what_a_folder_holds_travels_along(
    launch: Launch, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[bool] = []
    run, step = Rounds.run, Rounds.step

    def look(self: Rounds, checkpoint: Checkpoint | None) -> None:
        begun.append(checkpoint is None)
        run(self, checkpoint)

    def die(self: Rounds, state: Any, server: Any) -> Any:
        if server.round == 2:
            raise WorkerKilled("gone.")
        return step(self, state, server)

    with monkeypatch.context() as patch:
        patch.setattr(Rounds, "step", die)
        assert {cell.ending.interrupted for cell in launch("far", "basic")} == {True}
    monkeypatch.setattr(Rounds, "run", look)
    ended = launch("far", "dask", address=address, collect="true")
    assert [cell.ending.status for cell in ended] == ["finished"] * 4
    assert begun == [False] * 4


def test_no_scheduler_is_wrong_use(launch: Launch, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="start 'dask scheduler' there"):
        launch("none", "dask", address="tcp://127.0.0.1:9", patience="1")
    assert not list(tmp_path.glob("none/*"))


def test_without_workers_cells_are_given_up(launch: Launch, address: str) -> None:
    from gptfl_bench.clusters import dask

    def leave(*_: object) -> Iterator[Any]:
        yield from ()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dask, "_as_they_end", leave)
        ended = launch("left", "dask", address=address)
    assert {cell.ending.status for cell in ended} == {"failed"}
    assert "no worker of Dask was there for 60 s" in ended[0].ending.reason
    assert all(cell.ending.interrupted for cell in ended)


def _started(*words: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-m", "dask", *words], stderr=subprocess.DEVNULL)


@pytest.mark.slow
def test_a_killed_worker_costs_a_cell_that_the_next_one_resumes(
    launch: Launch, told: Told, serial: list[object], tmp_path: Path
) -> None:
    address, ended = "tcp://127.0.0.1:8799", list[Cell]()
    common = ("--nthreads", "1", "--no-nanny", "--no-dashboard")
    there = [_started("scheduler", "--host", "127.0.0.1", "--port", "8799", "--no-dashboard")]
    try:
        there += [_started("worker", address, *common) for _ in range(2)]
        work = Thread(target=lambda: ended.extend(launch("dask", "dask", address=address)))
        work.start()
        while not list((tmp_path / "dask").glob("*/events.jsonl")):
            time.sleep(0.05)
        there[1].kill()
        work.join(timeout=500)
    finally:
        for process in there:
            process.kill()
    assert told(ended) == serial
