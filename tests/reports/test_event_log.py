"""The log: what is written is read back, and what a kill cut off is not."""

import gzip
import json
import math
from dataclasses import asdict
from pathlib import Path

import pytest

from gptfl_reports.records import checksums
from gptfl_reports.records.checksums import CHECKSUMS
from gptfl_reports.records.events import (
    CellEnded,
    Event,
    EventLog,
    LabelsDiscovered,
    PhaseFinished,
    Pretrained,
    RoundAggregated,
    RoundEvaluated,
    SyntheticReady,
    TrafficCounted,
    from_line,
    packed,
    read_events,
    says_ended,
    to_line,
)

EVENTS: list[Event] = [
    PhaseFinished("prepare", 0.25),
    LabelsDiscovered(3, {"grüner Apfel": 2, "x\ny": 1}, 0),
    SyntheticReady("fake", "grammar", 30, "ab" * 32, True, 1.5),
    Pretrained(10, 40, 0.125, False, 2.0),
    TrafficCounted(1, "once", "open set", 3, 12, 48, 200),
    RoundAggregated(1, [0, 4], 20, 6, 1e-300, None, False, 0, 0.5),
    RoundEvaluated(1, 0.1, 1 / 3, 2.5, 30, 0.01),
    CellEnded("refused", "a sentence: with 'quotes', \\ and Ω."),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_one_line_and_back(event: Event) -> None:
    line = to_line(event)
    assert "\n" not in line
    assert from_line(line) == event
    assert json.loads(line) == {"event": type(event).__name__, **asdict(event)}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_null_and_read_as_nan(value: float) -> None:
    """JSON has no such numbers."""
    line = to_line(RoundEvaluated(1, 0.1, 1 / 3, value, 30, 0.01))
    assert json.loads(line)["loss"] is None
    event = from_line(line)
    assert isinstance(event, RoundEvaluated)
    assert math.isnan(event.loss)
    aggregated = from_line(to_line(EVENTS[5]))
    assert isinstance(aggregated, RoundAggregated)
    assert aggregated.gradient_diversity is None, "an optional number stays absent"


def test_later_versions_are_read_as_far_as_they_are_known() -> None:
    assert from_line('{"event": "SomethingNew", "a": 1}') is None
    line = json.dumps({**json.loads(to_line(EVENTS[0])), "new_field": 3})
    assert from_line(line) == EVENTS[0]


@pytest.mark.parametrize("line", ["[]", "3", "{", '{"event": "CellEnded"}', ""])
def test_lines_that_are_no_events(line: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - json and the reader each have their words
        from_line(line)


def test_a_cut_off_last_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    assert list(read_events(path)) == []
    log = EventLog(path)
    for event in EVENTS:
        log.append(event)
        assert log.offset == path.stat().st_size, "every event is on disk at once"
    log.close()
    # A kill leaves none that covers the whole log.
    (tmp_path / CHECKSUMS).unlink()
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for kept in range(0, len(whole), 7):
        path.write_bytes(whole[:kept])
        complete = 0
        while complete < len(lines) and sum(map(len, lines[: complete + 1])) <= kept:
            complete += 1
        try:
            found = list(read_events(path))
        except UnicodeDecodeError:
            pytest.fail("a line cut inside a letter can't be read")
        assert found == EVENTS[:complete]


def test_a_resumed_log_is_cut_back_to_its_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    for event in EVENTS[:3]:
        log.append(event)
    offset = log.offset
    log.append(EVENTS[3])
    log.close()
    with path.open("a") as file:
        file.write('{"event": "Round')
    resumed = EventLog(path, keep=offset)
    assert resumed.offset == offset
    resumed.append(EVENTS[7])
    resumed.close()
    assert list(read_events(path)) == [*EVENTS[:3], EVENTS[7]]
    anew = EventLog(path, keep=0)
    anew.append(EVENTS[0])
    anew.close()
    assert list(read_events(path)) == EVENTS[:1]


def test_a_packed_log_is_read_where_there_is_no_other(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    lines = "".join(to_line(event) + "\n" for event in EVENTS)
    checksums.write(packed(log), gzip.compress(lines.encode()))
    assert list(read_events(log)) == EVENTS
    log.write_text(to_line(EVENTS[0]) + "\n", encoding="utf-8")
    assert list(read_events(log)) == EVENTS[:1]


def test_a_damaged_packed_log_is_refused(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    data = gzip.compress((to_line(EVENTS[0]) + "\n").encode() * 100)
    for bad in (data[:-9], b"not gzip", b""):
        packed(log).write_bytes(bad)
        with pytest.raises(ValueError, match="a packed log is"):
            list(read_events(log))
        # So that nobody begins the cell anew without being asked to.
        assert says_ended(log)


def test_a_packed_log_that_unpacks_to_a_bomb_is_refused(tmp_path: Path) -> None:
    """300 MiB of blanks are 300 kB packed."""
    log = tmp_path / "events.jsonl"
    packed(log).write_bytes(gzip.compress(b" " * (300 * 2**20), compresslevel=1))
    with pytest.raises(ValueError, match="more than 268,435,456 bytes"):
        list(read_events(log))
