"""Cells for the tools that people have already: TensorBoard, MLflow, a model card.

Everything is made from records, so a cell can be exported while others run, and again later.
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten
from typing import Protocol

from gptfl_reports.records.cells import Cell, mean, read_cell
from gptfl_reports.records.errors import UsageError, unknown
from gptfl_reports.records.events import (
    PretrainEpoch,
    RoundAggregated,
    RoundEvaluated,
    TrafficCounted,
)
from gptfl_reports.records.files import write_atomically
from gptfl_reports.targets import by_task_and_method

_EXPERIMENT = "gptfl-bench"
_CELL = "gptfl_bench.run_id"
_LONGEST_PARAMETER = 500
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


class Export(Protocol):
    """Hands a cell over to a tool, once more if it was before."""

    def __call__(self, cell: Cell, run_folder: Path) -> None:
        """Export ``cell``.

        Raises:
            UsageError: If the tool is not installed or does not take it.
        """
        ...


@dataclass
class HandOver:
    """Hands cells of a run folder to a tool, and those that it did not take at the next call.

    Those are kept by name in the run folder, so that a run goes on without the tool.

    Attributes:
        name: The tool.
        export: Hands over a cell.
        warn: Takes a sentence.
        works: Whether the tool has taken all so far; after a failure it is left alone, for each
            further try may take minutes.
    """

    name: str
    export: Export
    warn: Callable[[str], None]
    works: bool = True

    def __call__(self, cell: Cell, run_folder: Path) -> None:
        """Hand over a cell, and those that are still missing there."""
        path = run_folder / f"not-in-{self.name}.txt"
        missing = path.read_text(encoding="utf-8").split() if path.exists() else []
        due: dict[str, Cell | None] = {name: None for name in missing}
        due[cell.record["run_id"]] = cell
        try:
            for name in list(due) if self.works else []:
                found = due[name] or _kept(run_folder / name)
                if found:
                    self.export(found, run_folder)
                del due[name]
        except Exception as error:
            self.works = False
            reason = shorten(str(error) or type(error).__name__, 200, placeholder="...").rstrip(".")
            self.warn(
                f"{self.name} took no results ({reason}); the run goes on, and the next one "
                f"with the same --out and --export {self.name} hands them over."
            )
        if due:
            write_atomically(path, "".join(f"{name}\n" for name in due).encode())
        else:
            path.unlink(missing_ok=True)


def _kept(folder: Path) -> Cell | None:
    """Return a cell unless it was removed or damaged since."""
    try:
        return read_cell(folder)
    except UsageError:
        return None


def exporters(names: Sequence[str], warn: Callable[[str], None]) -> list[HandOver]:
    """Return what hands cells to some tools.

    Args:
        names: The tools.
        warn: Takes a sentence about a tool that fails.

    Raises:
        UsageError: If there is no such export, or its package is not installed.
    """
    for name in names:
        if name not in EXPORTS:
            raise unknown("export", name, EXPORTS)
    return [HandOver(name, EXPORTS[name](), warn) for name in dict.fromkeys(names)]


def series(cell: Cell) -> Iterator[tuple[str, float, int]]:
    """Yield name, value and round (for pre-training: epoch) of all that changes in a cell."""
    for event in cell.events:
        if isinstance(event, RoundEvaluated):
            yield "test/accuracy", event.accuracy, event.round
            yield "test/macro_f1", event.macro_f1, event.round
            yield "test/loss", event.loss, event.round
        elif isinstance(event, RoundAggregated):
            yield "train/loss", event.train_loss, event.round
            yield "train/samples", event.examples, event.round
            yield "seconds/round", event.seconds, event.round
            if event.gradient_diversity is not None:
                yield "train/gradient_diversity", event.gradient_diversity, event.round
        elif isinstance(event, PretrainEpoch) and not event.architecture:
            yield "pretraining/loss", event.loss, event.epoch
            yield "pretraining/synthetic_accuracy", event.validation_accuracy, event.epoch
            yield "pretraining/real_accuracy", event.test_accuracy, event.epoch
    sent: dict[tuple[str, int], int] = {}
    for event in cell.events:
        if isinstance(event, TrafficCounted):
            key = (event.direction, event.round)
            sent[key] = sent.get(key, 0) + event.nbytes
    for direction in ("down", "up", "once"):
        total = 0
        for (way, round), nbytes in sorted(sent.items(), key=lambda item: item[0][1]):
            if way == direction:
                total += nbytes
                yield f"traffic/bytes_{direction}", total, round


def parameters(settings: object, prefix: str = "") -> dict[str, str]:
    """Return a record's resolved settings as dotted names to texts."""
    if not isinstance(settings, dict):
        return {prefix: str(settings)[:_LONGEST_PARAMETER]}
    found: dict[str, str] = {}
    for key, value in settings.items():
        found |= parameters(value, f"{prefix}.{key}" if prefix else str(key))
    return found


