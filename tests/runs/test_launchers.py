"""What goes wrong outside of a cell ends that cell at most, in a sentence, and can be made up."""

import errno
import math
import os
import signal
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import gptfl_bench as gb
from gptfl_bench.cells import checkpoint
from gptfl_bench.cli import main
from gptfl_bench.core.errors import StorageError, UsageError
from gptfl_bench.core.groups import Groups
from gptfl_bench.data.task import Task
from gptfl_bench.engine.cohort import Cohort
from gptfl_bench.engine.server import Server
from gptfl_methods.fedavg import FedAvg
from gptfl_reports.notebook import Results
from gptfl_reports.records.cells import read_cells
from gptfl_reports.records.events import CellEnded, Event, EventLog, read_events

NO_ROOM = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
WORDS = ["run", "--methods", "fedavg,fedprox", "--seeds", "0", "--preset", "quick", "rounds=2"]
Run = Callable[..., Results]


@pytest.fixture
def run(tiny_task: Task, tmp_path: Path) -> Run:
    """Return what runs methods on the tiny task in one run folder."""

    def run(*methods: object, **keywords: Any) -> Results:
        settings: dict[str, Any] = {
            "num_clients": 4,
            "cohort_size": 2,
            "rounds": 3,
            "partition": {"min_size": 1},
            "out": tmp_path / "runs",
        }
        kinds: Any = list(methods)
        return gb.run(kinds, tiny_task, [0], model="linear", **{**settings, **keywords})

    return run


def _values(results: Results) -> list[list[float]]:
    return [[event.loss for event in cell.evaluations] for cell in results.cells]


def _fatal(healed: Path) -> FedAvg:
    """Return a method whose process is killed in round 2, as for want of memory, until healed."""

    @dataclass(frozen=True)
    class Fatal(FedAvg):
        def aggregate(self, state: Groups, cohort: Cohort, server: Server) -> Groups:
            if server.round == 2 and not healed.exists():
                os.kill(os.getpid(), signal.SIGKILL)
            return super().aggregate(state, cohort, server)

    return Fatal()


def test_a_killed_worker_ends_its_cell_alone_which_goes_on_later(run: Run, tmp_path: Path) -> None:
    healed = tmp_path / "healed"
    methods = ["fedavg", "fedprox", _fatal(healed)]
    results = run(*methods, launcher="joblib")
    assert list(results.rows["status"]) == ["finished", "finished", "failed"]
    reason, run_id = results.rows["reason"][2], results.rows["run_id"][2]
    assert "was killed" in reason
    on_disk = {cell.record["method"]: cell.ending for cell in read_cells(tmp_path / "runs")}
    assert on_disk["fatal"] == CellEnded("failed", reason, interrupted=True)

    healed.touch()
    log = tmp_path / "runs" / run_id / "events.jsonl"
    before = [event for event in read_events(log) if not isinstance(event, CellEnded)]
    again = run(*methods, launcher="joblib")
    assert list(again.rows["status"]) == ["finished"] * 3
    assert _values(again) == _values(run(*methods, out=tmp_path / "undisturbed"))
    assert list(again.cells[2].events)[: len(before) - 1] == before[:-1], "it went on, not anew"


def _full(patch: pytest.MonkeyPatch, full: Callable[[Path], bool]) -> None:
    """Let no file be written where ``full`` says so."""
    write = Path.write_bytes

    def refuse(path: Path, data: bytes) -> int:
        if full(path):
            raise NO_ROOM
        return write(path, data)

    patch.setattr(Path, "write_bytes", refuse)


def test_a_full_disk_ends_a_cell_which_goes_on_later(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "CHECKPOINT_SHARE", math.inf)
    written: list[Path] = []

    def full(path: Path) -> bool:
        written.append(path)
        return "fedavg" in str(path) and sum("checkpoint" in p.name for p in written) > 2

    with monkeypatch.context() as patch:
        _full(patch, full)
        results = run("fedavg", "fedprox")
    assert list(results.rows["status"]) == ["failed", "finished"]
    assert "No space left on device); make room" in results.rows["reason"][0]
    assert not list((tmp_path / "runs").rglob("*.part"))
    again = run("fedavg", "fedprox")
    assert _values(again) == _values(run("fedavg", "fedprox", out=tmp_path / "undisturbed"))


