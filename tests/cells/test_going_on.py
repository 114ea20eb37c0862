"""A cell goes on from what its checkpoint and the files beside it both cover."""

import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gptfl_bench.cells import checkpoint
from gptfl_bench.core.progress import Silent
from gptfl_bench.engine.client_store import ClientStore
from gptfl_bench.engine.method import methods
from gptfl_reports.records import files
from gptfl_reports.records.events import CellEnded, EventLog, RoundEvaluated, holds, read_events

RunCell = Callable[..., Any]


class Kill(Silent):
    """Kills a cell at the end of its second round."""

    def stage(self, name: str, done: int, total: int) -> None:
        if (name, done) == ("rounds", 2):
            raise KeyboardInterrupt


@pytest.fixture
def killed(run_cell: RunCell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a cell that was killed.

    Every round has a checkpoint. Where the last one is written only as the cell ends, as on a busy
    machine, files of clients that an earlier one counts on still lie beside its own.
    """
    monkeypatch.setattr(checkpoint, "CHECKPOINT_SHARE", math.inf)
    with pytest.raises(KeyboardInterrupt):
        run_cell(methods.get("scaffold")(), out=tmp_path / "a", progress=Kill())
    (record,) = (tmp_path / "a").glob("*/record.json")
    return record.parent


def _cut(path: Path, keep: float) -> None:
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])


def _zeroed(path: Path, keep: float) -> None:
    data = path.read_bytes()
    at = int(keep * len(data))
    path.write_bytes(data[:at] + bytes(len(data) - at))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "the log is shorter": lambda folder: _cut(folder / "events.jsonl", 0.5),
    "the log is one byte shorter": lambda folder: _cut(folder / "events.jsonl", 0.9999),
    "the log is empty": lambda folder: _cut(folder / "events.jsonl", 0),
    "the log is not there": lambda folder: (folder / "events.jsonl").unlink(),
    "the log ends in zeros": lambda folder: _zeroed(folder / "events.jsonl", 0.7),
    "the record is not there": lambda folder: (folder / "record.json").unlink(),
    "the clients are not there": lambda folder: shutil.rmtree(folder / "state" / "clients"),
    "a client is shorter": lambda folder: _cut(next((folder / "state").glob("clients/c*")), 0.9),
    "a client is empty": lambda folder: _cut(next((folder / "state").glob("clients/c*")), 0),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_checkpoint_without_what_it_counts_on_begins_anew(
    run_cell: RunCell,
    killed: Path,
    damage: Callable[[Path], object],
    capsys: pytest.CaptureFixture[str],
) -> None:
    damage(killed)
    again = run_cell(methods.get("scaffold")(), out=killed.parent)
    assert "begins anew" in capsys.readouterr().err
    alone = run_cell(methods.get("scaffold")())
    assert again.bits == alone.bits
    assert again.untimed == alone.untimed


@pytest.mark.parametrize("tail", [bytes(100), b'{"event": "Round', b"\xff\n", b"[]\n"])
def test_what_no_checkpoint_counts_on_is_cut_off(
    run_cell: RunCell, killed: Path, tail: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    with (killed / "events.jsonl").open("ab") as log:
        log.write(tail)
    again = run_cell(methods.get("scaffold")(), out=killed.parent)
    assert capsys.readouterr().err == ""
    assert again.untimed == run_cell(methods.get("scaffold")()).untimed


def test_a_copy_without_the_partition_of_its_run_goes_on(run_cell: RunCell, killed: Path) -> None:
    shutil.rmtree(killed.parent / "partitions")
    again = run_cell(methods.get("scaffold")(), out=killed.parent)
    assert (killed.parent / again.cell.record["partition"]["file"]).exists()


def test_data_are_on_the_disk_before_the_checkpoint_that_counts_on_them(
    run_cell: RunCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss of power keeps what was synced, and may keep anything else or nothing of it."""
    synced: dict[int, int] = {}

    def fsync(handle: int) -> None:
        synced[os.fstat(handle).st_ino] = os.fstat(handle).st_size

    missed: list[str] = []
    replace = Path.replace

    def replaced(self: Path, target: Path) -> Path:
        if target.name == checkpoint.CHECKPOINT.name:
            folder = target.parents[1]
            counted = [folder / "events.jsonl", *(folder / "state" / "clients").glob("client-*")]
            for path in [*counted, self]:
                about = path.stat()
                if synced.get(about.st_ino) != about.st_size:
                    missed.append(path.name)
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replaced)
    outcome = run_cell(methods.get("scaffold")())
    assert missed == []
    for place in ("state", "state/clients"):
        inode = (outcome.cell.folder / place).stat().st_ino
        assert inode in synced, "the names in a folder are synced, too"


def test_how_much_of_a_log_holds(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    assert holds(path, 0)
    assert not holds(path, 1)
    log = EventLog(path)
    log.append(RoundEvaluated(0, 0.5, 0.5, 1.0, 10, 0.1))
    first = log.offset
    log.append(CellEnded("finished"))
    whole = log.offset
    log.close()
    assert [n for n in range(whole + 2) if holds(path, n)] == [0, first, whole]
    path.write_bytes(path.read_bytes()[:first] + bytes(whole - first - 1) + b"\n")
    assert [n for n in range(whole + 2) if holds(path, n)] == [0, first]


def test_a_log_is_never_made_longer(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"{}\n")
    with pytest.raises(ValueError, match="fewer than the 9"):
        EventLog(path, keep=9)
    assert path.read_bytes() == b"{}\n"


def test_a_line_that_a_kill_cut_off_is_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.append(CellEnded("failed", "one"))
    log.close()
    with path.open("ab") as file:
        file.write(b'{"event": "Cell')
    log = EventLog(path)
    log.append(CellEnded("failed", "two"))
    log.close()
    assert list(read_events(path)) == [CellEnded("failed", "one"), CellEnded("failed", "two")]


def test_states_of_clients_are_whole_or_not(tmp_path: Path) -> None:
    import torch

    store = ClientStore(tmp_path)
    assert store.whole()
    store.write(3, {"control": {"w": torch.ones(5)}}, 1)
    store.save(store.versions)
    assert store.whole()
    path = tmp_path / "client-3-round-1.safetensors"
    files.write_atomically(path, path.read_bytes()[:-1])
    assert not store.whole()