def model_card(cells: Sequence[Cell]) -> str:
    """Return the results of finished cells as the ``model-index`` of a model card's metadata.

    One result a method and task, the mean over its seeds, in the form of Hugging Face's
    ``huggingface_hub.EvalResult``.

    Raises:
        UsageError: If no cell has finished, or a method has two settings on one task.
    """
    from huggingface_hub import EvalResult, ModelCardData

    finished = [cell for cell in cells if cell.ending.status == "finished"]
    results = []
    for (_, method), members in by_task_and_method(finished).items():
        record = members[0].record
        dataset = record["dataset"]["name"]
        last = [cell.evaluations[-1] for cell in members]
        modality = record["dataset"].get("modality", "image")
        kind = "image-classification" if modality == "image" else "audio-classification"
        for metric, values in (
            ("accuracy", [event.accuracy for event in last]),
            ("f1", [event.macro_f1 for event in last]),
        ):
            seeds = f"{len(members)} seed{'s' if len(members) > 1 else ''}"
            results.append(
                EvalResult(
                    task_type=kind,
                    dataset_type=dataset,
                    dataset_name=dataset,
                    dataset_args={"partition": members[0].row()["partition"]},
                    dataset_revision=record["dataset"]["sha256"],
                    metric_type=metric,
                    metric_value=mean(values),
                    metric_name=f"{'macro F1' if metric == 'f1' else metric} of {method}, {seeds}",
                    metric_args={"average": "macro"} if metric == "f1" else None,
                )
            )
    if not results:
        raise UsageError("no cell has finished yet, so there is nothing for a model card.")
    text = ModelCardData(model_name="gptfl-bench", eval_results=results).to_yaml()
    return text.rstrip("\n") + "\n"


def _tensorboard() -> Export:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise _absent("tensorboard") from error

    def export(cell: Cell, run_folder: Path) -> None:
        folder = run_folder / "tensorboard" / cell.record["run_id"]
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        with SummaryWriter(str(folder)) as writer:
            for name, value, step in series(cell):
                writer.add_scalar(name, value, step)
            lines = [f"    {key}: {value}" for key, value in _all(cell).items()]
            writer.add_text("settings", "\n".join(lines))

    return export


def _mlflow() -> Export:
    try:
        from mlflow.entities import Metric, Param, RunTag
        from mlflow.tracking import MlflowClient
    except ImportError as error:
        raise _absent("mlflow") from error
    for logger in ("mlflow", "alembic", "urllib3"):
        # What fails is said once, by us.
        logging.getLogger(logger).setLevel(logging.ERROR)
    # By itself MLflow tries for four minutes before it says that nobody answers.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    there = find_spec("sqlalchemy") is not None
    named = os.environ.get("MLFLOW_TRACKING_URI", "")
    if named.startswith(_DATABASES) and not there:
        raise _absent("mlflow")

    def export(cell: Cell, run_folder: Path) -> None:
        database = f"sqlite:///{(run_folder / 'mlflow.db').absolute().as_posix()}"
        files = (run_folder / "mlruns").absolute().as_uri()
        uri = named or (database if there else files)
        if uri.startswith("file:") or "://" not in uri:
            # MLflow takes a folder of files only if it is told so, and naming one tells it.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        client = MlflowClient(uri)
        known = client.get_experiment_by_name(_EXPERIMENT)
        experiment = known.experiment_id if known else client.create_experiment(_EXPERIMENT)
        run_id = cell.record["run_id"]
        for old in client.search_runs([experiment], f"tags.`{_CELL}` = '{run_id}'"):
            client.delete_run(old.info.run_id)
        run = client.create_run(experiment, tags={_CELL: run_id}, run_name=run_id)
        metrics = [
            Metric(name, value, 0, step) for name, value, step in series(cell) if value == value
        ]
        params = [Param(key, value) for key, value in _all(cell).items()]
        tags = [RunTag("status", cell.ending.status), RunTag("reason", cell.ending.reason)]
        # The tracking server takes a hundred parameters and a thousand metrics at once.
        for start in range(0, len(params), 100):
            client.log_batch(run.info.run_id, params=params[start : start + 100])
        for start in range(0, len(metrics), 1000):
            client.log_batch(run.info.run_id, metrics=metrics[start : start + 1000])
        client.log_batch(run.info.run_id, tags=tags)
        ended = "FAILED" if cell.ending.status == "failed" else "FINISHED"
        client.set_terminated(run.info.run_id, ended)

    return export


EXPORTS: dict[str, Callable[[], Export]] = {"tensorboard": _tensorboard, "mlflow": _mlflow}
"""What makes an export, by name."""


def _all(cell: Cell) -> dict[str, str]:
    record = cell.record
    own = {key: str(record[key]) for key in ("method", "seed", "rounds", "cohort_size")}
    data = {"dataset": record["dataset"]["name"], "partition": cell.row()["partition"]}
    return {**own, **data, "model": record["model"]["name"], **parameters(record["config"])}


def _absent(name: str) -> UsageError:
    return UsageError(f"the export {name!r} needs its package: pip install 'gptfl-bench[{name}]'.")
