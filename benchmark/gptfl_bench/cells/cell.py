"""Running one cell: its folder, its record, and how it ends."""

import shutil
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from gptfl_bench.cells.assemble import build_server
from gptfl_bench.cells.checkpoint import CHECKPOINT, Checkpoint
from gptfl_bench.cells.record import describe, partition_file
from gptfl_bench.cells.rounds import Rounds
from gptfl_bench.cells.spec import CellSpec
from gptfl_bench.cells.world import World, build_world
from gptfl_bench.core.cache import Artifacts
from gptfl_bench.core.errors import (
    CellHeld,
    DamageError,
    Diverged,
    NothingLearnt,
    Refusal,
    StorageError,
    UsageError,
    WorkerKilled,
)
from gptfl_bench.core.progress import Progress, Silent
from gptfl_bench.engine.federation import Apart
from gptfl_bench.quality.describe import refuse_unmeasurable
from gptfl_bench.training.precision import products_in
from gptfl_reports.records.cells import EVENTS, RECORD, Cell, read_cell, write_record
from gptfl_reports.records.checksums import CHECKSUMS
from gptfl_reports.records.events import CellEnded, EventLog, says_ended
from gptfl_reports.records.files import CANT_WRITE, cant_write, storing, write_atomically

TRACEBACK = "traceback.txt"
"""What a failed cell's folder says about the error."""
KEPT = ("finished", "diverged")
"""Endings that stand; a refused or failed cell is tried again by the same command."""


@dataclass(frozen=True)
class Context:
    """What a run gives to each of its cells.

    Attributes:
        out: The run folder.
        artifacts: Shared results.
        command: The command line, for the record.
        force: Whether cells that have ended are run again: all, none, or those of these ids.
        at_once: Cells that run on this machine at the same time.
        processes: In how many processes somebody asked them to run; 0 for what fits the machine.
        launching: What the launcher is told, by setting.
        apart: Other processes that hold cells' clients; None where a cell's settings say it.
    """

    out: Path
    artifacts: Artifacts
    command: str = ""
    force: bool | frozenset[str] = False
    at_once: int = 1
    processes: int = 0
    launching: Mapping[str, str] = field(default_factory=dict)
    apart: Apart | None = None

    def forces(self, run_id: str) -> bool:
        """Return whether a cell is run again even if it has ended or is damaged."""
        return self.force if isinstance(self.force, bool) else run_id in self.force


def run_cell(spec: CellSpec, context: Context, progress: Progress | None = None) -> Cell:
    """Run a cell unless it has ended already, and return it.

    A cell that was killed goes on from its checkpoint; its event log is first cut back to what the
    checkpoint covers, so that its end equals an undisturbed run's.

    Raises:
        CellHeld: If another process runs it.
        StorageError: If its folder or the cache can't be written to; what is there stays.
        UsageError: If data or settings don't fit; nothing is left behind.
        WorkerKilled: If a process that clients work in is gone; the same command goes on.
    """
    torch.set_num_threads(spec.settings.threads)
    folder = context.out / spec.run_id
    world = build_world(spec)
    if spec.uses_synthetic:
        refuse_unmeasurable(spec.settings.quality, world.task)
    with _claimed(folder):
        if context.forces(spec.run_id):
            _clear(folder)
        ending = _ending(folder)
        if ending.status in KEPT:
            return read_cell(folder)
        if ending.status != "running" and not ending.interrupted:
            _clear(folder)
        with products_in(spec.settings.precision, world.device):
            _run(spec, world, folder, context, progress or Silent())
        return read_cell(folder)


def interrupted(spec: CellSpec, context: Context, reason: str) -> Cell:
    """Return a cell that was stopped from outside, as failed; the same command goes on with it.

    Its log says so, if it can be written to.

    Raises:
        CellHeld: If another process has taken it up.
    """
    folder = context.out / spec.run_id
    ended = CellEnded("failed", reason, interrupted=True)
    try:
        with _claimed(folder):
            cell = read_cell(folder)
            log = EventLog(cell.folder / EVENTS)
            log.append(ended)
            log.close()
        return read_cell(folder)
    except CellHeld:
        raise
    except (OSError, UsageError):
        world = build_world(spec)
        record = describe(spec, world, context.command, partition_file(world)[0])
        return Cell(folder, record, (ended,))


def is_held(spec: CellSpec, context: Context) -> bool:
    """Return whether another process runs a cell."""
    try:
        with _claimed(context.out / spec.run_id):
            return False
    except CellHeld:
        return True


