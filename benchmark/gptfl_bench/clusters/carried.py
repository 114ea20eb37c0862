"""A cell's folder as a message, for workers that share no disk with who started the run.

What the folder holds so far travels along, the worker goes on from there in a folder of its own,
and that comes back whole. Data sets and the cache are the worker's own.
"""

import io
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

from gptfl_bench.cells.cell import Context, held_empty
from gptfl_bench.cells.spec import CellSpec
from gptfl_bench.clusters.work import Work
from gptfl_bench.core.cache import Artifacts
from gptfl_bench.core.errors import CellHeld, UsageError
from gptfl_bench.data.access import Access, default_cache
from gptfl_reports.records.cells import RECORD, Cell, read_cell
from gptfl_reports.records.files import storing, write_atomically

_LOCK = ".lock"
_LAST = "state"
"""Comes in last: a checkpoint counts on all the rest."""


def packed(folder: Path) -> bytes:
    """Return what a folder holds; what is not there holds nothing."""
    data = io.BytesIO()
    with ZipFile(data, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.name != _LOCK:
                archive.write(path, path.relative_to(folder))
    return data.getvalue()


def far_away(spec: CellSpec, context: Context, sent: bytes, work: Work) -> Cell | bytes | None:
    """Run a cell on a machine with a disk of its own, and return the run folder there.

    Args:
        spec: The cell.
        context: What it is given, at the machine that started the run.
        sent: What its folder holds so far.
        work: Runs it.

    Raises:
        UsageError: If the machine has other data, or what :func:`work` refuses.
    """
    there = replace(spec, access=Access(download=spec.access.download))
    if there.run_id != spec.run_id:
        raise UsageError(
            f"a worker has other data or code for {spec.run_id!r} than this machine; install the "
            "same version there and compare 'gptfl-bench data' on both."
        )
    with tempfile.TemporaryDirectory(prefix="gptfl-bench-") as scratch:
        out = Path(scratch)
        with ZipFile(io.BytesIO(sent)) as archive:
            archive.extractall(out / spec.run_id)
        cell = work(there, replace(context, out=out, artifacts=Artifacts(default_cache())))
        return packed(out) if (out / spec.run_id / RECORD).exists() else cell


def brought(data: bytes, spec: CellSpec, context: Context) -> Cell | None:
    """Return a cell whose run folder came back; None if another run has taken it up here.

    Raises:
        StorageError: If it can't be written to.
    """
    folder = context.out / spec.run_id
    with storing(context.out):
        context.out.mkdir(parents=True, exist_ok=True)
    with storing(context.out), tempfile.TemporaryDirectory(dir=context.out, prefix=".") as scratch:
        with ZipFile(io.BytesIO(data)) as archive:
            archive.extractall(scratch)
        arrived = Path(scratch) / spec.run_id
        try:
            with held_empty(folder):
                for path in sorted(arrived.iterdir(), key=lambda path: path.name == _LAST):
                    shutil.move(path, folder)
        except CellHeld:
            return None
        # Who holds what, and pictures of synthetic data, which cells share.
        for path in Path(scratch).rglob("*"):
            place = context.out / path.relative_to(scratch)
            if path.is_file() and not path.is_relative_to(arrived) and not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(place, path.read_bytes())
    return read_cell(folder)
