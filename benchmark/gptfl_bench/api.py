"""Running cells from Python."""

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gptfl_bench.clusters.settings import parted
from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.memory import keep_freed_memory
from gptfl_bench.core.progress import Silent
from gptfl_bench.core.randomness import Seeds
from gptfl_bench.data.task import Task
from gptfl_bench.engine.handed import Handed
from gptfl_bench.engine.method import Method
from gptfl_bench.explore import access_to
from gptfl_bench.runs import experiment, launchers
from gptfl_bench.runs import grid as grids
from gptfl_bench.runs.bars import for_caller
from gptfl_bench.runs.launchers import Launcher
from gptfl_bench.runs.processes import asked_for
from gptfl_reports.notebook import Results


def run(
    methods: str | Method | Sequence[str | Method] = "all",
    dataset: str | Task = "digits",
    seeds: Seeds = (0, 1, 2),
    out: str | Path | None = None,
    *,
    preset: str = "auto",
    model: str | Handed | None = None,
    launcher: Launcher = "basic",
    processes: int | None = None,
    force: bool | Sequence[str] = False,
    cache: str | Path | None = None,
    data_folder: str | Path | None = None,
    download: bool = True,
    progress: bool = True,
    grid: Mapping[str, Sequence[object]] | None = None,
    **overrides: object,
) -> Results:
    """Run every missing cell and return what came of all of them.

    Args:
        methods: Names or method objects; ``"all"`` is every registered method.
        dataset: Name of a data set, or a task.
        seeds: Roots of randomness: one or several whole numbers.
        out: Run folder; if left out, a temporary one that lasts as long as the results.
        preset: Name of the preset; ``auto`` takes ``default`` where there is a GPU or the data are
            small, ``cpu`` elsewhere, and the record has the name it took.
        model: Name of a network, a network whose weights are the start, or a class or function
            that makes one, of ``input_shape`` and ``num_classes`` if it takes them, with other
            weights for each seed.
        launcher: Where cells run; ``**{"launcher.address": "tcp://..."}`` and the like tell it
            more.
        processes: Cells at once with ``launcher="joblib"`` or ``"dask"``; None for as many as the
            cores allow, and on a GPU its free memory.
        force: Run cells that have ended again: all, or those of these ids.
        cache: Folder of results that cells share.
        data_folder: Folder in which data sets are looked for and into which they are downloaded.
        download: Whether a data set that is not there may be downloaded.
        progress: Whether to show bars on a terminal, and lines in a notebook.
        grid: Values of settings that are combined to a grid of tasks:
            ``{"partition.alpha": [0.1, 0.5], "cohort_size": [1, 10]}`` has four.
        **overrides: Settings: ``rounds=5``, ``plan={"lr": 0.1}``, or ``**{"plan.lr": 0.1}``.

    Raises:
        UsageError: If any name or value does not fit.
    """
    keep_freed_memory()
    at_once = asked_for(processes, launcher)
    alone = isinstance(methods, str) or not isinstance(methods, Iterable)
    asked: list[Any] = [methods] if alone else [*methods]  # type: ignore[misc]
    if isinstance(model, str):
        overrides["model"] = model
    access = access_to(data_folder, cache, download)
    told, settings = parted(launcher, _flatten(overrides))
    tasks = grids.plan(
        asked,
        dataset,
        preset,
        seeds,
        [*settings, *_sweeps(grid or {})],
        None if isinstance(model, str) else model,
        access,
    )
    cells = tasks.cells
    scratch = None if out is not None else _temporary()
    folder = Path(scratch.name) / "run" if scratch else Path(str(out)).expanduser()
    where = (folder, "gptfl_bench.run", force, access.cache)
    context = experiment.context(*where, cells, at_once, told)
    with for_caller() if progress else Silent() as shown:
        ended = launchers.execute(grids.in_turn(cells), context, shown, launcher)
        found = {cell.record["run_id"]: cell for cell in ended}
    # A temporary folder stays for as long as somebody holds its results.
    return Results(tuple(found[cell.run_id] for cell in cells), scratch)


def _temporary() -> "tempfile.TemporaryDirectory[str]":
    try:
        return tempfile.TemporaryDirectory(prefix="gptfl-bench-")
    except OSError as error:
        raise UsageError(
            f"no folder for temporary files can be made ({error.strerror}); name one with out=."
        ) from error


def _sweeps(grid: Mapping[str, Sequence[object]]) -> list[str]:
    """Return settings with several values as ``key=value,value`` texts.

    Raises:
        UsageError: If there is no value, or one that can't be a setting's.
    """
    texts = []
    for key, values in grid.items():
        if isinstance(values, str) or not isinstance(values, Iterable) or not [*values]:
            raise UsageError(
                f"grid has {key!r}: {values!r}, but needs a list of values, such as [0.1, 0.5]."
            )
        points = [_flatten({key: value}) for value in values]
        if not all(len(point) == 1 for point in points):
            raise UsageError(f"grid has {key!r}: {values!r}; name each setting by itself.")
        parts = [point.partition("=")[2] for (point,) in points]
        texts.append(f"{points[0][0].partition('=')[0]}={','.join(parts)}")
    return texts


def _flatten(values: Mapping[str, object], prefix: str = "") -> list[str]:
    """Return nested settings as ``key=value`` texts."""
    texts = []
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            texts += _flatten(value, f"{key}.")
            continue
        if isinstance(value, np.generic):
            value = value.item()
        elif isinstance(value, Path):
            value = str(value)
        if value is None or isinstance(value, bool | int | float | str):
            added = "+" if key.startswith("model_args.") else ""
            texts.append(f"{added}{key}={json.dumps(value)}")
        elif isinstance(value, list | tuple):
            texts.append(f"{key}={json.dumps(list(value))}")
        else:
            raise UsageError(
                f"{key}={value!r} does not fit: a number, a text, null or a list is needed."
            )
    return texts
