"""What other tools get: the same numbers as the records, once, whatever was there before."""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from threading import Event
from typing import Any

import pytest

import gptfl_bench
from gptfl_bench.cli import main
from gptfl_bench.core.errors import UsageError
from gptfl_reports.exports.hand_over import HandOver, exporters
from gptfl_reports.exports.model_card import model_card
from gptfl_reports.exports.series import Shown, parameters, series
from gptfl_reports.exports.watch import watching
from gptfl_reports.records.cells import Cell, read_cell, read_cells
from gptfl_reports.records.events import EventLog, RoundAggregated, TrafficCounted

MakeCell = Callable[..., Path]


def test_series_are_the_cells_events(make_cell: MakeCell) -> None:
    cell = read_cell(make_cell("fedavg", 0, [0.1, 0.5, 0.8], down=1000, up=500, once=400))
    found = list(series(cell))
    accuracies = [(value, step) for name, value, step in found if name == "test/accuracy"]
    assert accuracies == [(0.1, 0), (0.5, 1), (0.8, 2)]
    assert [(v, s) for n, v, s in found if n == "traffic/bytes_down"] == [(1000, 1), (2000, 2)]
    assert [(v, s) for n, v, s in found if n == "traffic/bytes_once"] == [(400, 0)]


def test_settings_become_dotted_names() -> None:
    assert parameters({"plan": {"lr": 0.1, "steps": None}, "rounds": 3}) == {
        "plan.lr": "0.1",
        "plan.steps": "None",
        "rounds": "3",
    }


