"""Running one cell: its folder, its record, and how it ends."""

import shutil
import traceback
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from gptfl_bench.cells.assemble import build_server
from gptfl_bench.cells.checkpoint import Checkpoint
from gptfl_bench.cells.record import describe, partition_file
from gptfl_bench.cells.rounds import CHECKPOINT, Rounds
from gptfl_bench.cells.spec import CellSpec
from gptfl_bench.cells.world import World, build_world
from gptfl_bench.core.cache import Artifacts
from gptfl_bench.core.errors import Diverged, Refusal, UsageError
from gptfl_bench.core.progress import Progress, Silent
from gptfl_bench.quality.describe import refuse_unmeasurable
from gptfl_reports.records.cells import Cell, read_cell, write_record
from gptfl_reports.records.events import CellEnded, EventLog
from gptfl_reports.records.files import write_atomically

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
        force: Whether finished cells are run again.
    """

    out: Path
    artifacts: Artifacts
    command: str = ""
    force: bool = False


def run_cell(spec: CellSpec, context: Context, progress: Progress | None = None) -> Cell:
    """Run a cell unless it has ended already, and return it.

    A cell that was killed goes on from its checkpoint; its event log is first cut back to what the
    checkpoint covers, so that its end equals an undisturbed run's.

    Raises:
        UsageError: If data or settings don't fit; nothing is left behind.
    """
    torch.set_num_threads(spec.settings.threads)
    folder = context.out / spec.run_id
    world = build_world(spec)
    if spec.uses_synthetic:
        refuse_unmeasurable(spec.settings.quality, world.task)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            if context.force:
                _clear(folder)
            if (folder / "record.json").exists():
                cell = read_cell(folder)
                if cell.ending.status in KEPT:
                    return cell
                if cell.ending.status in ("refused", "failed"):
                    _clear(folder)
            _run(spec, world, folder, context, progress or Silent())
    except Timeout as error:
        raise UsageError(
            f"the cell {spec.run_id!r} is being run by another process; wait for it or choose "
            "another --out."
        ) from error
    return read_cell(folder)


def _run(spec: CellSpec, world: World, folder: Path, context: Context, progress: Progress) -> None:
    checkpoint = Checkpoint.read(folder / CHECKPOINT)
    if checkpoint is None:
        partition_name, partition = partition_file(world)
        file = context.out / partition_name
        file.parent.mkdir(parents=True, exist_ok=True)
        # Cells with the same seed share the file, and may begin at the same moment.
        with FileLock(file.parent / ".lock"):
            if not file.exists():
                write_atomically(file, partition)
        write_record(folder, describe(spec, world, context.command, partition_name))
    log = EventLog(folder / "events.jsonl", keep=checkpoint.events if checkpoint else 0)
    try:
        server = build_server(
            spec, world, folder, context.artifacts, log.append, progress, checkpoint is not None
        )
        Rounds(spec, world, server, log, folder, progress).run(checkpoint)
        log.append(CellEnded("finished"))
    except (Refusal, UsageError) as reason:
        log.append(CellEnded("refused", str(reason)))
    except Diverged as reason:
        log.append(CellEnded("diverged", str(reason)))
    except Exception as error:
        # The message alone does not say which line of a method or network it is about.
        write_atomically(folder / TRACEBACK, traceback.format_exc().encode(errors="replace"))
        where = f"traceback in {folder.name}/{TRACEBACK}"
        log.append(CellEnded("failed", f"{type(error).__name__}: {error} ({where})"))
        raise
    finally:
        log.close()


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != ".lock":
            path.unlink()
