"""Running planned cells: one after another, in several processes, or as jobs of a cluster.

Cells share nothing but files, and all randomness is addressed, so the numbers are the same
whichever way they run.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from typing import Literal

from gptfl_bench.cells import provenance
from gptfl_bench.cells.cell import Context, run_cell
from gptfl_bench.cells.spec import CellSpec
from gptfl_bench.cells.world import check_worlds
from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.progress import Progress, Silent
from gptfl_reports.records.cells import Cell, read_cell

Launcher = Literal["basic", "joblib", "submitit"]
LAUNCHERS: tuple[Launcher, ...] = ("basic", "joblib", "submitit")


def execute(
    cells: Sequence[CellSpec],
    context: Context,
    progress: Progress | None = None,
    launcher: Launcher = "basic",
) -> Iterator[Cell]:
    """Run all cells that have not ended and yield each as it ends.

    Raises:
        UsageError: If data or settings don't fit, which is said before any cell writes, or the
            launcher's package is missing.
    """
    progress = progress or Silent()
    check_worlds(cells)
    for sentence in dict.fromkeys(spec.unread for spec in cells):
        if sentence:
            print(f"gptfl-bench: {sentence}", file=sys.stderr, flush=True)
    launch = {"basic": _serial, "joblib": _joblib, "submitit": _submitit}[launcher]
    for spec, cell in launch(cells, context, progress):
        progress.ended(_title(spec), _in_words(spec, cell))
        yield cell


Ended = Iterator[tuple[CellSpec, Cell]]


def _serial(cells: Sequence[CellSpec], context: Context, progress: Progress) -> Ended:
    for number, spec in enumerate(cells, 1):
        progress.cell(number, len(cells), _title(spec))
        yield spec, _work(spec, context, progress)


def _joblib(cells: Sequence[CellSpec], context: Context, progress: Progress) -> Ended:
    from joblib import Parallel, delayed

    processes = max((os.cpu_count() or 1) // max(c.settings.threads for c in cells), 1)
    parallel = Parallel(n_jobs=processes, return_as="generator")
    progress.cell(1, len(cells), f"{len(cells)} cells in {processes} processes")
    yield from zip(cells, parallel(delayed(_work)(c, context) for c in cells), strict=True)


def _submitit(cells: Sequence[CellSpec], context: Context, progress: Progress) -> Ended:
    try:
        import submitit
    except ImportError as error:
        raise UsageError(
            "the launcher 'submitit' is not installed; install gptfl-bench[cluster] or use "
            "--launcher joblib."
        ) from error
    executor = submitit.AutoExecutor(folder=context.out / "jobs")
    executor.update_parameters(timeout_min=24 * 60)
    progress.cell(1, len(cells), f"{len(cells)} jobs")
    jobs = [executor.submit(_work, spec, context) for spec in cells]
    for spec, job in zip(cells, jobs, strict=True):
        yield spec, job.result()


def _work(spec: CellSpec, context: Context, progress: Progress | None = None) -> Cell:
    """Run one cell; an error that is no wrong use is in its record, and others may still run."""
    try:
        return run_cell(spec, context, progress)
    except UsageError:
        raise
    except Exception:
        if not (context.out / spec.run_id / "record.json").exists():
            raise
        return read_cell(context.out / spec.run_id)


def _title(spec: CellSpec) -> str:
    return f"{spec.name} seed {spec.seed}"


def _in_words(spec: CellSpec, cell: Cell) -> str:
    row = cell.row()
    if row["status"] == "finished" and row["value_last"] is not None:
        value = f"{100 * row['value_last']:.2f} % {row['metric']}"
        text = f"{value} after {row['rounds']} rounds, {row['seconds']:.0f} s"
    else:
        text = f"{row['status']}: {row['reason']}"
    if cell.record["method_sha256"] != provenance.method_source(spec.method)[1]:
        text += " (the method's source has changed since; --force runs it again)"
    return text
