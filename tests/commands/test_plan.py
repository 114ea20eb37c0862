"""What ``run`` says before it starts, one cell of its plan alone, and an end too soon."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gptfl_bench.runs import launchers
from gptfl_reports.records.cells import read_cells

WORDS = [
    *("run", "--methods", "fedavg,fedprox", "--seeds", "0,1", "--preset", "quick"),
    *("rounds=1", "model=linear"),
]
GRID = [*WORDS, "partition.alpha=0.1,0.5", "cohort_size=1,4"]


def _rows(out: Path) -> list[dict[str, object]]:
    rows = [dict(cell.row()) for cell in read_cells(out)]
    return [{key: row[key] for key in row.keys() - {"seconds"}} for row in rows]


def test_a_plan_says_what_and_how_long_and_runs_nothing(
    bench: Callable[..., Any], tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    answer = bench(*GRID, "--out", out, "--plan")
    assert answer.code == 0
    assert answer.err == ""
    assert not out.exists()
    assert "cells: 16 (2 methods x 2 seeds x 4 settings)" in answer.out
    assert "digits, 1,437 + 360 samples" in answer.out
    assert re.search(r"^time: about \d+ s on this machine", answer.out, re.MULTILINE)
    # FedAvg first, and all of a seed before the next.
    names = re.findall(r"^\S+ +(\w+) seed (\d), cohort_size=", answer.out, re.MULTILINE)
    assert names == [(m, s) for s in "01" for m in ("fedavg", "fedprox") for _ in range(4)]


def test_cells_of_a_plan_run_one_by_one_give_the_rows_of_the_whole(
    bench: Callable[..., Any], tmp_path: Path
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    answer = bench(*GRID, "--out", whole)
    assert answer.code == 0, answer.err
    assert "cells: 16" in answer.err
    assert "took " in answer.err
    assert "cells:" not in answer.out
    shown = bench(*GRID, "--out", whole, "--plan").out
    assert "16 of them there already" in shown
    ids = re.findall(r"^(\S+) .*: finished$", shown, re.MULTILINE)
    assert len(ids) == 16
    for run_id in ids[::5]:
        assert bench(*GRID, "--out", parts, "--cell", run_id).code == 0
    assert len(_rows(parts)) == 4
    assert all(row in _rows(whole) for row in _rows(parts))
    report = bench("report", whole, "--out", tmp_path / "pages")
    assert report.code == 0
    with (tmp_path / "pages" / "leaderboard.csv").open() as lines:
        assert len({line["task"] for line in csv.DictReader(lines)}) == 4
    swept = [Path(line) for line in report.out.splitlines() if Path(line).name.startswith("sweeps")]
    (table,) = [path for path in swept if path.suffix == ".csv"]
    settings = {line.split(",")[0] for line in table.read_text().splitlines()[1:]}
    assert settings == {"cohort_size", "partition.alpha"}


def test_a_plan_for_programs(bench: Callable[..., Any], tmp_path: Path) -> None:
    words = [*WORDS, "--out", tmp_path / "runs"]
    cells = json.loads(bench(*words, "--plan", "--format", "json").out)
    shown = bench(*words, "--plan").out
    assert [(c["method"], c["seed"]) for c in cells] == [
        (method, seed) for seed in (0, 1) for method in ("fedavg", "fedprox")
    ]
    assert all(c["run_id"] in shown and c["seconds"] > 0 for c in cells)
    assert {c["status"] for c in cells} == {"to run"}
    assert bench(*words, "--cell", cells[0]["run_id"]).code == 0
    cells = json.loads(bench(*words, "--plan", "--format", "json").out)
    assert [c["status"] for c in cells] == ["finished", *3 * ["to run"]]


def test_a_form_of_a_plan_that_does_not_fit(bench: Callable[..., Any], tmp_path: Path) -> None:
    words = [*WORDS, "--out", tmp_path / "runs"]
    for more, sentence in {
        ("--format", "json"): "--format json is for --plan",
        ("--plan", "--format", "xml"): "unknown format 'xml'",
    }.items():
        answer = bench(*words, *more)
        assert (answer.code, answer.out) == (2, "")
        assert sentence in answer.err
    assert not (tmp_path / "runs").exists()


def test_data_that_are_missing_are_named_before_anything_is_fetched(
    bench: Callable[..., Any], tmp_path: Path
) -> None:
    words = ["run", "--dataset", "cifar10", "--plan", "--data", tmp_path / "data"]
    answer = bench(*words, "--out", tmp_path / "runs")
    assert answer.code == 0
    assert "cifar-10-python.tar.gz (170.5 MB)" in answer.out
    assert "preset: cpu (auto: there is no GPU)" in answer.out
    assert "by the generator cifake (about 145 MB to download)" in answer.out
    assert not list(tmp_path.rglob("*.gz*"))


def test_an_interrupted_run_shows_the_leaderboard_so_far(
    bench: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = launchers._work
    done: list[Any] = []

    def work(*arguments: Any) -> Any:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(whole(*arguments))
        return done[-1]

    monkeypatch.setattr(launchers, "_work", work)
    answer = bench(*WORDS, "--out", tmp_path / "runs")
    assert answer.code == 130
    assert "interrupted; the same command goes on" in answer.err
    # The first seed of both methods.
    assert "fedavg" in answer.out
    assert "fedprox" in answer.out
    assert "QUICK RUN" in answer.out


def test_a_run_without_a_result_shows_no_leaderboard(
    bench: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(launchers, "_work", stop)
    answer = bench(*WORDS, "--out", tmp_path / "runs")
    assert (answer.code, answer.out) == (130, "")


def test_the_estimate_and_the_truth_are_kept(bench: Callable[..., Any], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert bench(*WORDS, "--out", tmp_path / "runs", "--cache", cache).code == 0
    assert bench(*WORDS, "--out", tmp_path / "runs", "--cache", cache).code == 0
    (line,) = (cache / "forecasts.jsonl").read_text().splitlines()
    assert json.loads(line)["cells"] == 4
