"""Run folders written as the engine writes them, without torch."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from gptfl_reports.records.cells import write_record
from gptfl_reports.records.checksums import CHECKSUMS
from gptfl_reports.records.events import (
    CellEnded,
    EventLog,
    RoundAggregated,
    RoundEvaluated,
    Status,
    TrafficCounted,
)
from gptfl_reports.records.schema import SCHEMA, RunRecord

MakeCell = Callable[..., Path]
HandOut = Callable[..., dict[str, object]]


def _record(method: str, seed: int, run_id: str, rounds: int) -> RunRecord:
    return RunRecord(
        schema=SCHEMA,
        run_id=run_id,
        method=method,
        seed=seed,
        dataset={
            "name": "digits",
            "version": "1",
            "note": "",
            "train": 1437,
            "test": 360,
            "evaluated_on": "test",
            "sha256": "ab" * 32,
        },
        partition={
            "recipe": "dirichlet",
            "settings": {"alpha": 0.1, "num_clients": 20, "seed": seed},
            "sha256": f"{seed:x}{'c' * 63}",
            "sizes": [70] * 20,
            "file": "partitions/x.json",
        },
        model={"name": "cnn_small", "parameters": 9930, "buffers": 12},
        preset={"name": "default", "quick": False, "search": "grid of June"},
        rounds=rounds,
        num_clients=20,
        cohort_size=5,
        metric="accuracy",
        target=0.9,
        secure_aggregation=False,
        config={
            "plan": {"epochs": 1, "steps": None, "batch_size": 16, "lr": 0.1},
            "seed": seed,
            "method": {},
        },
        method_source=f"gptfl_methods/{method}.py",
        method_sha256="ef" * 32,
        versions={"torch": "2.14.0", "gptfl-bench": "0.1.0"},
        commit="0123abc",
        device="cpu",
        machine="two cores",
        command="gptfl-bench run",
    )


@pytest.fixture
def make_cell(tmp_path: Path) -> MakeCell:
    """Return a writer of one cell; its value at round r is ``values[r]``."""

    def make(
        method: str,
        seed: int = 0,
        values: Sequence[float] = (0.1, 0.5, 0.8),
        *,
        status: Status = "finished",
        reason: str = "",
        run_folder: Path = tmp_path / "run",
        down: int = 1000,
        up: int = 500,
        once: int = 0,
        saw: bool = False,
        evaluated: Sequence[int] | None = None,
        **changes: object,
    ) -> Path:
        run_id = str(changes.pop("run_id", f"{method}-{seed}"))
        folder: Path = run_folder / run_id
        record = _record(method, seed, run_id, len(values) - 1)
        for key, value in changes.items():
            old = record.get(key)
            if isinstance(old, dict) and isinstance(value, dict):
                value = old | value
            record[key] = value  # type: ignore[literal-required]
        write_record(folder, record)
        log = EventLog(folder / "events.jsonl")
        if once:
            log.append(TrafficCounted(0, "once", "data", 20, once // 4, once, once + 9))
        for r, value in enumerate(values):
            if r:
                log.append(TrafficCounted(r, "down", "model", 5, down // 4, down, down + 9))
                log.append(TrafficCounted(r, "up", "model", 5, up // 4, up, up + 9))
                log.append(RoundAggregated(r, [0, 1, 2, 3, 4], 350, 25, 0.5, None, saw, 0, 1.5))
            at = r if evaluated is None else evaluated[r]
            log.append(RoundEvaluated(at, value, value / 2, 1.0, 360, 0.5))
        if status != "running":
            log.append(CellEnded(status, reason))
        log.close()
        # Tests change what they need; without checksums cells are read as an older version's.
        (folder / CHECKSUMS).unlink()
        return folder

    return make


@pytest.fixture
def hand_out(run_folder: Path) -> HandOut:
    """Return a writer of partition files, which returns what a cell's record says of it."""

    def write(
        held: Sequence[Sequence[int]],
        classes: Sequence[str] = ("cat", "dog"),
        name: str = "x",
        digit: str = "d",
        **changes: object,
    ) -> dict[str, object]:
        content = {"sha256": digit * 64, "classes": classes, "counts": held, "clients": []}
        path = run_folder / "partitions" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = {key: value for key, value in (content | changes).items() if value is not None}
        path.write_text(json.dumps(kept))
        sizes = [sum(row) for row in held]
        return {"file": f"partitions/{name}.json", "sha256": digit * 64, "sizes": sizes}

    return write


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """Return the folder that cells are written to by default."""
    return tmp_path / "run"
