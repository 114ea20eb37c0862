"""What ``ci/gpu`` does on a machine with a GPU, tried without one."""

import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from on_gpu import agreement, packing, place, plan, throughput  # type: ignore[import-not-found]

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("size", [plan.FULL, plan.SMALL], ids=["full", "small"])
def test_the_steps_fit_the_time_and_leave_enough_for_the_last(size: Any) -> None:
    """Each step takes all that it may; the last one has a fifth, and all end in time."""
    clock = [0.0]
    budget = plan.Budget(size.minutes, lambda: clock[0])
    shares = {}
    for step in plan.STEPS:
        assert budget.begin(step), step.name
        shares[step.name] = budget.left
        clock[0] += budget.left
    assert clock[0] == 60 * size.minutes - plan.RESERVE
    assert shares["course"] >= (60 * size.minutes - plan.RESERVE) / 5
    assert not budget.begin(plan.STEPS[-1])


def test_nine_minutes_are_what_it_takes() -> None:
    assert plan.FULL.minutes == 9
    assert plan.FULL.processes == (1, 2, 4, 8, 16)
    assert {step.name for step in plan.STEPS} == set(_titles())


def _titles() -> dict[str, Any]:
    from on_gpu import steps

    titles: dict[str, Any] = steps.STEPS
    return titles


def test_a_quick_step_leaves_its_time_to_the_others() -> None:
    clock = [0.0]
    budget = plan.Budget(9, lambda: clock[0])
    for step in plan.STEPS[:-1]:
        assert budget.begin(step)
        clock[0] += 1
    assert budget.begin(plan.STEPS[-1])
    assert budget.left == 9 * 60 - plan.RESERVE - 4


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return what runs methods for a few rounds and gives the run folder."""
    import gptfl_bench as gb

    def run(*methods: str, **settings: Any) -> Path:
        folder = tmp_path_factory.mktemp("runs")
        given: Any = {"preset": "quick", "rounds": 2, "device": "cpu", "progress": False}
        gb.run(list(methods), "digits", [0], folder, **given | settings)
        return folder

    return run


def test_equal_runs_agree_and_others_do_not(runs: Callable[..., Path]) -> None:
    one, same = runs("fedavg"), runs("fedavg")
    other = runs("fedavg", plan={"lr": 0.5})
    (found,) = agreement.compare(one, same)
    assert (found.holds, found.rounds, found.accuracy, found.loss) == (True, 2, 0.0, 0.0)
    (found,) = agreement.compare(one, other)
    assert not found.holds
    assert found.loss > agreement.LOSS
    (missing,) = agreement.compare(one, runs("fedprox", rounds=1))[:1]
    assert (missing.method, missing.holds) == ("fedavg", False)


def test_throughput_is_steps_by_seconds(runs: Callable[..., Path]) -> None:
    folder = runs("fedavg", rounds=3)
    made = throughput.of(folder, 1, 100)
    from gptfl_reports.records.cells import read_cells
    from gptfl_reports.records.events import RoundAggregated, RoundEvaluated

    events = read_cells(folder)[0].events
    trained = [e for e in events if isinstance(e, RoundAggregated) and e.round > 1]
    tested = [e for e in events if isinstance(e, RoundEvaluated) and e.round > 1]
    seconds = sum(e.seconds for e in trained) + sum(e.seconds for e in tested)
    steps = sum(e.steps for e in trained)
    assert made
    assert made.steps == pytest.approx(steps / seconds)
    # A whole cell has fifty times as many rounds as the two that were timed.
    assert made.hour == pytest.approx(3600 / (50 * seconds))
    assert throughput.of(folder, 2, 100) is None


def test_a_pack_is_cut_to_some_of_each_class(tmp_path: Path) -> None:
    files = [bytes([number] * (number + 1)) for number in range(12)]
    pack = {
        "data": np.frombuffer(b"".join(files), np.uint8),
        "offsets": np.cumsum([0, *map(len, files)]),
        "labels": np.arange(12) % 3,
        "class_names": np.array(["a", "b", "c"]),
        "split": np.arange(12),
    }
    np.savez(tmp_path / "whole.npz", **pack)  # type: ignore[arg-type]
    packing.cut(tmp_path / "whole.npz", tmp_path / "cut.npz", 6)
    with np.load(tmp_path / "cut.npz", allow_pickle=False) as arrays:
        cut = dict(arrays)
    assert cut["labels"].tolist() == [0, 1, 2, 0, 1, 2]
    assert cut["split"].tolist() == [0, 1, 2, 3, 4, 5]
    assert cut["class_names"].tolist() == ["a", "b", "c"]
    ends = cut["offsets"].tolist()
    parts = [cut["data"][a:b].tobytes() for a, b in itertools.pairwise(ends)]
    assert parts == files[:6]


def test_only_what_is_missing_is_installed(tmp_path: Path) -> None:
    for name in ("numpy-9-py3-none-any.whl", "not_there_at_all-1-py3-none-any.whl"):
        (tmp_path / name).touch()
    assert [wheel.name for wheel in place.missing(tmp_path)] == [
        "not_there_at_all-1-py3-none-any.whl"
    ]
    assert place.lacking() == []


def _gpu(*words: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "GPTFL_BENCH_VENV": sys.prefix}
    environment.pop("OUT", None)
    command = [str(ROOT / "ci" / "gpu"), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--steps", "visit"), "there is no step 'visit'; choose from compare, visits"),
        (("--minutes", "0"), "--minutes 0 must be more than"),
        (("--pack", "--packs", "nowhere"), "is absent; --packs names its folder"),
    ],
)
def test_wrong_use_is_said(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    answer = _gpu(*words, "--out", str(tmp_path / "out"), "--work", str(tmp_path / "work"))
    assert answer.returncode != 0
    assert said in answer.stderr
    assert "Traceback" not in answer.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_all_steps_run_in_little_on_the_cpu(tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("--device", "cpu", "--minutes", "6", "--out", str(out), "--work", str(tmp_path / "w"))
    answer = _gpu(*words)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    page = (out / "gpu.md").read_text(encoding="utf-8")
    assert page.count("\n## ") == len(plan.STEPS)
    assert "| moon " in page
    assert "0.00e+00" in page, "the CPU agrees with itself"
    assert (out / "records.tar.gz").stat().st_size > 0
    assert len(list(out.iterdir())) <= 8
