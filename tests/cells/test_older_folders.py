"""A run folder and a cache that version 0.1.0 left before its files were moved into rooms.

Made by that version's command line: two cells that finished, two that were interrupted after round
1, and what they had in the cache.
"""

import json
import shutil
from pathlib import Path

import pytest

from gptfl_bench.cli import main
from gptfl_reports.records.cells import read_cells

MADE = Path(__file__).parent / "made_by_0_1_0"
SETTINGS = [
    *("--preset", "quick", "--seeds", "0", "--out", "runs", "--cache", "cache", "model=linear"),
    *("rounds=2", "synthetic.generator=renderer", "synthetic.multiplier=0.05"),
    *("methods.gptfl.pretrain.epochs=2", "quality.samples=0", "num_clients=5", "cohort_size=3"),
    "evaluation.every=1",
    # That version's preset kept no public data from the clients.
    *("public.source=synthetic", "public.always=false"),
    # Its rates of warm starts.
    *("warm.fedavg.plan.lr=1.2", "warm.fedopt.plan.lr=0.1", "warm.fedopt.server_lr=0.03"),
]
METHODS = ("fedavg", "gptfl", "scaffold", "gptfl+fedopt")


def _files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(MADE, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _run(*methods: str) -> int:
    return main(["run", "--methods", ",".join(methods), *SETTINGS])


def test_they_go_on_and_no_cell_is_run_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _files(folder)
    assert _run(*METHODS) == 0
    after = _files(folder)
    assert "source has changed" not in capsys.readouterr().err
    cells = {name.split("/")[1] for name in after if name.startswith("runs/")} - {"partitions"}
    assert cells == {name.split("/")[1] for name in before if name.startswith("runs/")} - {
        "partitions"
    }
    for name, content in before.items():
        _, cell, *_ = name.split("/")
        if name.endswith("events.jsonl"):
            assert after[name].startswith(content)
            assert (after[name] == content) is cell.startswith(("fedavg-", "gptfl-"))
        elif "/state/" not in name or cell.startswith(("fedavg-", "gptfl-")):
            assert after[name] == content, name
    # All that the interrupted cells needed was there, and estimates of time are no result.
    made = {name.split("/")[1] for name in after.keys() - before.keys() if name[:6] == "cache/"}
    assert made <= {"calibrations", "made", "rates", "forecasts.jsonl"}


def test_what_goes_on_ends_as_if_undisturbed(folder: Path) -> None:
    assert _run(*METHODS) == 0
    shutil.move(folder / "runs", folder / "gone on")
    assert _run(*METHODS) == 0
    for resumed, straight in zip(
        read_cells(folder / "gone on"), read_cells(folder / "runs"), strict=True
    ):
        a, b = resumed.row(), straight.row()
        assert (a["run_id"], a["status"], a["bytes_up"]) == (b["run_id"], "finished", b["bytes_up"])
        # Other processors round differently.
        assert a["value_last"] == pytest.approx(b["value_last"], abs=0.02)


def test_another_method_takes_samples_and_start_from_the_cache(folder: Path) -> None:
    assert _run("gptfl+scaffold") == 0
    (log,) = (folder / "runs").glob("gptfl+scaffold-*/events.jsonl")
    events = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    cached = {event["event"]: event["cached"] for event in events if "cached" in event}
    assert cached == {"SyntheticReady": True, "Pretrained": True}
