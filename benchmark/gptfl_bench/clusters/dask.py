"""Cells on workers of Dask: those of a scheduler, or of this machine.

Dask gives the cell of a worker that is lost to another one, which goes on from its checkpoint.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from gptfl_bench.cells.cell import Context
from gptfl_bench.cells.spec import CellSpec
from gptfl_bench.clusters import carried, letter
from gptfl_bench.clusters.settings import Dask
from gptfl_bench.clusters.work import Stopped, Tried, Work, in_a_line
from gptfl_bench.core.errors import UsageError
from gptfl_reports.records.cells import Cell

POLL = 1.0
"""Seconds between two looks at the workers."""
_ALONE = threading.Lock()
"""Held by the cell of a process, for PyTorch has one global stream of randomness in each."""


def run(
    cells: Sequence[CellSpec],
    context: Context,
    settings: Dask,
    at_once: int,
    say: Callable[[str], None],
    work: Work,
    stopped: Stopped,
) -> Tried:
    """Run cells on workers, and yield each as it ends.

    Args:
        cells: The cells.
        context: What they are given.
        settings: What the user says.
        at_once: Workers that are started where there is no scheduler.
        say: Tells a person where cells run.
        work: Runs a cell, where it is sent to.
        stopped: Returns a cell that was stopped from outside.

    Raises:
        UsageError: If Dask is missing, or no scheduler or worker answers.
    """
    with _client(settings, at_once) as client:
        count = len(client.nthreads())
        say(f"{len(cells)} cells on {count} worker{'' if count == 1 else 's'} of Dask")
        by_future = {}
        for spec in cells:
            sent = carried.packed(context.out / spec.run_id) if settings.collect else None
            task = letter.sealed(partial(_work, spec, context, sent, work))
            key = f"{spec.run_id}-{spec.token}"
            by_future[client.submit(letter.opened, task, key=key)] = spec
        for future in _as_they_end(list(by_future), client, settings.patience):
            spec = by_future.pop(future)
            try:
                cell = future.result(timeout=settings.patience)
            except UsageError:
                raise
            except Exception as error:
                cell = stopped(spec, context, f"no worker of Dask ended it ({in_a_line(error)}).")
            else:
                if isinstance(cell, bytes):
                    cell = carried.brought(cell, spec, context)
            yield spec, cell
            # What it holds is not needed any more at the worker.
            future.release()
        client.cancel(list(by_future))
        left = f"no worker of Dask was there for {settings.patience} s."
        for spec in by_future.values():
            yield spec, stopped(spec, context, left)


def _as_they_end(futures: list[Any], client: Any, patience: float) -> Iterator[Any]:  # noqa: ANN401
    """Yield futures as they end, until there has been no worker for some seconds."""
    seen = time.monotonic()
    while futures:
        over = [future for future in futures if future.status != "pending"]
        for future in over:
            futures.remove(future)
            yield future
        if over or _any_worker(client):
            seen = time.monotonic()
        elif time.monotonic() - seen > patience:
            return
        if not over:
            time.sleep(POLL)


def _any_worker(client: Any) -> bool:  # noqa: ANN401 - Dask's
    try:
        return bool(client.nthreads())
    except (OSError, TimeoutError):
        # The scheduler is away; Dask gives the cells up if it does not come back.
        return False


@contextmanager
def _client(settings: Dask, at_once: int) -> Iterator[Any]:
    """Yield a client of the scheduler that is named, or of one with workers of this machine."""
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise UsageError(
            "the launcher 'dask' is not installed; install gptfl-bench[dask] or use --launcher "
            "joblib."
        ) from error
    with ExitStack() as stack:
        if settings.address:
            where: Any = settings.address
        else:
            # A page of its own, which Dask would open to the network, is not needed.
            options = {"threads_per_worker": 1, "dashboard_address": None, "memory_limit": 0}
            where = stack.enter_context(LocalCluster(n_workers=at_once, **options))
        # Cells take longer than what Dask moves work for.
        stack.enter_context(dask.config.set({"distributed.scheduler.work-stealing": False}))
        try:
            client = stack.enter_context(Client(where, timeout=settings.patience))
            client.wait_for_workers(1, timeout=settings.patience)
        except (OSError, TimeoutError, ValueError) as error:
            raise UsageError(
                f"launcher.address={settings.address} has no scheduler with a worker that answers "
                f"within {settings.patience} s; start 'dask scheduler' there and 'dask worker "
                "ADDRESS --nthreads 1' on each machine."
            ) from error
        yield client


def _work(spec: CellSpec, context: Context, sent: bytes | None, work: Work) -> Cell | bytes | None:
    """Run a cell in a worker; with what its folder holds so far, on a disk of its own."""
    with _ALONE:
        if sent is None:
            return work(spec, context)
        return carried.far_away(spec, context, sent, work)
