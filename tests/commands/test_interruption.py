"""Killed at any moment, the same command goes on, and ends where an undisturbed run ends."""

import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from gptfl_bench.core import groups as g
from gptfl_reports.records.cells import read_cells

Start = Callable[[Sequence[object]], BaseProcess]
WAYS: dict[str, list[object]] = {
    "basic": [],
    "joblib": ["--launcher", "joblib", "--processes", "2"],
    "workers": ["workers=2"],
}
KILLS = int(os.environ.get("GPTFL_BENCH_KILLS", "200"))
"""Kills of the long form in all, shared by the ways of running and the other commands."""

ROUNDS = 6
PATIENCE = 300.0
"""Seconds after which a wait has failed, many times what is needed."""


def _words(out: Path) -> list[object]:
    return [
        *("run", "--methods", "fedavg,scaffold,gptfl", "--seeds", "0", "--preset", "quick"),
        *("--out", out, "--cache", out.with_suffix(".cache"), f"rounds={ROUNDS}"),
        *("synthetic.generator=renderer", "synthetic.multiplier=0.2"),
    ]


def _events(out: Path) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield each cell's events without what differs between two runs of the same cell."""
    for path in sorted(out.glob("*/events.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            event = json.loads(line)
            yield path.parent.name, {k: event[k] for k in event.keys() - {"seconds", "cached"}}


def _tensors(out: Path) -> dict[str, torch.Tensor]:
    """Return all tensors of checkpoints and client states by file and name."""
    return {
        f"{path.relative_to(out)}: {group}: {name}": tensor
        for path in out.rglob("*.safetensors")
        for group, tree in g.decode(path.read_bytes()).items()
        # The checkpoint's note counts bytes of the event log, which holds seconds.
        if group != "checkpoint"
        for name, tensor in tree.items()
    }


def _rows(out: Path) -> list[dict[str, object]]:
    rows = [dict(cell.row()) for cell in read_cells(out)]
    return [{key: row[key] for key in row.keys() - {"seconds"}} for row in rows]


def _logged(out: Path) -> int:
    return sum(path.stat().st_size for path in out.glob("*/events.jsonl"))


def _wait(process: BaseProcess, moment: Callable[[], bool]) -> bool:
    """Wait for a moment of a process's life; return whether it came before its end."""
    deadline = time.monotonic() + PATIENCE
    while not (came := moment()) and process.is_alive():
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return came


def _end(process: BaseProcess) -> int | None:
    process.join(PATIENCE)
    return process.exitcode


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from gptfl_bench.cli import main

    out = tmp_path_factory.mktemp("undisturbed") / "runs"
    assert main([str(word) for word in _words(out)]) == 0
    return out


@pytest.mark.parametrize("wanted", [4, pytest.param(50, marks=pytest.mark.slow)])
def test_killed_again_and_again_a_run_ends_as_if_undisturbed(
    undisturbed: Path, start: Start, tmp_path: Path, wanted: int
) -> None:
    kills, rng = 0, random.Random(4)
    while kills < wanted:
        out = tmp_path / f"killed-{kills}" / "runs"
        kills += _kill_again_and_again(out, start, rng, _logged(undisturbed))
        assert _end(start(_words(out))) == 0
        assert _rows(out) == _rows(undisturbed)
        assert list(_events(out)) == list(_events(undisturbed))
        ours, theirs = _tensors(out), _tensors(undisturbed)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def _kill_again_and_again(out: Path, start: Start, rng: random.Random, whole: int) -> int:
    """Begin a run whose whole log has a length, kill it, go on and so forth; return the kills."""
    early = sorted(rng.uniform(0.02, 0.6) * whole for _ in range(3))
    late = rng.uniform(0.75, 0.85) * whole
    moments: list[Callable[[], bool]] = [
        *(lambda mark=mark: _logged(out) >= mark for mark in early),
        lambda: any(out.with_suffix(".cache").glob("synthetic/*/metadata.jsonl")),
        lambda: _logged(out) >= late,
    ]
    kills = 0
    for moment in moments:
        process = start(_words(out))
        if _wait(process, moment):
            time.sleep(rng.uniform(0, 0.01))
        if process.is_alive():
            process.kill()
            kills += 1
        _end(process)
    assert kills >= 4
    return kills


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_130_and_goes_on(
    undisturbed: Path, start: Start, tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "runs"
    process = start(_words(out))
    assert _wait(process, lambda: _logged(out) > 0.2 * _logged(undisturbed))
    assert process.pid is not None
    os.kill(process.pid, number)
    assert _end(process) == 130
    interrupted = _rows(out)
    assert "running" in {row["status"] for row in interrupted}
    assert all(row["rounds"] in range(ROUNDS + 1) for row in interrupted)

    assert _end(start(_words(out))) == 0
    assert _rows(out) == _rows(undisturbed)


def test_results_can_be_read_while_a_run_goes(
    undisturbed: Path, start: Start, tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    process = start(_words(out))
    assert _wait(process, lambda: _logged(out) > 0.1 * _logged(undisturbed))
    seen = set()
    while process.is_alive():
        seen |= {row["status"] for row in _rows(out)}
    assert _end(process) == 0
    assert {"running", "finished"} <= seen


def _grid(out: Path, way: str) -> list[object]:
    methods = "fedavg,scaffold,fedgen,dynafed,gptfl"
    return [
        *("run", "--methods", methods, "--seeds", "0", "--preset", "quick", *WAYS[way]),
        *("--out", out, "--cache", out.with_suffix(".cache"), "rounds=4", "num_clients=6"),
        *("cohort_size=3", "quality.samples=100", "methods.dynafed.length=2"),
        *("methods.dynafed.matching.outer_steps=5", "methods.gptfl.pretrain.epochs=2"),
        *("synthetic.generator=renderer", "synthetic.multiplier=0.2"),
    ]


def _killed(start: Start, words: Sequence[object], rng: random.Random, longest: float) -> bool:
    """Start a command and kill it at a random moment; return whether it was still at work."""
    process = start(words)
    process.join(rng.uniform(0, longest))
    alive = process.is_alive()
    process.kill()
    _end(process)
    return alive


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_killed_at_any_moment_a_grid_ends_as_if_undisturbed(
    start: Start, tmp_path: Path, way: str
) -> None:
    """In start-up, between cells, inside rounds, checkpoints and generation, wherever it falls."""
    whole, rng, kills, folders = tmp_path / "whole" / "runs", random.Random(way), 0, 0
    began = time.monotonic()
    assert _end(start(_grid(whole, way))) == 0
    longest = time.monotonic() - began
    while kills < KILLS // 4:
        out = tmp_path / f"killed-{folders}" / "runs"
        folders += 1
        for _ in range(min(8, KILLS // 4 - kills)):
            kills += _killed(start, _grid(out, way), rng, longest)
        assert _end(start(_grid(out, way))) == 0
        assert _rows(out) == _rows(whole)
        assert list(_events(out)) == list(_events(whole))
        ours, theirs = _tensors(out), _tensors(whole)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    print(f"{way}: {kills} kills in {folders} run folders")


OTHERS: dict[str, list[object]] = {
    "generate": ["generate", "--generator", "renderer", "--multiplier", "0.3", "--out", "OUT"],
    "report": ["report", "RUNS", "--out", "OUT"],
    "data": ["data", "digits", "--prepare", "--partition", "--out", "OUT"],
    "search": [
        *("search", "--dataset", "digits", "--preset", "quick", "--methods", "fedavg"),
        *("rounds=1", "--out", "OUT"),
    ],
    "labels": ["labels", "num_clients=6", "cohort_size=3", "--decode-rates", "OUT"],
}


@pytest.mark.slow
@pytest.mark.parametrize("command", OTHERS)
def test_other_commands_killed_leave_what_an_undisturbed_one_does(
    undisturbed: Path, start: Start, tmp_path: Path, command: str
) -> None:
    def words(out: Path) -> list[object]:
        places: dict[object, object] = {"OUT": out, "RUNS": undisturbed}
        return [places.get(word, word) for word in OTHERS[command]]

    def left(out: Path) -> dict[str, bytes]:
        return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}

    # The first process of all loads what the others find loaded.
    assert _end(start(["list", "methods"])) == 0
    began, kills, folders, rng = time.monotonic(), 0, 0, random.Random(command)
    assert _end(start(words(tmp_path / "whole"))) == 0
    longest = time.monotonic() - began
    while kills < KILLS // 20:
        # What has ended can't be killed.
        out = tmp_path / f"killed-{folders}"
        folders += 1
        for _ in range(min(3, KILLS // 20 - kills)):
            kills += _killed(start, words(out), rng, longest)
        assert _end(start(words(out))) == 0
        if command == "generate":
            assert left(out) == left(tmp_path / "whole")
        if command == "search":
            assert left(out)["digits.csv"] == left(tmp_path / "whole")["digits.csv"]
        assert {path for path in left(out) if ".part" not in path} == set(left(tmp_path / "whole"))
    print(f"{command}: {kills} kills in {folders} folders")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_twenty_times_a_run_says_130_each_time(
    undisturbed: Path, start: Start, tmp_path: Path, number: signal.Signals
) -> None:
    rng = random.Random(int(number))
    for turn in range(max(KILLS // 10, 1)):
        out = tmp_path / str(turn) / "runs"
        mark = rng.uniform(0.02, 0.8) * _logged(undisturbed)
        process = start(_words(out))
        assert _wait(process, lambda out=out, mark=mark: _logged(out) >= mark)  # type: ignore[misc]
        assert process.pid is not None
        os.kill(process.pid, number)
        assert _end(process) == 130
        assert _end(start(_words(out))) == 0
        assert _rows(out) == _rows(undisturbed)