def test_a_disk_so_full_that_not_even_the_log_can_say_so(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = EventLog.append

    def refuse(self: EventLog, event: Event) -> None:
        if "fedavg" in str(self._path) and self.offset > 500:
            raise StorageError("no room.")
        append(self, event)

    with monkeypatch.context() as patch:
        patch.setattr(EventLog, "append", refuse)
        results = run("fedavg", "fedprox")
    assert [cell.ending.status for cell in results.cells] == ["failed", "finished"]
    assert results.cells[0].ending.reason == "no room."
    again = run("fedavg", "fedprox")
    assert _values(again) == _values(run("fedavg", "fedprox", out=tmp_path / "undisturbed"))


def test_a_disk_so_full_that_a_cell_can_not_begin(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        _full(patch, lambda path: "fedavg" in str(path))
        results = run("fedavg", "fedprox")
    assert list(results.rows["status"]) == ["failed", "finished"]
    assert list(run("fedavg", "fedprox").rows["status"]) == ["finished"] * 2


def test_a_full_disk_is_exit_code_1_and_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _full(monkeypatch, lambda path: path.parent.name.startswith("fedavg"))
    assert main([*WORDS, "--out", str(tmp_path / "runs")]) == 1
    said = capsys.readouterr()
    assert "fedavg seed 0: failed: " in said.err
    assert "1 of 2 cells failed (fedavg seed 0); the same command tries them again" in said.err
    assert "No space left" in said.err
    assert "Traceback" not in said.err
    assert "fedprox" in said.out


class _Half:
    """A file with room for half of what is written."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, data: memoryview) -> int:
        if len(data) < 20:
            raise NO_ROOM
        return int(self._file.write(data[: len(data) // 2]))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def test_a_log_without_room_stays_whole(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.append(CellEnded("failed", "one"))
    file = log._file
    log._file = _Half(file)  # type: ignore[assignment]
    with pytest.raises(StorageError, match=r"events\.jsonl.*No space left"):
        log.append(CellEnded("failed", "two"))
    log._file = file
    log.append(CellEnded("failed", "three"))
    log.close()
    assert [e.reason for e in read_events(path) if isinstance(e, CellEnded)] == ["one", "three"]


def test_without_processes_cells_run_one_after_another(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    import joblib

    def no_semaphores(*_: object, **__: object) -> object:
        raise NO_ROOM

    monkeypatch.setattr(joblib, "Parallel", no_semaphores)
    assert list(run("fedavg", "fedprox", launcher="joblib").rows["status"]) == ["finished"] * 2


class _Job:
    """A job of a cluster, run at once; killed if its cell's method is called so."""

    job_id = "17"

    def __init__(self, work: Callable[..., object], *words: Any) -> None:
        self._killed = "fedprox" in words[0].run_id
        self._cell = None if self._killed else work(*words)

    def done(self) -> bool:
        return True

    def result(self) -> object:
        if self._killed:
            raise RuntimeError("Job (task=0) failed during processing.\nstderr:\nslurmstepd: ...")
        return self._cell


class _Executor:
    cluster = "local"

    def __init__(self, folder: Path, cluster: str | None) -> None:
        self.folder = folder

    def update_parameters(self, **_: object) -> None:
        """Take anything."""

    def batch(self) -> AbstractContextManager[None]:
        return nullcontext()

    submit = _Job


def test_a_killed_job_ends_its_cell_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", types.ModuleType("submitit"))
    monkeypatch.setattr(sys.modules["submitit"], "AutoExecutor", _Executor, raising=False)
    results = run("fedavg", "fedprox", "fedopt", launcher="submitit")
    assert list(results.rows["status"]) == ["finished", "failed", "finished"]
    reason = "its job 17 gave no result (Job (task=0) failed during processing)."
    assert results.rows["reason"][1] == reason


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A folder that the system says can't be written to; root may write to any other kind."""
    folder = tmp_path / "read-only"
    folder.mkdir()
    access, mkdir = os.access, os.mkdir

    def within(path: Any) -> bool:
        return Path(path).absolute().is_relative_to(folder)

    def refuse(path: Any, mode: int, **keywords: Any) -> bool:
        return not (mode & os.W_OK and within(path)) and access(path, mode, **keywords)

    def make(path: Any, *rest: Any, **keywords: Any) -> None:
        if within(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        mkdir(path, *rest, **keywords)

    monkeypatch.setattr(os, "access", refuse)
    monkeypatch.setattr(os, "mkdir", make)
    yield folder
    assert not list(folder.iterdir())


@pytest.mark.parametrize("out", ["", "a", "a/b"])
def test_a_folder_that_can_not_be_written_to_is_wrong_use(
    read_only: Path, out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*WORDS, "--out", str(read_only / out)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(read_only / out) in line
    assert line.endswith("choose another folder with --out.")


def test_a_working_folder_that_can_not_be_written_to(
    read_only: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(read_only)
    assert main(WORDS) == 2
    assert f"'runs' can't be written to, for {str(read_only)!r}" in capsys.readouterr().err


def test_a_read_only_cache_is_said_with_its_option_and_only_if_needed(
    read_only: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("GPTFL_BENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(read_only))
    monkeypatch.setenv("HOME", str(read_only))
    out = ["--out", str(tmp_path / "runs")]
    assert main([*WORDS, *out, "--methods", "gptfl"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--cache" in line
    assert not (tmp_path / "runs").exists()
    assert main([*WORDS, *out]) == 0


def test_a_cache_that_refuses_in_the_end_names_its_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not every system says beforehand what it will refuse."""
    make = Path.mkdir

    def refuse(path: Path, *words: Any, **keywords: Any) -> None:
        if path.is_relative_to(tmp_path / "cache"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        make(path, *words, **keywords)

    monkeypatch.setattr(Path, "mkdir", refuse)
    words = [*WORDS, "--methods", "gptfl,fedavg", "--out", str(tmp_path / "runs")]
    assert main([*words, "--cache", str(tmp_path / "cache")]) == 1
    said = capsys.readouterr().err
    assert "gptfl seed 0: failed: " in said
    assert "Permission denied); choose another folder with --cache" in said
    assert "fedavg seed 0: " in said
    assert "Traceback" not in said


def test_without_any_folder_for_temporary_files(
    tiny_task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object, **__: object) -> object:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr("tempfile.TemporaryDirectory", none)
    with pytest.raises(UsageError, match=r"temporary .*out="):
        gb.run("fedavg", tiny_task, [0], model="linear", num_clients=4, cohort_size=2)
