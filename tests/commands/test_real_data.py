"""All methods on the paper's data sets, from the command line."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from gptfl_bench.engine.method import methods

PACKS = {
    "cifar10": "cifar10_jpeg",
    "flowers102": "flowers102",
    "speech_commands": "speech_commands",
    "esc50": "esc50",
}
IMAGES_ONLY = {"moon", "fedgen", "fedftg", "dynafed"}


@pytest.mark.slow
@pytest.mark.parametrize("dataset", PACKS)
def test_one_round_of_every_method(
    dataset: str,
    packs: Callable[[str], Path],
    tmp_path: Path,
    bench: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GPTFL_BENCH_DATA", str(tmp_path / "data"))
    path = packs(PACKS[dataset])
    words = ["run", "--dataset", dataset, "--preset", "quick", "--seeds", "0", "--no-download"]
    ran = bench(*words, "--out", tmp_path / "runs", f"data.path={path}", "rounds=1")
    assert ran.code == 0
    told = bench("results", tmp_path / "runs", "--format", "json")
    rows = {row["method"]: row for row in json.loads(told.out)}
    assert rows.keys() == set(methods.names())
    sound = dataset in ("speech_commands", "esc50")
    # Without downloads nothing here makes such images or sounds; a voice may be installed.
    speaks = dataset == "speech_commands" and find_spec("hibari") is not None
    refused = (set() if speaks else {"gptfl"}) | (IMAGES_ONLY if sound else set())
    for name, row in rows.items():
        assert row["status"] == ("refused" if name in refused else "finished"), row["reason"]
        assert row["metric"] == ("macro_f1" if sound else "accuracy")
        if name not in refused:
            assert row["bytes_up"] > 0
    if sound:
        assert all("published for images" in rows[name]["reason"] for name in IMAGES_ONLY)


@pytest.mark.slow
def test_vgg19_trains_two_clients_within_six_gibibytes(
    packs: Callable[[str], Path], tmp_path: Path
) -> None:
    words = ["run", "--methods", "fedavg", "--dataset", "cifar10", "--preset", "paper"]
    small = ["rounds=2", "cohort_size=2", "evaluation.every=2", "plan.lr=0.01"]
    where = ["--seeds", "0", "--no-download", "--out", str(tmp_path)]
    command = [sys.executable, "-m", "gptfl_bench", *words, *where, *small]
    subprocess.run([*command, f"data.path={packs('cifar10_jpeg')}"], check=True, env=os.environ)
    (record,) = (json.loads(p.read_text("utf-8")) for p in tmp_path.glob("*/record.json"))
    assert record["model"]["parameters"] == 139_611_210
    # Linux counts in KiB; the largest of all children so far, which can only be more.
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 6 * 2**20