def test_tensorboard_reads_the_numbers_back_once(make_cell: MakeCell, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    cell = read_cell(make_cell("fedavg", 0, [0.1, 0.5, 0.8]))
    (export,) = exporters(["tensorboard"], pytest.fail)
    for _ in range(2):
        export(cell, tmp_path)
    (folder,) = (tmp_path / "tensorboard").iterdir()
    assert folder.name == cell.record["run_id"]
    log = EventAccumulator(str(folder))
    log.Reload()
    found = [(event.step, event.value) for event in log.Scalars("test/accuracy")]
    assert found == [(0, pytest.approx(0.1)), (1, pytest.approx(0.5)), (2, pytest.approx(0.8))]
    assert "config" not in log.Tags()["scalars"]


STORES = {
    "none named": lambda folder: None,
    "files": lambda folder: (folder / "mlruns").as_uri(),
    "a path": lambda folder: str(folder / "mlruns"),
    "a database": lambda folder: f"sqlite:///{folder}/own.db",
}


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without a word about MLflow; what is set in it goes with the test."""
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    for name in ("MLFLOW_ALLOW_FILE_STORE", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize("store", STORES.values(), ids=STORES)
def test_mlflow_has_one_run_a_cell(
    make_cell: MakeCell,
    tmp_path: Path,
    clean: pytest.MonkeyPatch,
    store: Callable[[Path], str | None],
) -> None:
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    named, database = store(tmp_path), find_spec("sqlalchemy") is not None
    if named and named.startswith("sqlite") and not database:
        clean.setenv("MLFLOW_TRACKING_URI", named)
        with pytest.raises(UsageError, match=r"pip install 'gptfl-bench\[mlflow\]'"):
            exporters(["mlflow"], pytest.fail)
        return
    if named:
        clean.setenv("MLFLOW_TRACKING_URI", named)
    cells = [
        read_cell(make_cell("fedavg", 0, [0.1, 0.5, 0.8])),
        read_cell(make_cell("fedavg", 1, [0.1, 0.4, 0.7])),
        read_cell(make_cell("moon", 0, [0.1], status="refused", reason="needs features")),
    ]
    for _ in range(2):
        (export,) = exporters(["mlflow"], pytest.fail)
        for cell in cells:
            export(cell, tmp_path)
    own = f"sqlite:///{tmp_path}/mlflow.db" if database else (tmp_path / "mlruns").as_uri()
    client = MlflowClient(named or own)
    experiment = client.get_experiment_by_name("gptfl-bench")
    assert experiment is not None
    runs = {r.info.run_name: r for r in client.search_runs([experiment.experiment_id])}
    assert sorted(runs) == ["fedavg on digits", "fedavg-0", "fedavg-1", "moon on digits", "moon-0"]
    parent = runs["fedavg on digits"].info.run_id
    assert [n for n, r in runs.items() if r.data.tags.get("mlflow.parentRunId") == parent] == [
        "fedavg-1",
        "fedavg-0",
    ]
    run = runs["fedavg-0"]
    history = client.get_metric_history(run.info.run_id, "test/accuracy")
    assert sorted((metric.step, metric.value) for metric in history) == [
        (0, 0.1),
        (1, 0.5),
        (2, 0.8),
    ]
    assert run.data.params["plan.lr"] == "0.1"
    assert runs["moon-0"].data.tags["reason"] == "needs features"


def test_a_server_that_is_down_is_told_once_and_the_next_call_makes_up(
    make_cell: MakeCell, tmp_path: Path, clean: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    cells = [read_cell(make_cell("fedavg", seed, [0.1, 0.5])) for seed in (0, 1)]
    out, said = cells[0].folder.parent, list[str]()
    clean.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    (export,) = exporters(["mlflow"], said.append)
    for cell in cells:
        export(cell, out)
    (line,) = said
    assert "mlflow took no results" in line
    assert "127.0.0.1" in line

    clean.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    (export,) = exporters(["mlflow"], pytest.fail)
    export(read_cell(make_cell("moon", 0, [0.1])), out)
    client = MlflowClient((tmp_path / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("gptfl-bench")
    assert experiment is not None
    names = sorted(r.info.run_name or "" for r in client.search_runs([experiment.experiment_id]))
    assert [n for n in names if " on " not in n] == ["fedavg-0", "fedavg-1", "moon-0"]
    assert not (out / "not-in-mlflow.txt").exists()


def test_what_a_tool_missed_is_handed_over_unless_it_is_gone(
    make_cell: MakeCell, tmp_path: Path
) -> None:
    cells = [read_cell(make_cell("fedavg", seed, [0.1])) for seed in (0, 1, 2)]
    out, said, taken = cells[0].folder.parent, list[str](), list[str]()

    def broken(cell: Cell, run_folder: Path) -> None:
        raise OSError("no room\nand more")

    hand_over = HandOver("tool", broken, said.append)
    for cell in cells[:2]:
        hand_over(cell, out)
    assert len(said) == 1
    assert "tool took no results (no room and more)" in said[0]
    shutil.rmtree(cells[0].folder)
    mended = HandOver("tool", lambda cell, _: taken.append(cell.record["run_id"]), pytest.fail)
    mended(cells[2], out)
    assert taken == ["fedavg-1", "fedavg-2"]
    mended(cells[2], out)
    assert taken == ["fedavg-1", "fedavg-2", "fedavg-2"]


def test_a_run_goes_on_when_its_tool_fails(
    tmp_path: Path, clean: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("mlflow")
    clean.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    words = ["run", "--methods", "fedavg", "--preset", "quick", "--seeds", "0,1", "rounds=1"]
    assert main([*words, "--out", str(tmp_path / "runs"), "--export", "mlflow"]) == 0
    said = capsys.readouterr()
    assert said.err.count("took no results") == 1
    assert "Retrying" not in said.err
    assert "2 of 2" in said.out


def test_a_model_card_has_the_mean_over_finished_seeds(make_cell: MakeCell, tmp_path: Path) -> None:
    from huggingface_hub import ModelCardData
    from huggingface_hub.repocard_data import model_index_to_eval_results
    from omegaconf import OmegaConf

    make_cell("gptfl", 0, [0.1, 0.6])
    make_cell("gptfl", 1, [0.1, 0.8])
    make_cell("gptfl", 2, [0.1], status="diverged")
    text = model_card(read_cells(tmp_path / "run"))
    values = OmegaConf.to_container(OmegaConf.create(text))
    assert isinstance(values, dict)
    name, results = model_index_to_eval_results(values["model-index"])
    assert ModelCardData(model_name=name, eval_results=results).to_yaml() in text
    found = {result.metric_type: result for result in results}
    assert found["accuracy"].metric_value == pytest.approx(0.7)
    assert found["f1"].metric_value == pytest.approx(0.35)
    assert found["accuracy"].dataset_type == "digits"
    assert found["accuracy"].task_type == "image-classification"
    assert "2 seeds" in str(found["accuracy"].metric_name)


def test_python_reads_the_rows_of_a_run_folder(make_cell: MakeCell, tmp_path: Path) -> None:
    make_cell("gptfl", 0, [0.1, 0.6])
    make_cell("moon", 1, [0.2], status="running")
    frame = gptfl_bench.read(tmp_path / "run")
    assert list(frame["method"]) == ["gptfl", "moon"]
    assert list(frame["value_last"]) == [0.6, 0.2]
    assert list(frame["status"]) == ["finished", "running"]


def test_nothing_finished_gives_no_model_card(make_cell: MakeCell, tmp_path: Path) -> None:
    make_cell("gptfl", 0, [], status="refused", reason="no generator")
    with pytest.raises(UsageError, match="no cell has finished"):
        model_card(read_cells(tmp_path / "run"))


def test_unknown_and_missing_tools_are_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "runs"), "--export"]
    assert main(["run", *out, "tensorbord"]) == 2
    assert "tensorboard" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "mlflow.tracking", None)
    assert main(["run", *out, "mlflow"]) == 2
    assert "pip install 'gptfl-bench[mlflow]'" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_tool_sees_a_cell_grow_and_each_point_once(make_cell: MakeCell, tmp_path: Path) -> None:
    shown = Shown()
    names = [
        name for name, _, _ in shown.news(read_cell(make_cell("x", 0, [0.1], status="running")))
    ]
    assert names == ["test/accuracy", "test/macro_f1", "test/loss"]
    grown = read_cell(make_cell("y", 0, [0.1, 0.5], once=40, status="running"))
    news = shown.news(grown)
    assert {step for name, _, step in news if name.startswith("test/")} == {1}
    assert ("traffic/bytes_down", 1000, 1) in news
    assert shown.news(grown) == []


def test_the_traffic_of_a_round_under_way_is_not_shown_before_its_end(
    make_cell: MakeCell, tmp_path: Path
) -> None:
    folder, shown = make_cell("x", 0, [0.1, 0.5], status="running"), Shown()
    log = EventLog(folder / "events.jsonl")
    log.append(TrafficCounted(2, "down", "model", 2, 10, 40, 49))
    assert {step for name, _, step in shown.news(read_cell(folder)) if "traffic" in name} == {1}
    log.append(TrafficCounted(2, "down", "model", 3, 15, 60, 69))
    log.append(RoundAggregated(2, [0], 350, 25, 0.5, None, False, 0, 1.5))
    log.close()
    assert ("traffic/bytes_down", 1100, 2) in shown.news(read_cell(folder))


def test_cells_are_shown_while_they_run_and_not_after_their_end(
    make_cell: MakeCell, tmp_path: Path
) -> None:
    taken: list[tuple[str, str]] = []
    there = Event()

    def tool(cell: Cell, run_folder: Path) -> None:
        taken.append((cell.record["run_id"], cell.ending.status))
        there.set()

    hand_over = HandOver("tool", tool, pytest.fail)
    make_cell("moon", 0, [0.1, 0.5], status="running")
    # Whole before anyone looks: one that is still being written counts as running.
    done = read_cell(make_cell("moon", 1, [0.1, 0.5]))
    with watching([hand_over], ["moon-0", "moon-1"], tmp_path / "run", every=0.01):
        assert there.wait(10)
        hand_over(done, tmp_path / "run")
    assert taken == [("moon-0", "running"), ("moon-1", "finished")]
    read_before_its_end = replace(done, events=done.events[:-1])
    hand_over.so_far(read_before_its_end, tmp_path / "run")
    assert len(taken) == 2


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_cell_that_was_shown_while_it_ran_has_each_value_once(
    make_cell: MakeCell, tmp_path: Path, clean: pytest.MonkeyPatch, name: str
) -> None:
    pytest.importorskip(name)
    (tool,) = exporters([name], pytest.fail)
    for values, status in (([0.1], "running"), ([0.1, 0.5], "running"), ([0.1, 0.5, 0.8], "")):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        cell = read_cell(make_cell("moon", 0, values, status=status or "finished"))
        (tool.so_far if status else tool)(cell, tmp_path)
    assert _accuracies(name, tmp_path) == [(0, 0.1), (1, 0.5), (2, 0.8)]


def _accuracies(tool: str, out: Path) -> list[tuple[int, float]]:
    if tool == "tensorboard":
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        log = EventAccumulator(str(out / "tensorboard" / "moon-0"))
        log.Reload()
        return [(event.step, round(event.value, 6)) for event in log.Scalars("test/accuracy")]
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{out}/mlflow.db")
    experiment = client.get_experiment_by_name("gptfl-bench")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "attributes.run_name = 'moon-0'")
    (run,) = runs
    assert run.data.tags["status"] == "finished"
    history = client.get_metric_history(run.info.run_id, "test/accuracy")
    return sorted((metric.step, metric.value) for metric in history)


def test_weights_and_biases_keeps_runs_offline_grouped_by_method(
    make_cell: MakeCell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2

    messages: Any = wandb_internal_pb2  # its names are made when it is loaded
    for key in [key for key in os.environ if key.startswith("WANDB_")]:
        monkeypatch.delenv(key)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    # Its service starts within seconds, but not on a machine whose cores are all taken.
    monkeypatch.setenv("WANDB__SERVICE_WAIT", "300")
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "300")
    cells = [read_cell(make_cell("moon", seed, [0.1, 0.5, 0.8])) for seed in (0, 1)]
    for _ in range(2):
        (tool,) = exporters(["wandb"], pytest.fail)
        for cell in cells:
            tool(cell, tmp_path)
    folders = sorted((tmp_path / "wandb").glob("offline-run-*"), key=lambda path: path.name[-1])
    assert [folder.name.rpartition("-moon-")[2] for folder in folders] == ["0", "1"]
    groups, values = [], []
    for folder in folders:
        (path,) = folder.glob("*.wandb")
        for record in _finished(path, messages.Record):
            if record.HasField("run"):
                groups.append(record.run.run_group)
            for item in record.history.item:
                if "test/accuracy" in (item.key, *item.nested_key):
                    values.append(float(item.value_json))
    assert values == [0.1, 0.5, 0.8] * 2
    assert groups[0].startswith("moon on digits ")
    assert len(set(groups)) == 1


def _finished(path: Path, kind: Callable[[], Any]) -> list[Any]:
    """Return the messages of a file once the last is there; finish() does not wait for the disk."""
    for _ in range(600):
        found = []
        for data in _leveldb_log(path.read_bytes()):
            found.append(kind())
            found[-1].ParseFromString(data)
        if found and found[-1].HasField("exit"):
            break
        time.sleep(0.1)
    return found


def _leveldb_log(content: bytes) -> Iterator[bytes]:
    """Yield the records of a file of Weights & Biases: seven bytes, then LevelDB's log format."""
    at, whole = 7, b""
    while at + 7 <= len(content):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        if at + 7 + length > len(content):  # not all of it is on the disk yet
            return
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield whole
            whole = b""
