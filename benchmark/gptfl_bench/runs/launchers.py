"""Running planned cells: one after another, in several processes, or on other machines.

Cells share nothing but files, and all randomness is addressed, so the numbers are the same
whichever way they run.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from pickle import PicklingError
from typing import Literal

from gptfl_bench.cells import provenance
from gptfl_bench.cells.cell import KEPT, Context, ended, interrupted, run_cell
from gptfl_bench.cells.spec import CellSpec
from gptfl_bench.cells.world import check_worlds
from gptfl_bench.clusters.settings import Dask, Submitit, read
from gptfl_bench.clusters.work import Tried
from gptfl_bench.core.cache import Artifacts
from gptfl_bench.core.errors import CellHeld, StorageError, UsageError, WorkerKilled
from gptfl_bench.core.memory import keep_freed_memory
from gptfl_bench.core.progress import Progress, Silent
from gptfl_bench.data.access import check_writable
from gptfl_bench.runs import naming
from gptfl_bench.runs.processes import cores, processes_for, spread
from gptfl_bench.runs.sharing import share
from gptfl_reports.records.cells import Cell, read_cell

Launcher = Literal["basic", "joblib", "dask", "submitit"]
LAUNCHERS: tuple[Launcher, ...] = ("basic", "joblib", "dask", "submitit")
_KILLED = (
    "its process was killed, for want of memory as a rule; give the same command again, which goes "
    "on with it, on a larger machine or with --launcher basic."
)


def execute(
    cells: Sequence[CellSpec],
    context: Context,
    progress: Progress | None = None,
    launcher: Launcher = "basic",
) -> Iterator[Cell]:
    """Check all cells, run those that have not ended and yield each as it ends.

    Raises:
        UsageError: As :func:`check`, or the launcher's package is missing.
    """
    check(cells, context)
    yield from launch(cells, context, progress, launcher)


def check(cells: Sequence[CellSpec], context: Context) -> None:
    """Refuse what can't be run before any cell writes.

    Raises:
        UsageError: If data or settings don't fit, or a folder can't be written to.
    """
    check_writable(context.out, "--out")
    if any(spec.uses_synthetic for spec in cells):
        check_writable(context.artifacts.folder, "--cache or GPTFL_BENCH_CACHE")
    check_worlds(cells)
    for sentence in dict.fromkeys(spec.unread for spec in cells):
        if sentence:
            print(f"gptfl-bench: {sentence}", file=sys.stderr, flush=True)


def launch(
    cells: Sequence[CellSpec],
    context: Context,
    progress: Progress | None = None,
    launcher: Launcher = "basic",
) -> Iterator[Cell]:
    """Run all cells that have not ended, which were checked, and yield each as it ends.

    Cells that another run holds come last.

    Raises:
        UsageError: If the launcher's package is missing.
    """
    shown = progress or Silent()
    way = {"basic": _serial, "joblib": _joblib, "dask": _dask, "submitit": _submitit}[launcher]
    titles = naming.titles(cells)
    run = partial(way, context=context, progress=shown, titles=titles)
    for spec, cell in share(cells, context, shown, run):
        shown.ended(titles[spec.run_id], _in_words(spec, cell))
        yield cell


Titles = Mapping[str, str]
"""What cells are called, by id."""


def _serial(
    cells: Sequence[CellSpec], context: Context, progress: Progress, titles: Titles
) -> Tried:
    for number, spec in enumerate(cells, 1 + len(titles) - len(cells)):
        progress.cell(number, len(titles), titles[spec.run_id])
        yield spec, _work(spec, context, progress)


def _joblib(
    cells: Sequence[CellSpec], context: Context, progress: Progress, titles: Titles
) -> Tried:
    most = processes_for(cells, context.processes)
    context = replace(context, at_once=min(most, len(cells)))
    progress.cell(
        1 + len(titles) - len(cells), len(titles), f"{len(cells)} cells in {most} processes"
    )
    left, processes = list(cells), most
    while left:
        done = 0
        try:
            for cell in _pool(spread(left), context, processes):
                yield left[done], cell
                done += 1
        except BrokenProcessPool:
            # A process was killed, and which cell it had is not told. Those that have ended by now
            # are read again, and fewer at once need less memory, which is the usual reason.
            left = left[done:]
            if processes > 1:
                processes //= 2
                continue
            spec, left, processes = left[0], left[1:], most
            yield spec, _stopped(spec, context, _KILLED)
        except (OSError, PicklingError, NotImplementedError) as error:
            left = left[done:]
            progress.ended("joblib", f"no process can be started ({error}); going on in this one.")
            yield from _serial(left, context, progress, titles)
            return
        else:
            return


def _pool(cells: Sequence[CellSpec], context: Context, processes: int) -> Iterator[Cell | None]:
    """Yield cells in order, no more than ``processes`` at once, and none in this process."""
    from joblib import Parallel, delayed

    # Of one process joblib would make none.
    parallel = Parallel(
        n_jobs=max(processes, 2), pre_dispatch=processes, batch_size=1, return_as="generator"
    )
    yield from parallel(delayed(_work)(spec, context) for spec in cells)


def _dask(cells: Sequence[CellSpec], context: Context, progress: Progress, titles: Titles) -> Tried:
    from gptfl_bench.clusters import dask

    told = read(Dask, context.launching)
    most = min(processes_for(cells, context.processes), max(len(cells), 1))
    context = _anywhere(context, 1 if told.address else most)

    def say(line: str) -> None:
        progress.cell(1 + len(titles) - len(cells), len(titles), line)

    yield from _away(cells, context, partial(dask.run, settings=told, at_once=most, say=say))


def _submitit(
    cells: Sequence[CellSpec], context: Context, progress: Progress, titles: Titles
) -> Tried:
    from gptfl_bench.clusters import slurm

    told = read(Submitit, context.launching)
    most = processes_for(cells, context.processes)
    progress.cell(1 + len(titles) - len(cells), len(titles), f"{len(cells)} jobs")
    run = partial(slurm.run, settings=told, cpus=max(map(cores, cells), default=1), at_once=most)
    yield from _away(cells, _anywhere(context, 1), run)


def _anywhere(context: Context, at_once: int) -> Context:
    """Return what cells are given whose process may begin in any folder."""
    cache = Artifacts(context.artifacts.folder.absolute())
    return replace(context, out=context.out.absolute(), artifacts=cache, at_once=at_once)


def _away(cells: Sequence[CellSpec], context: Context, run: Callable[..., Tried]) -> Tried:
    """Yield cells that stand as they are, and those that are run elsewhere as they end."""
    due = []
    for spec in cells:
        cell = ended(spec, context)
        if cell is not None and cell.ending.status in KEPT:
            yield spec, cell
        else:
            due.append(spec)
    if due:
        yield from run(due, context, work=_work, stopped=_stopped)


def _work(spec: CellSpec, context: Context, progress: Progress | None = None) -> Cell | None:
    """Run one cell unless another run holds it.

    An error that is no wrong use is in its record, and others may still run.
    """
    # A worker process begins here.
    keep_freed_memory()
    try:
        return run_cell(spec, context, progress)
    except CellHeld:
        return None
    except (StorageError, WorkerKilled) as error:
        return _stopped(spec, context, str(error))
    except UsageError:
        raise
    except Exception:
        if not (context.out / spec.run_id / "record.json").exists():
            raise
        return read_cell(context.out / spec.run_id)


def _stopped(spec: CellSpec, context: Context, reason: str) -> Cell | None:
    """Return a cell that was stopped from outside, unless another run has taken it up."""
    try:
        return interrupted(spec, context, reason)
    except CellHeld:
        return None


def _in_words(spec: CellSpec, cell: Cell) -> str:
    row = cell.row()
    if row["status"] == "finished" and row["value_last"] is not None:
        value = f"{100 * row['value_last']:.2f} % {row['metric']}"
        text = f"{value} after {row['rounds']} rounds, {row['seconds']:.0f} s"
    else:
        text = f"{row['status']}: {row['reason']}"
    if cell.record["method_sha256"] != provenance.method_source(spec.method)[1]:
        text += f" (the method's source has changed since; --force {spec.run_id} runs it again)"
    return text
