"""Cells as runs of MLflow: a parent for each method and setting, its seeds below."""

import logging
import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from gptfl_reports.exports.series import PROJECT, Shown, facts, labels, repeated
from gptfl_reports.records.cells import Cell

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_CELL, _PARENT = "gptfl_bench.run_id", "gptfl_bench.repeated"
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


class MLflow:
    """Runs at ``MLFLOW_TRACKING_URI``, or in the run folder without it.

    Raises:
        ImportError: If MLflow, or for a database SQLAlchemy, is not installed.
    """

    def __init__(self) -> None:
        from mlflow.tracking import MlflowClient

        self._connect = MlflowClient
        for logger in ("mlflow", "alembic", "urllib3"):
            # What fails is said once, by us.
            logging.getLogger(logger).setLevel(logging.ERROR)
        # By itself MLflow tries for four minutes before it says that nobody answers.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        self._database = find_spec("sqlalchemy") is not None
        self._named = os.environ.get("MLFLOW_TRACKING_URI", "")
        if self._named.startswith(_DATABASES) and not self._database:
            raise ImportError("sqlalchemy")
        self._runs: dict[str, tuple[str, Shown]] = {}

    def __call__(self, cell: Cell, run_folder: Path) -> None:
        """Log what is new in a cell; what an earlier program logged of it is replaced."""
        client, name = self._client(run_folder), cell.record["run_id"]
        if name not in self._runs:
            self._runs[name] = self._begun(client, cell), Shown()
        run_id, shown = self._runs[name]
        self._log(client, run_id, cell, shown)
        ending = cell.ending
        if ending.status != "running":
            client.set_tag(run_id, "status", ending.status)
            client.set_tag(run_id, "reason", ending.reason)
            ended = "FAILED" if ending.status == "failed" else "FINISHED"
            client.set_terminated(run_id, ended)
            del self._runs[name]

    def _client(self, run_folder: Path) -> "MlflowClient":
        database = f"sqlite:///{(run_folder / 'mlflow.db').absolute().as_posix()}"
        files = (run_folder / "mlruns").absolute().as_uri()
        uri = self._named or (database if self._database else files)
        if uri.startswith("file:") or "://" not in uri:
            # MLflow takes a folder of files only if it is told so, and naming one tells it.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        return self._connect(uri)

    def _begun(self, client: "MlflowClient", cell: Cell) -> str:
        """Return the id of a new run for a cell, below its parent."""
        known = client.get_experiment_by_name(PROJECT)
        experiment = known.experiment_id if known else client.create_experiment(PROJECT)
        name, record = cell.record["run_id"], cell.record
        for old in client.search_runs([experiment], f"tags.`{_CELL}` = '{name}'"):
            client.delete_run(old.info.run_id)
        tags, digest = labels(cell), repeated(cell)
        parents = client.search_runs([experiment], f"tags.`{_PARENT}` = '{digest}'")
        if parents:
            parent = parents[0].info.run_id
        else:
            title = f"{record['method']} on {record['dataset']['name']}"
            shared = {key: value for key, value in tags.items() if key != "status"}
            shared[_PARENT] = digest
            parent = client.create_run(experiment, tags=shared, run_name=title).info.run_id
            client.set_terminated(parent)
        tags |= {_CELL: name, "mlflow.parentRunId": parent}
        begun: str = client.create_run(experiment, tags=tags, run_name=name).info.run_id
        return begun

    def _log(self, client: "MlflowClient", run_id: str, cell: Cell, shown: Shown) -> None:
        from mlflow.entities import Metric, Param

        first = not shown.points
        # A store refuses what is no number.
        points = [(name, value, step) for name, value, step in shown.news(cell) if value == value]
        news = [Metric(name, value, 0, step) for name, value, step in points]
        params = [Param(key, value) for key, value in facts(cell).items()] if first else []
        # The tracking server takes a hundred parameters and a thousand metrics at once.
        for start in range(0, len(params), 100):
            client.log_batch(run_id, params=params[start : start + 100])
        for start in range(0, len(news), 1000):
            client.log_batch(run_id, metrics=news[start : start + 1000])
