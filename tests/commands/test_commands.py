"""What each command does, and that results depend on nothing but what is asked."""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

import gptfl_bench
from gptfl_methods.fedavg import FedAvg
from gptfl_reports.records.cells import read_cells

ROW = [
    "run_id",
    "method",
    "dataset",
    "partition",
    "model",
    "seed",
    "status",
    "reason",
    "rounds",
    "num_clients",
    "cohort_size",
    "metric",
    "value_last",
    "value_best",
    "value_mean_last",
    "scalars_down",
    "scalars_up",
    "bytes_down",
    "bytes_up",
    "client_bytes_once",
    "target",
    "rounds_to_target",
    "scalars_to_target",
    "bytes_to_target",
    "seconds",
    "server_saw_clients",
    "secure_aggregation",
    "rounds_lost",
]
"""The published names of a row's values, in order."""

SMALL = [
    "--preset",
    "quick",
    "rounds=2",
    "synthetic.generator=renderer",
    "synthetic.multiplier=0.1",
]


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared-cache")


@pytest.fixture
def run(bench: Callable[..., Any], shared_cache: Path) -> Callable[..., Any]:
    """Return a function that runs methods into a folder and asserts that it went well."""

    def start(out: Path, methods: str, *words: str) -> Any:
        answer = bench("run", "--methods", methods, "--out", out, *SMALL, *words, *_seeds(words))
        assert answer.code == 0, answer.err
        return answer

    def _seeds(words: tuple[str, ...]) -> list[str]:
        rest = [] if "--seeds" in words else ["--seeds", "0"]
        return [*rest, "--cache", str(shared_cache)]

    return start


def _rows(out: Path) -> dict[str, dict[str, object]]:
    """Return rows by run id, without what the clock decides."""
    return {
        cell.record["run_id"]: {k: v for k, v in cell.row().items() if k != "seconds"}
        for cell in read_cells(out)
    }


def _stamps(out: Path) -> dict[Path, int]:
    files = (path for path in out.rglob("*") if path.is_file() and path.name != ".lock")
    return {path: path.stat().st_mtime_ns for path in files}


