"""What survives a kill."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from gptfl_bench.cells import checkpoint as checkpoints
from gptfl_bench.cells.checkpoint import Checkpoint
from gptfl_bench.core import groups as g
from gptfl_bench.core import sealed
from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.groups import Groups
from gptfl_bench.core.progress import Silent
from gptfl_bench.engine.client_store import MEMORY, ClientStore
from gptfl_bench.engine.method import methods
from gptfl_reports.records.events import EventLog
from gptfl_reports.records.files import write_atomically

Bits = Callable[[Groups], object]
STATE: Groups = {
    "model": {"w": torch.tensor([1.0, math.nan, -0.0])},
    "buffers": {"count": torch.tensor(3)},
}


def test_round_trip(tmp_path: Path, bits: Bits) -> None:
    path = tmp_path / "state" / "checkpoint.safetensors"
    assert Checkpoint.read(path) is None
    for round in (0, 7):
        Checkpoint(round, STATE, 123, {0: 2, 11: 7}).write(path)
        found = Checkpoint.read(path)
        assert found is not None
        assert (found.round, found.events, found.clients) == (round, 123, {0: 2, 11: 7})
        assert bits(found.state) == bits(STATE)
    assert [item.name for item in path.parent.iterdir()] == [path.name]


def test_names_come_back_in_their_order(tmp_path: Path) -> None:
    """DynaFed sums over the names of a state: in another order the last bits are others."""
    state = {"model": {"2": torch.ones(1), "1": torch.ones(1)}, "a": {"y": torch.ones(2)}, "b": {}}
    Checkpoint(3, state, 0, {}).write(tmp_path / "checkpoint.safetensors")
    found = Checkpoint.read(tmp_path / "checkpoint.safetensors")
    assert found is not None
    assert [(group, list(tree)) for group, tree in found.state.items()] == [
        ("model", ["2", "1"]),
        ("a", ["y"]),
        ("b", []),
    ]


@pytest.mark.parametrize("keep", [0, 1, 8, 40, -1])
def test_a_cut_off_file_is_named(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "checkpoint.safetensors"
    Checkpoint(1, STATE, 0, {}).write(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UsageError, match=r"checkpoint .* is damaged"):
        Checkpoint.read(path)


def test_other_content_is_named(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    for data in (b"not a checkpoint at all", bytes(200), b"\xff" * 50):
        path.write_bytes(data)
        with pytest.raises(UsageError, match="is damaged"):
            Checkpoint.read(path)


def test_no_flipped_bit_is_read(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    Checkpoint(1, STATE, 0, {}).write(path)
    whole = path.read_bytes()
    for byte in range(len(whole)):
        for bit in (1, 32):
            path.write_bytes(whole[:byte] + bytes([whole[byte] ^ bit]) + whole[byte + 1 :])
            with pytest.raises(UsageError, match="is damaged"):
                Checkpoint.read(path)


def test_any_reader_of_safetensors_takes_a_checkpoint_and_tensors_stay_aligned(
    tmp_path: Path,
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    Checkpoint(1, STATE, 0, {}).write(path)
    assert torch.equal(safetensors.torch.load_file(path)["buffers/count"], torch.tensor(3))
    assert int.from_bytes(path.read_bytes()[:8], "little") % 8 == 0
    assert sealed.size(path) == path.stat().st_size - sealed.SEAL


def test_files_of_older_versions_have_no_checksum_and_are_read(tmp_path: Path, bits: Bits) -> None:
    empty: Groups = {}
    for groups in (STATE, empty):
        assert bits(sealed.decode(g.encode(groups))) == bits(groups)
        assert bits(sealed.decode(b"".join(sealed.pieces(groups)))) == bits(groups)
    path = tmp_path / "older"
    path.write_bytes(g.encode(STATE))
    assert sealed.size(path) == path.stat().st_size


def test_a_damaged_checkpoint_begins_the_cell_anew(
    run_cell: Callable[..., object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from gptfl_methods.fedavg import FedAvg

    class Kill(Silent):
        def stage(self, name: str, done: int, total: int) -> None:
            if (name, done) == ("rounds", 2):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_cell(FedAvg(), out=tmp_path / "a", progress=Kill())
    (path,) = (tmp_path / "a").glob("*/state/checkpoint.safetensors")
    path.write_bytes(path.read_bytes()[:50])
    again = run_cell(FedAvg(), out=tmp_path / "a")
    assert "is damaged" in (said := capsys.readouterr().err)
    assert said.endswith("the cell begins anew.\n")
    assert again.bits == run_cell(FedAvg()).bits  # type: ignore[attr-defined]


def test_a_kill_while_writing_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    write_atomically(path, b"old")

    def dies(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dies)
        with pytest.raises(KeyboardInterrupt):
            write_atomically(path, b"newer")
    assert path.read_bytes() == b"old"
    write_atomically(path, b"newest")
    assert path.read_bytes() == b"newest"


def _state(value: float) -> Groups:
    return {"control": {"w": torch.tensor([value])}}


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("memory", [0, MEMORY])
def test_client_states_keep_the_version_of_the_last_checkpoint(
    tmp_path: Path, bits: Bits, memory: int
) -> None:
    store = ClientStore(tmp_path / "clients", memory=memory)
    assert store.read(3) == {}
    assert store.nbytes == 0
    store.write(3, _state(1.0), 1)
    store.write(4, _state(2.0), 1)
    saved = dict(store.versions)
    store.save(saved)
    store.prune(saved)
    for round in (2, 3):
        store.write(3, _state(9.0 * round), round)
        assert bits(store.read(3)) == bits(_state(9.0 * round))
        store.prune(saved)
    later = ["client-3-round-3.safetensors"] if memory == 0 else []
    first = ["client-3-round-1.safetensors", "client-4-round-1.safetensors"]
    assert _names(tmp_path / "clients") == sorted([*first, *later])
    (tmp_path / "clients" / "client-4-round-2.safetensors.part").write_bytes(b"half")
    # A kill before the checkpoint of round 3: its versions are those of round 1.
    resumed = ClientStore(tmp_path / "clients", dict(saved), memory)
    assert bits(resumed.read(3)) == bits(_state(1.0))
    assert bits(resumed.read(4)) == bits(_state(2.0))
    resumed.write(3, _state(9.0), 2)
    resumed.prune(saved)
    assert bits(resumed.read(3)) == bits(_state(9.0))
    resumed.save(resumed.versions)
    resumed.prune(resumed.versions)
    files = sorted((tmp_path / "clients").iterdir())
    assert [path.name for path in files] == [
        "client-3-round-2.safetensors",
        "client-4-round-1.safetensors",
    ]
    assert resumed.nbytes == sum(path.stat().st_size - sealed.SEAL for path in files)


def test_client_states_in_memory_share_none_and_are_bounded(tmp_path: Path, bits: Bits) -> None:
    size = g.layout(_state(1.0)).size
    store = ClientStore(tmp_path, memory=2 * size)
    mine = _state(1.0)
    store.write(0, mine, 1)
    mine["control"]["w"].zero_()
    store.read(0)["control"]["w"].zero_()
    assert bits(store.read(0)) == bits(_state(1.0))
    for client in (1, 2):
        store.write(client, _state(2.0), 1)
    assert _names(tmp_path) == ["client-2-round-1.safetensors"]
    store.versions = {0: 1}
    store.prune({})
    assert _names(tmp_path) == []
    store.write(3, _state(3.0), 2)
    assert _names(tmp_path) == [], "what was forgotten makes room"
    assert store.nbytes == 2 * size


def test_a_missing_client_state_is_named(tmp_path: Path) -> None:
    store = ClientStore(tmp_path, {3: 1})
    with pytest.raises(UsageError, match=r"client-3-round-1.* is missing; .*--force"):
        assert store.nbytes


class Vanish(Silent):
    """Ends the process, as far as a cell can tell, at a client of some round."""

    def __init__(self, round: int) -> None:
        self._round, self._now = round, 0

    def stage(self, name: str, done: int, total: int) -> None:
        if name == "rounds":
            self._now = done + 1
        elif name == "clients" and self._now == self._round:
            raise GeneratorExit


@pytest.mark.parametrize("share", [0.0, math.inf])
@pytest.mark.parametrize("name", ["fedavg", "scaffold", "gptfl+scaffold", "dsfl"])
def test_a_cell_that_goes_back_ends_the_same(
    run_cell: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    share: float,
    name: str,
) -> None:
    """Without share in the time a checkpoint is due at the start and the end alone."""
    outer, _, inner = name.partition("+")
    method = methods.get(outer)(**({"inner": methods.get(inner)()} if inner else {}))
    straight = run_cell(method, rounds=5)
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SHARE", share)
    out = tmp_path / "a"
    for number in (2, 5):
        with pytest.raises(GeneratorExit):
            run_cell(method, rounds=5, out=out, progress=Vanish(number))
        (path,) = out.glob("*/state/checkpoint.safetensors")
        checkpoint = Checkpoint.read(path)
        assert checkpoint is not None
        assert checkpoint.round == (number - 1 if share else min(1, number - 2))
    again = run_cell(method, rounds=5, out=out)
    assert again.bits == straight.bits
    assert again.untimed == straight.untimed
    assert {**again.cell.row(), "seconds": 0} == {**straight.cell.row(), "seconds": 0}
    files = [
        sorted(path.name.split("-")[1] for path in cell.folder.glob("state/clients/*"))
        for cell in (again.cell, straight.cell)
    ]
    assert files[0] == files[1], "nothing is left over"


def test_an_interrupted_cell_keeps_its_last_round(
    run_cell: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SHARE", 0.0)

    class Interrupt(Vanish):
        def stage(self, name: str, done: int, total: int) -> None:
            try:
                super().stage(name, done, total)
            except GeneratorExit:
                raise KeyboardInterrupt from None

    with pytest.raises(KeyboardInterrupt):
        run_cell(methods.get("scaffold")(), rounds=5, out=tmp_path / "a", progress=Interrupt(4))
    (path,) = (tmp_path / "a").glob("*/state/checkpoint.safetensors")
    checkpoint = Checkpoint.read(path)
    assert checkpoint is not None
    assert checkpoint.round == 3


def test_a_state_that_was_changed_since_is_not_kept(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    keeper = checkpoints.Keeper(tmp_path / "checkpoint", ClientStore(tmp_path / "clients"), log)
    state = _state(1.0)
    keeper.keep(Checkpoint(0, state, 0, {}), last=True)
    keeper._since = math.inf
    keeper.keep(Checkpoint(1, state, 0, {}), last=False)
    state["control"]["w"].add_(1)
    keeper.write()
    found = Checkpoint.read(tmp_path / "checkpoint")
    assert found is not None
    assert found.round == 0


def test_checkpoints_take_their_share_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write takes 1 s and a round 10 s, so a checkpoint is due after 34 s, or 4 rounds."""
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    written: list[int] = []

    def write(self: Checkpoint, path: Path) -> None:
        clock[0] += 1
        written.append(self.round)

    monkeypatch.setattr(Checkpoint, "write", write)
    log = EventLog(tmp_path / "events.jsonl")
    keeper = checkpoints.Keeper(tmp_path / "checkpoint", ClientStore(tmp_path / "clients"), log)
    for round in range(12):
        clock[0] += 10
        keeper.keep(Checkpoint(round, {}, 0, {}), last=round == 11)
    assert written == [0, 4, 8, 11]
