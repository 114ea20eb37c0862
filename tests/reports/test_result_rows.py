"""Rows worked out by hand from events."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gptfl_bench.core.errors import UsageError
from gptfl_reports.records.cells import Cell, read_cell, read_cells, write_record
from gptfl_reports.records.events import (
    CellEnded,
    Event,
    PhaseFinished,
    Pretrained,
    RoundAggregated,
    RoundEvaluated,
    TrafficCounted,
)
from gptfl_reports.records.schema import SCHEMA, RunRecord

MakeCell = Callable[..., Cell]


@pytest.fixture
def make_cell(tmp_path: Path) -> MakeCell:
    def make(events: list[Event], **changes: Any) -> Cell:
        record: RunRecord = {
            "schema": SCHEMA,
            "run_id": "a-b-s0",
            "method": "a",
            "seed": 0,
            "dataset": {
                "name": "b",
                "version": "1",
                "note": "",
                "train": 60,
                "test": 30,
                "evaluated_on": "test",
                "sha256": "",
            },
            "partition": {
                "recipe": "dirichlet",
                "settings": {"seed": 3, "num_clients": 6, "alpha": 0.1, "min_size": None},
                "sha256": "0123456789abcdef",
                "sizes": [10] * 6,
                "file": "",
            },
            "model": {"name": "linear", "parameters": 51, "buffers": 0},
            "preset": {"name": "default", "quick": False, "search": ""},
            "rounds": 3,
            "num_clients": 6,
            "cohort_size": 2,
            "metric": "accuracy",
            "target": 0.5,
            "secure_aggregation": False,
            "config": {},
            "method_source": "",
            "method_sha256": "",
            "versions": {},
            "commit": "",
            "device": "cpu",
            "machine": "",
            "command": "",
        }
        return Cell(tmp_path, {**record, **changes}, tuple(events))  # type: ignore[typeddict-item]

    return make


def traffic(round: int, direction: Any, scalars: int) -> TrafficCounted:
    return TrafficCounted(round, direction, "g", 2, scalars, 4 * scalars, 4 * scalars + 99)


def evaluated(round: int, accuracy: float, f1: float = 0.0) -> RoundEvaluated:
    return RoundEvaluated(round, accuracy, f1, 1.0, 30, 0.5)


def aggregated(round: int, saw: bool = False) -> RoundAggregated:
    return RoundAggregated(round, [0, 1], 20, 4, 1.0, 0.5, saw, 0, 2.0)


ROUNDS: list[Event] = [
    traffic(0, "once", 7),
    traffic(0, "up", 1000),
    PhaseFinished("prepare", 10.0),
    Pretrained(5, 20, 1.0, False, 8.0),
    evaluated(0, 0.3, 0.9),
    *(
        event
        for round, value in ((1, 0.49), (2, 0.5), (3, 0.4))
        for event in (
            traffic(round, "down", 10),
            traffic(round, "up", 1),
            aggregated(round),
            evaluated(round, value),
        )
    ),
    CellEnded("finished"),
]


def test_row_by_hand(make_cell: MakeCell) -> None:
    """The target of 0.5 is met in round 2: 1000 + 2 * (10 + 1) scalars; "once" is apart."""
    row = make_cell(ROUNDS).row()
    assert (row["rounds_to_target"], row["scalars_to_target"], row["bytes_to_target"]) == (
        2,
        1022,
        4088,
    )
    assert (row["scalars_down"], row["scalars_up"]) == (30, 1003)
    assert (row["bytes_down"], row["bytes_up"], row["client_bytes_once"]) == (120, 4012, 28)
    assert (row["value_last"], row["value_best"]) == (0.4, 0.5)
    assert row["value_mean_last"] == pytest.approx((0.49 + 0.5 + 0.4) / 3)
    # Preparation, of which pre-training is a part; three rounds; four evaluations.
    assert row["seconds"] == pytest.approx(10 + 3 * 2 + 4 * 0.5)
    assert (row["status"], row["reason"], row["rounds"]) == ("finished", "", 3)
    assert row["partition"] == "dirichlet(alpha=0.1, num_clients=6) 0123456789ab"
    assert row["server_saw_clients"] is False


@pytest.mark.parametrize(
    ("target", "expected"),
    [(0.3, (0, 1000, 4000)), (0.49, (1, 1011, 4044)), (0.51, (None,) * 3), (None, (None,) * 3)],
)
def test_targets(
    make_cell: MakeCell, target: float | None, expected: tuple[int | None, ...]
) -> None:
    """Reaching it exactly counts, before any round too; never reaching it is no number."""
    row = make_cell(ROUNDS, target=target).row()
    assert (row["rounds_to_target"], row["scalars_to_target"], row["bytes_to_target"]) == expected


def test_macro_f1_is_the_value_where_the_task_says_so(make_cell: MakeCell) -> None:
    row = make_cell(ROUNDS, metric="macro_f1").row()
    assert (row["value_best"], row["value_last"], row["rounds_to_target"]) == (0.9, 0.0, 0)


def test_mean_of_the_last_ten_evaluations(make_cell: MakeCell) -> None:
    """Rounds 0 to 14 with values 0.00 to 0.14: the mean of 0.05 to 0.14."""
    events: list[Event] = [evaluated(round, round / 100) for round in range(15)]
    assert make_cell(events).row()["value_mean_last"] == pytest.approx(0.095)
    assert make_cell(events[:10]).row()["value_mean_last"] == pytest.approx(0.05)


def test_cells_without_results(make_cell: MakeCell) -> None:
    row = make_cell([]).row()
    assert (row["status"], row["rounds"], row["value_last"], row["value_mean_last"]) == (
        "running",
        0,
        None,
        None,
    )
    refused = make_cell([CellEnded("refused", "no generator.")]).row()
    assert (refused["status"], refused["reason"]) == ("refused", "no generator.")
    assert refused["scalars_to_target"] is None


def test_one_look_at_single_clients_is_enough(make_cell: MakeCell) -> None:
    events: list[Event] = [aggregated(1), aggregated(2, saw=True), aggregated(3)]
    assert make_cell(events).row()["server_saw_clients"] is True


def test_reading_a_folder(make_cell: MakeCell, tmp_path: Path) -> None:
    cell = make_cell([])
    for name, method in (("z", "b"), ("y", "a"), ("x", "b")):
        record = {**cell.record, "method": method, "run_id": name}
        write_record(tmp_path / "out" / name, record)  # type: ignore[arg-type]
    found = read_cells(tmp_path / "out")
    assert [c.record["run_id"] for c in found] == ["y", "x", "z"]
    with pytest.raises(UsageError, match="no folder"):
        read_cells(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no cells"):
        read_cells(tmp_path / "empty")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "can't be read"),
        ("[]", "lacks schema"),
        ("null", "lacks schema"),
        ("{}", "lacks "),
        ('"text"', "lacks schema"),
    ],
)
def test_damaged_records_are_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(UsageError, match=words):
        read_cell(tmp_path)


def test_records_of_a_later_version_are_refused(make_cell: MakeCell, tmp_path: Path) -> None:
    record = make_cell([]).record
    record["schema"] = SCHEMA + 1
    write_record(tmp_path, record)
    with pytest.raises(UsageError, match="update gptfl-bench"):
        read_cell(tmp_path)


def test_a_damaged_log_is_named(make_cell: MakeCell, tmp_path: Path) -> None:
    write_record(tmp_path, make_cell([]).record)
    (tmp_path / "events.jsonl").write_text('{"event": "CellEnded"}\n')
    with pytest.raises(UsageError, match="can't be read"):
        read_cell(tmp_path)


def test_the_last_ending_counts(make_cell: MakeCell) -> None:
    assert make_cell([CellEnded("failed", "x"), CellEnded("finished")]).ending.status == "finished"
    cell = make_cell(ROUNDS)
    assert replace(cell, events=()).ending == CellEnded("running")
