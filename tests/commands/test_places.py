"""Places that fail: full, read-only, removed, in a circle, someone else's; a clock going back."""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gptfl_reports.records.cells import read_cells
from gptfl_reports.records.events import EventLog, RoundEvaluated

Bench = Callable[..., Any]
SMALL = ("model=linear", "num_clients=4", "cohort_size=2")


def _words(out: Path, rounds: int = 4) -> list[object]:
    start = ["run", "--methods", "fedavg", "--seeds", "0", "--preset", "quick"]
    return [*start, *SMALL, f"rounds={rounds}", "--out", out, "--cache", out.parent / "cache"]


def _rows(out: Path) -> list[dict[str, object]]:
    return [{k: v for k, v in cell.row().items() if k != "seconds"} for cell in read_cells(out)]


@pytest.mark.parametrize("option", ["--out", "--cache", "--data"])
def test_links_in_a_circle(option: str, bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    answer = bench(*_words(tmp_path / "runs"), option, tmp_path / "a" / "more")
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert "a link that leads nowhere" in answer.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_run_folder_that_is_removed_while_it_is_written(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, append = tmp_path / "runs", EventLog.append

    def remove(log: EventLog, event: object) -> None:
        append(log, event)  # type: ignore[arg-type]
        if isinstance(event, RoundEvaluated) and event.round == 2:
            shutil.rmtree(out)

    with monkeypatch.context() as patch:
        patch.setattr(EventLog, "append", remove)
        answer = bench(*_words(out))
    assert answer.code != 0
    assert "Traceback" not in answer.err + answer.out
    assert str(out) in answer.err + answer.out
    assert bench(*_words(out)).code == 0
    assert [row["rounds"] for row in _rows(out)] == [4]


def test_no_home_no_place_for_scratch_and_a_clock_that_goes_back(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bench(*_words(tmp_path / "usual" / "runs")).code == 0
    now = iter(range(2_000_000_000, 0, -3600))
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setenv("TMPDIR", "/nonexistent")
    monkeypatch.setattr(time, "time", lambda: float(next(now)))
    assert bench(*_words(tmp_path / "odd" / "runs")).code == 0
    assert _rows(tmp_path / "odd" / "runs") == _rows(tmp_path / "usual" / "runs")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=60k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk can't be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_loses_no_round(bench: Bench, small_disk: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole" / "runs", small_disk / "runs"
    cache = ("--cache", tmp_path / "cache")
    assert bench(*_words(whole, 60), *cache).code == 0
    answer = bench(*_words(out, 60), *cache)
    assert answer.code == 1
    assert "No space left" in answer.out + answer.err
    assert "Traceback" not in answer.out + answer.err
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    assert bench(*_words(out, 60), *cache).code == 0
    assert _rows(out) == _rows(whole)


def test_a_folder_that_can_only_be_read(bench: Bench, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for words in (
        _words(small_disk / "runs"),
        ["generate", "--generator", "renderer", "--out", small_disk / "made"],
        ["data", "digits", "--partition", "--out", small_disk / "data"],
    ):
        answer = bench(*words, "--cache", small_disk.parent / "cache")
        said = answer.err.splitlines()
        assert (answer.code, "Traceback" in answer.err) == (2, False)
        assert "can't be written to" in said[-1]
    assert list(small_disk.iterdir()) == []


def test_a_folder_of_other_things_keeps_them(bench: Bench, tmp_path: Path) -> None:
    home = tmp_path / "home"
    theirs = {
        "thesis.tex": b"\\chapter{}", "events.jsonl": b"not ours", "report/index.html": b"mine",
        "project/record.json": b'{"song": 1}', ".git/config": b"[core]", "partitions/x": b"",
    }  # fmt: skip
    for name, content in theirs.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(content)
    assert bench(*_words(home)).code == 0
    read = bench("results", home)
    assert read.code == 1
    assert read.err.count("\n") == 1
    assert "project" in read.err
    assert "fedavg" in read.out
    for name, content in theirs.items():
        assert (home / name).read_bytes() == content
