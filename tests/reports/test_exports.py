"""What other tools get: the same numbers as the records, once, whatever was there before."""

import os
import shutil
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

import gptfl_bench
from gptfl_bench.cli import main
from gptfl_bench.core.errors import UsageError
from gptfl_reports.exports import HandOver, exporters, model_card, parameters, series
from gptfl_reports.records.cells import Cell, read_cell, read_cells

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
    assert sorted(runs) == ["fedavg-0", "moon-0"]
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
    assert names == ["fedavg-0", "fedavg-1", "moon-0"]
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
