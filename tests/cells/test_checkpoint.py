"""What survives a kill."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gptfl_bench.cells.checkpoint import Checkpoint
from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.groups import Groups
from gptfl_bench.engine.client_store import ClientStore
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


@pytest.mark.parametrize("keep", [0, 1, 8, 40, -1])
def test_a_cut_off_file_is_named(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "checkpoint.safetensors"
    Checkpoint(1, STATE, 0, {}).write(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UsageError, match=r"checkpoint .* is damaged .*--force"):
        Checkpoint.read(path)


def test_other_content_is_named(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    for data in (b"not a checkpoint at all", bytes(200), b"\xff" * 50):
        path.write_bytes(data)
        with pytest.raises(UsageError, match="is damaged"):
            Checkpoint.read(path)


def test_a_damaged_checkpoint_stops_the_cell_and_force_repairs_it(
    run_cell: Callable[..., object], tmp_path: Path
) -> None:
    from gptfl_bench.core.progress import Silent
    from gptfl_methods.fedavg import FedAvg

    class Kill(Silent):
        def stage(self, name: str, done: int, total: int) -> None:
            if (name, done) == ("rounds", 2):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_cell(FedAvg(), out=tmp_path / "a", progress=Kill())
    (path,) = (tmp_path / "a").glob("*/state/checkpoint.safetensors")
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UsageError, match="is damaged"):
        run_cell(FedAvg(), out=tmp_path / "a")
    again = run_cell(FedAvg(), out=tmp_path / "a", force=True)
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


def test_client_states_keep_the_version_of_the_last_checkpoint(tmp_path: Path, bits: Bits) -> None:
    def state(value: float) -> Groups:
        return {"control": {"w": torch.tensor([value])}}

    store = ClientStore(tmp_path / "clients")
    assert store.read(3) == {}
    assert store.nbytes == 0
    store.write(3, state(1.0), 1)
    store.write(4, state(2.0), 1)
    versions = dict(store.versions)
    store.prune()
    store.write(3, state(9.0), 2)
    assert bits(store.read(3)) == bits(state(9.0))
    # A kill before the checkpoint of round 2: its versions are those of round 1.
    resumed = ClientStore(tmp_path / "clients", versions)
    assert bits(resumed.read(3)) == bits(state(1.0))
    assert bits(resumed.read(4)) == bits(state(2.0))
    resumed.write(3, state(9.0), 2)
    resumed.prune()
    files = sorted((tmp_path / "clients").iterdir())
    assert [path.name for path in files] == [
        "client-3-round-2.safetensors",
        "client-4-round-1.safetensors",
    ]
    assert resumed.nbytes == sum(path.stat().st_size for path in files)