def ended(spec: CellSpec, context: Context) -> Cell | None:
    """Return a cell that has ended, however it did; None if it is to be run or to go on."""
    folder = context.out / spec.run_id
    if context.forces(spec.run_id) or not (folder / RECORD).exists():
        return None
    cell = read_cell(folder)
    going_on = cell.ending.status == "running" or cell.ending.interrupted
    return None if going_on else cell


@contextmanager
def held_empty(folder: Path) -> Iterator[None]:
    """Hold a cell's folder, and empty it for what was made of the cell elsewhere.

    Raises:
        CellHeld: If another process holds it.
        StorageError: If it can't be written to.
    """
    with _claimed(folder):
        _clear(folder)
        yield


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Hold a cell's folder, which is made if missing, against other processes.

    Raises:
        CellHeld: If another process holds it.
        StorageError: If it can't be written to.
    """
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        with storing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
    except Timeout as error:
        raise CellHeld(
            f"the cell {folder.name!r} is being run by another process; wait for it or choose "
            "another --out."
        ) from error
    try:
        yield
    finally:
        lock.release()


def _ending(folder: Path) -> CellEnded:
    """Return how a cell ended; running if it has not, or if what is damaged does not say.

    Raises:
        DamageError: If it has ended and is damaged: a result is removed only by who asks for it.
    """
    if not (folder / RECORD).exists():
        return CellEnded("running")
    try:
        return read_cell(folder).ending
    except DamageError:
        # After a loss of power the end may be zeros. What no checkpoint counts on is cut off.
        if says_ended(folder / EVENTS):
            raise
        return CellEnded("running")


def _run(spec: CellSpec, world: World, folder: Path, context: Context, progress: Progress) -> None:
    checkpoint = _checkpoint(spec, folder)
    partition_name, partition = partition_file(world)
    file = context.out / partition_name
    with storing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
    # Cells with the same seed share the file, and may begin at the same moment.
    with FileLock(file.parent / ".lock"):
        there = file.read_bytes() if file.exists() else b""
        if there and there != partition:
            spec.access.announce(f"{str(file)!r} is damaged and is written again.")
        if there != partition:
            write_atomically(file, partition)
    if checkpoint is None:
        write_record(folder, describe(spec, world, context.command, partition_name))
    log = EventLog(folder / EVENTS, keep=checkpoint.events if checkpoint else 0)
    try:
        server = build_server(
            spec,
            world,
            folder,
            context.artifacts,
            log.append,
            progress,
            checkpoint is not None,
            context.at_once,
            context.apart,
        )
        Rounds(spec, world, server, log, folder, progress).run(checkpoint)
        log.append(CellEnded("finished"))
    except (StorageError, WorkerKilled):
        raise
    except (Refusal, UsageError) as reason:
        log.append(CellEnded("refused", str(reason)))
    except NothingLearnt as reason:
        log.append(CellEnded("failed", str(reason)))
    except Diverged as reason:
        log.append(CellEnded("diverged", str(reason)))
    except OSError as error:
        if error.errno not in CANT_WRITE:
            log.append(_failed(error, folder))
            raise
        raise StorageError(cant_write(error, folder)) from error
    except Exception as error:
        log.append(_failed(error, folder))
        raise
    finally:
        log.close()


def _failed(error: Exception, folder: Path) -> CellEnded:
    """Return how a cell ends by an error, whose traceback is kept beside its log."""
    # The message alone does not say which line of a method or network it is about.
    write_atomically(folder / TRACEBACK, traceback.format_exc().encode(errors="replace"))
    where = f"traceback in {folder.name}/{TRACEBACK}"
    return CellEnded("failed", f"{type(error).__name__}: {error} ({where})")


def _checkpoint(spec: CellSpec, folder: Path) -> Checkpoint | None:
    """Return the checkpoint to go on from; None if the cell is to begin, in an empty folder."""
    try:
        checkpoint = Checkpoint.read(folder / CHECKPOINT)
        lost = checkpoint.lacks(folder) if checkpoint else ""
        if not lost:
            return checkpoint
        why = (
            f"{lost} of {folder} is not what its checkpoint counts on, as after a copy of a folder "
            "in use or a loss of power"
        )
    except DamageError as error:
        why = str(error)
    spec.access.announce(f"{why}; the cell begins anew.")
    _clear(folder)
    return None


def _clear(folder: Path) -> None:
    # First: readers must not hold what is new against it.
    (folder / CHECKSUMS).unlink(missing_ok=True)
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != ".lock":
            path.unlink()
