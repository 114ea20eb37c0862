"""Cells in several processes on this machine, or as jobs of a cluster.

Cells share nothing but files, and all randomness is addressed, so the numbers are those of a
serial run.
"""

from collections.abc import Iterator, Sequence

from gptfl_bench import loop, records
from gptfl_bench.errors import UsageError
from gptfl_bench.progress import Progress
from gptfl_bench.spec import CellSpec


def execute(
    cells: Sequence[CellSpec], context: loop.Context, progress: Progress, launcher: str
) -> Iterator[records.Cell]:
    """Run cells by joblib's processes or submitit's jobs and yield them as they end.

    Raises:
        UsageError: If submitit is not installed.
    """
    ended = _joblib(cells, context) if launcher == "joblib" else _submitit(cells, context)
    progress.cell(1, len(cells), f"{len(cells)} cells by {launcher}")
    for done, cell in enumerate(ended, 1):
        from gptfl_bench.experiment import in_words

        progress.stage("cells", done, len(cells))
        progress.ended(f"{cell.record['method']} seed {cell.record['seed']}", in_words(cell))
        yield cell


def work(spec: CellSpec, context: loop.Context) -> records.Cell:
    """Run one cell in a process of its own; a failure is in its record."""
    try:
        return loop.run_cell(spec, context)
    except UsageError:
        raise
    except Exception:
        return records.read_cell(context.out / spec.run_id)


def _joblib(cells: Sequence[CellSpec], context: loop.Context) -> Iterator[records.Cell]:
    import os

    from joblib import Parallel, delayed

    # A worker whose intra-op threads differ from the parent's default would spin against others.
    processes = max((os.cpu_count() or 1) // max(c.settings.threads for c in cells), 1)
    parallel = Parallel(n_jobs=processes, return_as="generator_unordered")
    yield from parallel(delayed(work)(spec, context) for spec in cells)


def _submitit(cells: Sequence[CellSpec], context: loop.Context) -> Iterator[records.Cell]:
    try:
        import submitit
    except ImportError as error:
        raise UsageError(
            "the launcher 'submitit' is not installed; install gptfl-bench[cluster] or use "
            "--launcher joblib."
        ) from error
    executor = submitit.AutoExecutor(folder=context.out / "jobs")
    executor.update_parameters(timeout_min=24 * 60)
    for job in [executor.submit(work, spec, context) for spec in cells]:
        yield job.result()
