"""Cells as runs of Weights & Biases, kept in ``wandb/`` of the run folder until they are synced."""

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gptfl_reports.exports.series import PROJECT, Shown, facts, labels, repeated
from gptfl_reports.records.cells import Cell

if TYPE_CHECKING:
    from wandb import Run


class WandB:
    """One run a cell, offline unless ``WANDB_MODE`` says otherwise; seeds share a group."""

    def __init__(self) -> None:
        # Without it, errors are reported to its makers.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        self._wandb = wandb
        self._runs: dict[str, tuple[Run, Shown]] = {}

    def __call__(self, cell: Cell, run_folder: Path) -> None:
        """Log what is new in a cell; what an earlier program kept of it offline is replaced."""
        name = cell.record["run_id"]
        if name not in self._runs:
            self._runs[name] = self._begun(cell, run_folder), Shown()
        run, shown = self._runs[name]
        for series, value, step in shown.news(cell):
            axis = "epoch" if series.startswith("pretraining/") else "round"
            run.log({series: value, axis: step})
        run.summary.update({"status": cell.ending.status, "reason": cell.ending.reason})
        if cell.ending.status != "running":
            run.finish(exit_code=int(cell.ending.status == "failed"))
            del self._runs[name]

    def _begun(self, cell: Cell, run_folder: Path) -> "Run":
        name, record = cell.record["run_id"], cell.record
        for old in (run_folder / "wandb").glob(f"offline-run-*-{name}"):
            shutil.rmtree(old)
        mode: Any = os.environ.get("WANDB_MODE", "offline")
        settings = self._wandb.Settings(
            mode=mode,
            console="off",
            silent=True,
            disable_git=True,
            disable_code=True,
            x_disable_stats=True,
        )
        run = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            dir=str(run_folder),
            id=name,
            name=name,
            group=f"{record['method']} on {record['dataset']['name']} {repeated(cell)}",
            tags=[value for key, value in labels(cell).items() if key != "status"],
            config=dict(facts(cell)),
            resume="allow",
            reinit="create_new",
            settings=settings,
        )
        for prefix, axis in (("pretraining/*", "epoch"), ("*", "round")):
            run.define_metric(prefix, step_metric=axis)
        return run
