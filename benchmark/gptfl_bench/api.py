"""Running cells from Python."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from torch import nn

from gptfl_bench.core.errors import UsageError
from gptfl_bench.engine.method import Method
from gptfl_bench.runs import experiment, launchers
from gptfl_bench.runs.launchers import Launcher
from gptfl_bench.tasks.access import Access, default_cache, default_data
from gptfl_bench.tasks.task import Task
from gptfl_reports.records.cells import read_cells


def run(
    methods: str | Method | Sequence[str | Method] = "all",
    dataset: str | Task = "digits",
    seeds: Sequence[int] = (0, 1, 2),
    out: str | Path | None = None,
    *,
    preset: str = "default",
    model: str | nn.Module | None = None,
    launcher: Launcher = "basic",
    force: bool = False,
    cache: str | Path | None = None,
    data_folder: str | Path | None = None,
    download: bool = True,
    **overrides: object,
) -> pd.DataFrame:
    """Run every missing cell and return one row a cell.

    Args:
        methods: Names or method objects; ``"all"`` is every registered method.
        dataset: Name of a data set, or a task.
        seeds: Roots of randomness.
        out: Run folder; a temporary one, removed afterwards, if left out.
        preset: Name of the preset.
        model: Name of a network, or a network whose weights are the start.
        launcher: Where cells run.
        force: Run finished cells again.
        cache: Folder of results that cells share.
        data_folder: Folder in which data sets are looked for and into which they are downloaded.
        download: Whether a data set that is not there may be downloaded.
        **overrides: Settings: ``rounds=5``, ``plan={"lr": 0.1}``, or ``**{"plan.lr": 0.1}``.

    Returns:
        A frame with the columns of ``gptfl-bench results``.

    Raises:
        UsageError: If any name or value does not fit.
    """
    asked = [methods] if isinstance(methods, str | Method) else list(methods)
    if isinstance(model, str):
        overrides["model"] = model
    access = Access(
        Path(data_folder) if data_folder is not None else default_data(),
        Path(cache) if cache is not None else default_cache(),
        download,
    )
    plan = experiment.plan(
        asked,
        dataset,
        preset,
        seeds,
        list(_flatten(overrides)),
        model if isinstance(model, nn.Module) else None,
        access,
    )
    with tempfile.TemporaryDirectory() as scratch:
        context = experiment.context(
            Path(out) if out is not None else Path(scratch) / "run",
            "gptfl_bench.run",
            force,
            access.cache,
        )
        cells = launchers.execute(plan.cells, context, launcher=launcher)
        return pd.DataFrame([cell.row() for cell in cells])


def read(folder: str | Path) -> pd.DataFrame:
    """Return one row for each cell of a run folder, ended or not, as ``gptfl-bench results`` does.

    Raises:
        UsageError: If the folder holds no cells, or a damaged one.
    """
    return pd.DataFrame([cell.row() for cell in read_cells(Path(folder))])


def _flatten(values: Mapping[str, object], prefix: str = "") -> list[str]:
    """Return nested settings as ``key=value`` texts."""
    texts = []
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            texts += _flatten(value, f"{key}.")
        elif value is None or isinstance(value, bool | int | float | str):
            added = "+" if key.startswith("model_args.") else ""
            texts.append(f"{added}{key}={json.dumps(value)}")
        elif isinstance(value, list | tuple):
            texts.append(f"{key}={json.dumps(list(value))}")
        else:
            raise UsageError(
                f"{key}={value!r} does not fit: a number, a text, null or a list is needed."
            )
    return texts
