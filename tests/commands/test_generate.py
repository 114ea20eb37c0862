"""``generate``: a synthetic data set as a folder, whatever happens on the way."""

import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Bench = Callable[..., Any]
Start = Callable[[Sequence[object]], BaseProcess]

QUICKLY = ["generate", "--generator", "renderer"]


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a data set by its path, what belongs to the work left out."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name[0] != ".")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def rows(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_a_folder_by_hugging_faces_convention(bench: Bench, tmp_path: Path) -> None:
    answer = bench(*QUICKLY, "--multiplier", 0.05, "--out", tmp_path)
    assert answer.code == 0
    assert f"80 of 80 are in {tmp_path}" in answer.out
    table = rows(tmp_path)
    assert [row["label"] for row in table[:3]] == ["zero", "one", "two"]
    assert {row["label"]: row["number"] for row in table} == {r["label"]: 7 for r in table[:10]}
    for row in table:
        image = np.asarray(Image.open(tmp_path / row["file_name"]))
        assert image.shape == (32, 32)
        assert row["label"] in row["prompt"]
        assert 1 <= row["guidance"] <= 5
        assert row["generator"] == "renderer"
        assert len(row["generator_fingerprint"]) == 64
    assert len({row["seed"] for row in table}) == 80


def test_more_makes_only_what_is_missing(bench: Bench, tmp_path: Path) -> None:
    bench(*QUICKLY, "--multiplier", 0.05, "--out", tmp_path / "grown")
    before = content(tmp_path / "grown")
    answer = bench(*QUICKLY, "--multiplier", 0.15, "--out", tmp_path / "grown")
    assert "\n140 samples made" in answer.out
    bench(*QUICKLY, "--multiplier", 0.15, "--out", tmp_path / "at once")
    after = content(tmp_path / "grown")
    assert after == content(tmp_path / "at once")
    assert all(after[name] == data for name, data in before.items() if name.endswith(".png"))


def test_ranks_share_the_work_and_budgets_end_it(bench: Bench, tmp_path: Path) -> None:
    whole = [*QUICKLY, "--multiplier", 0.05]
    bench(*whole, "--out", tmp_path / "whole")
    for rank in ("1/3", "0/3", "2/3"):
        answer = bench(*whole, "--out", tmp_path / "shared", "--rank", rank)
        assert f"\n{26 if rank == '2/3' else 27} samples made" in answer.out
    assert content(tmp_path / "shared") == content(tmp_path / "whole")
    first = bench(*whole, "--out", tmp_path / "limited", "--limit", 30)
    assert "30 of 80 are in" in first.out
    assert len(rows(tmp_path / "limited")) == 30
    bench(*whole, "--out", tmp_path / "limited", "--seconds", 0.0001)
    assert len(rows(tmp_path / "limited")) == 31
    bench(*whole, "--out", tmp_path / "limited")
    assert content(tmp_path / "limited") == content(tmp_path / "whole")


def test_killed_ten_times_the_set_is_that_of_an_undisturbed_run(
    bench: Bench, start: Start, tmp_path: Path
) -> None:
    words = [*QUICKLY, "--multiplier", 0.35]
    bench(*words, "--out", tmp_path / "undisturbed")
    whole = len(rows(tmp_path / "undisturbed"))
    place, kills = tmp_path / "killed", 0
    while kills < 10:
        had = sum(1 for _ in place.rglob("*.png"))
        process = start([*words, "--out", place])
        assert process.pid is not None
        deadline = time.monotonic() + 300
        wanted = min(had + 15 + 4 * kills, whole - 1)
        while sum(1 for _ in place.rglob("*.png")) < wanted and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        kills += 1
    had = sum(1 for _ in place.rglob("*.png"))
    assert 150 < had < whole
    answer = bench(*words, "--out", place)
    assert f"\n{whole - had:,} samples made" in answer.out
    assert content(place) == content(tmp_path / "undisturbed")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--rank", "2/2"], "rank=2 of 2 must be from 0 to 1"),
        (["--rank", "first"], "--rank 'first' must be R/N"),
        (["--limit", "0"], "limit=0 must be 1 or more"),
        (["--seconds", "-1"], "seconds=-1.0 must be more than 0"),
        (["--generator", "rendrer"], "did you mean renderer?"),
        (["--multiplier", "0"], "multiplier=0.0"),
        (["--generator", "folder"], "needs generators.folder.path=FOLDER"),
        (["--generator", "diffusion"], "can't load the weights of"),
    ],
)
def test_mistakes(bench: Bench, words: list[str], part: str, tmp_path: Path) -> None:
    answer = bench("generate", "--out", tmp_path / "out", *words)
    assert answer.code == 2
    assert part in answer.err
    assert not (tmp_path / "out").exists()


def test_a_folder_has_one_origin(bench: Bench, tmp_path: Path) -> None:
    bench(*QUICKLY, "--multiplier", 0.01, "--out", tmp_path)
    before = content(tmp_path)
    answer = bench("generate", "--generator", "embedded", "--multiplier", 0.01, "--out", tmp_path)
    assert answer.code == 2
    assert "another generator and generator_fingerprint; choose another --out" in answer.err
    assert content(tmp_path) == before


def test_what_was_made_is_a_generator(bench: Bench, tmp_path: Path) -> None:
    bench(*QUICKLY, "--multiplier", 0.1, "--out", tmp_path / "made")
    folder = ["synthetic.generator=folder", f"generators.folder.path={tmp_path / 'made'}"]
    run = ["run", "--methods", "gptfl", "--preset", "quick", "--seeds", "0", "rounds=1"]
    answer = bench(*run, "--out", tmp_path / "out", *folder, "synthetic.multiplier=0.1")
    assert answer.code == 0
    assert "1 of 1" in answer.out
