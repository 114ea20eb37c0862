"""Looks at the cells of a run while they run, in whichever process, and shows them to tools."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

from gptfl_reports.exports.hand_over import HandOver
from gptfl_reports.records.cells import EVENTS, read_cell
from gptfl_reports.records.errors import UsageError

EVERY = 5.0
"""Seconds between two looks."""


@contextmanager
def watching(
    tools: Sequence[HandOver], run_ids: Sequence[str], run_folder: Path, every: float = EVERY
) -> Iterator[None]:
    """Show tools the cells that are running, now and then, until the context ends.

    Records are read from the run folder, so it does not matter which process runs a cell.

    Args:
        tools: The tools; without any, nothing is done.
        run_ids: The cells of the run.
        run_folder: Where they are.
        every: Seconds between two looks.
    """
    if not tools:
        yield
        return
    done = Event()

    def look() -> None:
        seen: dict[str, int] = {}
        while not done.wait(every):
            for name in run_ids:
                # A cell that does not exist yet, or is cleared now, is looked at the next time.
                with suppress(UsageError, OSError):
                    written = (run_folder / name / EVENTS).stat().st_mtime_ns
                    if seen.get(name) == written:
                        continue
                    seen[name] = written
                    cell = read_cell(run_folder / name)
                    for tool in tools if cell.ending.status == "running" else ():
                        tool.so_far(cell, run_folder)

    thread = Thread(target=look, name="exports", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
