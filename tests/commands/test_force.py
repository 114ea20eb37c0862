"""``--force`` runs again what it names, and nothing else."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gptfl_bench as gb

SMALL = ("--methods", "fedavg,fedprox", "--seeds", "0", "--preset", "quick", "rounds=1")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("forced") / "run"
    gb.run(["fedavg", "fedprox"], seeds=0, preset="quick", rounds=1, out=out)
    return out


def stamps(out: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in out.glob("*/record.json")}


def renewed(before: dict[str, int], out: Path) -> set[str]:
    return {name.split("-")[0] for name, when in stamps(out).items() if before.get(name) != when}


def test_nothing_all_or_the_named(finished: Path, bench: Callable[..., Any]) -> None:
    before = stamps(finished)
    (moved,) = [name for name in before if name.startswith("fedprox")]
    assert bench("run", *SMALL, "--out", finished).code == 0
    assert renewed(before, finished) == set()
    assert bench("run", *SMALL, "--out", finished, "--force", moved).code == 0
    assert renewed(before, finished) == {"fedprox"}
    before = stamps(finished)
    # A setting may stand right behind the option.
    words = [word for word in SMALL if word != "rounds=1"]
    assert bench("run", *words, "--out", finished, "--force", "rounds=1").code == 0
    assert renewed(before, finished) == {"fedavg", "fedprox"}
    before = stamps(finished)
    gb.run("fedavg", seeds=0, preset="quick", rounds=1, out=finished, force=True)
    assert renewed(before, finished) == {"fedavg"}


def test_a_damaged_cell_is_made_anew_alone(finished: Path, bench: Callable[..., Any]) -> None:
    before = stamps(finished)
    (moved,) = [name for name in before if name.startswith("fedprox")]
    (finished / moved / "record.json").write_text("{")
    answer = bench("run", *SMALL, "--out", finished)
    assert answer.code == 2
    assert f"--force {moved}" in answer.err
    assert bench("run", *SMALL, "--out", finished, "--force", moved).code == 0
    assert json.loads((finished / moved / "record.json").read_text())["method"] == "fedprox"
    assert renewed(before, finished) == {"fedprox"}


def test_an_unknown_id_is_answered(finished: Path, bench: Callable[..., Any]) -> None:
    answer = bench("run", *SMALL, "--out", finished, "--force", "fedpro")
    assert answer.code == 2
    assert "'fedpro'" in answer.err
    assert "fedprox-digits-s0-" in answer.err