def test_results_come_as_table_json_and_csv(
    run: Callable[..., Any], bench: Callable[..., Any], tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    run(out, "fedavg,fedprox")
    rows = json.loads(bench("results", out, "--format", "json").out)
    assert [row["method"] for row in rows] == ["fedavg", "fedprox"]
    assert all(list(row) == ROW for row in rows)
    text = bench("results", out, "--format", "csv").out
    table = list(csv.DictReader(io.StringIO(text)))
    assert list(table[0]) == ROW
    for row, line in zip(rows, table, strict=True):
        assert line["run_id"] == row["run_id"]
        assert float(line["value_last"]) == row["value_last"]
        assert int(line["bytes_up"]) == row["bytes_up"]
        assert float(line["target"]) == row["target"] == 0.9
        assert line["rounds_to_target"] == "", "not reached in so few rounds"
        assert row["rounds_to_target"] is None
    shown = bench("results", out).out
    assert shown == bench("results", out, "--format", "table").out
    assert "fedavg" in shown
    assert f"{100 * rows[0]['value_last']:.2f}" in shown


def test_a_run_prints_a_leaderboard_and_a_report_is_made_of_it(
    run: Callable[..., Any], bench: Callable[..., Any], tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    answer = run(out, "fedavg,gptfl")
    assert "QUICK RUN" in answer.out
    assert "fedavg" in answer.out
    assert "gptfl" in answer.out
    told = bench("report", out, "--out", tmp_path / "pages")
    assert told.code == 0
    files = {Path(line).name for line in told.out.splitlines()}
    assert {"index.html", "leaderboard.md", "leaderboard.csv", "leaderboard.tex"} <= files
    assert all(Path(line).is_file() for line in told.out.splitlines())


def test_cfg_prints_settings_and_runs_nothing(bench: Callable[..., Any], tmp_path: Path) -> None:
    out = tmp_path / "runs"
    words = ["--methods", "fedprox", "--out", out, "plan.lr=0.03", "methods.fedprox.mu=0.5"]
    answer = bench("run", "--cfg", *words)
    assert answer.code == 0
    settings = OmegaConf.create(answer.out)
    assert settings.plan.lr == 0.03
    assert settings.methods.fedprox.mu == 0.5
    assert settings.methods.fedprox.plan.lr == 0.03
    assert not out.exists()


@pytest.mark.parametrize(
    "value", ["~/x", "/a b/c", "/a(1)/c", "/a=b", "C:\\x\\", "/ä/é", "/it's(", '/q"(', 'a\\"(\\\\']
)
def test_paths_and_patterns_need_no_quotes_of_hydras(bench: Callable[..., Any], value: str) -> None:
    for key in ("path", "clients"):
        answer = bench("run", "--dataset", "audio_folder", "--cfg", f"data.{key}={value}")
        assert answer.code == 0
        assert OmegaConf.create(answer.out).data[key] == value


def test_other_methods_and_their_order_change_no_number(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    run(tmp_path / "three", "scaffold,gptfl,fedavg", "--seeds", "1,0")
    run(tmp_path / "one", "fedavg", "--seeds", "0,1")
    run(tmp_path / "two", "gptfl,scaffold", "--seeds", "0")
    all_rows = _rows(tmp_path / "three")
    assert len(all_rows) == 6
    for part in ("one", "two"):
        rows = _rows(tmp_path / part)
        assert len(rows) == 2
        assert rows.items() <= all_rows.items()


def test_the_same_command_again_runs_nothing_and_force_runs_it(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    run(out, "fedavg")
    before, rows = _stamps(out), _rows(out)
    run(out, "fedavg")
    assert _stamps(out) == before
    run(out, "fedavg,fedprox")
    assert before.items() <= _stamps(out).items()
    run(out, "fedavg", "--force")
    after = _stamps(out)
    redone = {path.name for path in before if after[path] != before[path]}
    assert {"record.json", "events.jsonl", "checkpoint.safetensors"} <= redone
    assert rows.items() <= _rows(out).items()


def test_processes_give_the_numbers_of_a_serial_run(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    run(tmp_path / "serial", "fedavg,scaffold")
    run(tmp_path / "parallel", "fedavg,scaffold", "--launcher", "joblib")
    assert _rows(tmp_path / "parallel") == _rows(tmp_path / "serial")


@pytest.mark.parametrize(
    "kind", ["methods", "datasets", "models", "generators", "prompts", "partitions", "presets"]
)
def test_a_list_says_the_same_as_text_and_as_json(kind: str, bench: Callable[..., Any]) -> None:
    found = json.loads(bench("list", kind, "--json").out)
    assert found
    text = bench("list", kind).out
    for entry in found:
        assert next(iter(entry.values())) in text


def test_data_are_whole(bench: Callable[..., Any]) -> None:
    answer = bench("data", "digits", "--verify")
    assert answer.code == 0
    assert "1,437" in answer.out
    assert answer.out.count("SHA-256") == 2


METHOD = '''
"""Take half of FedAvg's step."""

from dataclasses import dataclass

from gptfl_bench.core import groups as g
from gptfl_methods.fedavg import FedAvg


@dataclass(frozen=True)
class Half(FedAvg):
    """Take half of FedAvg's step.

    Attributes:
        share: Part of the step that is taken.
    """

    share: float = 0.5

    def aggregate(self, state, cohort, server):
        """Return the state moved by a part of the mean update."""
        mean = cohort.mean("delta", self.weighting)
        model = g.add(state["model"], mean, self.share)
        return {**super().aggregate(state, cohort, server), "model": model}
'''


def test_a_method_from_another_distribution_is_one_file(
    python: Callable[..., Any], tmp_path: Path, shared_cache: Path
) -> None:
    # What pip leaves behind: a module and its metadata on the path.
    about = tmp_path / "site" / "half_fl-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: half-fl\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[gptfl_bench.methods]\nhalf = half_fl:Half\n")
    (tmp_path / "site" / "half_fl.py").write_text(METHOD)
    words = [
        *("--methods", "fedavg,half,gptfl+half"),
        *SMALL,
        "methods.half.share=1.0",
        "plan.lr=0.3",
    ]
    code = (
        "from gptfl_bench.cli import main\n"
        "assert main(['list', 'methods']) == 0\n"
        f"words = ['run', '--seeds', '0', '--out', 'runs', '--cache', {str(shared_cache)!r}]\n"
        f"assert main(words + {words!r}) == 0\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    result = python(code, cwd=tmp_path, env=environment)
    assert result.returncode == 0, result.stderr
    assert "Take half of FedAvg's step." in result.stdout
    rows = {row["method"]: row for row in _rows(tmp_path / "runs").values()}
    assert rows.keys() == {"fedavg", "half", "gptfl+half"}
    # A whole share is FedAvg.
    same = ("value_last", "value_mean_last", "bytes_up", "bytes_down")
    assert [rows["half"][key] for key in same] == [rows["fedavg"][key] for key in same]


def test_a_method_object_runs_beside_named_ones(tmp_path: Path, shared_cache: Path) -> None:
    namespace: dict[str, Any] = {"__name__": "half_fl"}
    exec(compile(METHOD, "half_fl.py", "exec"), namespace)  # noqa: S102 - the text above
    frame = gptfl_bench.run(
        ["fedprox", FedAvg(), namespace["Half"](share=1.0), namespace["Half"]()],
        seeds=[0],
        out=tmp_path / "runs",
        preset="quick",
        cache=shared_cache,
        rounds=2,
    )
    names = ["fedprox", "fedavg", "half(share=1.0)", "half(share=0.5)"]
    assert list(frame["method"]) == names
    assert list(frame.rows.columns) == ROW
    assert frame["value_last"][1] == frame["value_last"][2]
    assert (frame["status"] == "finished").all()


def test_idle_threads_are_told_to_wait_before_torch_loads() -> None:
    code = (
        "import os, sys\n"
        "from gptfl_bench.cli import main\n"
        "assert 'torch' not in sys.modules\n"
        "assert main(['--help']) == 0 and main(['rnu']) == 2 and 'torch' not in sys.modules\n"
        "assert main(['doctor']) == 0 and 'torch' in sys.modules\n"
        "assert os.environ['OMP_WAIT_POLICY'] == 'passive'\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    assert "torch" in result.stdout
