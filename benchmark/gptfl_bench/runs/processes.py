"""How many cells run at once on this machine, and which of its GPUs each of them has."""

import itertools
import os
from collections.abc import Sequence
from dataclasses import replace

import torch

from gptfl_bench.cells.spec import CellSpec
from gptfl_bench.core.errors import UsageError

GPU_NEED = 4 * 2**30
"""Free bytes of a GPU for each cell: CUDA's own half GiB, data, networks and a cache that grows."""
MOST_ON_A_GPU = 4
"""Cells that share a GPU unless somebody asks for more: what more gain was not measured yet."""
_ANY_GPU = ("auto", "cuda")


def asked_for(processes: object, launcher: str) -> int:
    """Return how many processes somebody asked for; 0 if nobody did.

    Args:
        processes: A whole number, as text or as it is; None for what fits the machine.
        launcher: Where cells run.

    Raises:
        UsageError: If it is no number of 1 or more, or the launcher makes no processes here.
    """
    if processes is None:
        return 0
    text = str(processes)
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise UsageError(f"--processes {text!r} must be a whole number of 1 or more.")
    if launcher == "basic":
        raise UsageError(
            f"--processes {text} needs --launcher joblib or dask, for {launcher!r} runs one cell "
            "after another."
        )
    return int(text)


def processes_for(cells: Sequence[CellSpec], asked: int = 0) -> int:
    """Return how many cells this machine runs at once.

    As many as its cores allow, and on GPUs no more than their free memory does.

    Args:
        cells: The cells.
        asked: What somebody asked for, which holds then; 0 if nobody did.
    """
    if asked:
        return asked
    most = max((os.cpu_count() or 1) // max(map(cores, cells), default=1), 1)
    if gpus := _gpus(cells):
        free = (torch.cuda.mem_get_info(gpu)[0] for gpu in gpus)
        most = min(most, sum(min(room // GPU_NEED, MOST_ON_A_GPU) for room in free))
    return max(most, 1)


def cores(spec: CellSpec) -> int:
    """Return how many cores a cell is to have; it is content with one worker if it may choose."""
    workers = spec.settings.workers
    return spec.settings.threads * (1 if workers == "auto" else workers)


def spread(cells: Sequence[CellSpec]) -> list[CellSpec]:
    """Return the cells with the GPUs of this machine taking turns; one that was named stays.

    Where a cell runs has no part in its identity.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count < 2:
        return list(cells)
    turn = itertools.cycle(range(count))
    return [
        replace(spec, settings=replace(spec.settings, device=f"cuda:{next(turn)}"))
        if spec.settings.device in _ANY_GPU
        else spec
        for spec in cells
    ]


def _gpus(cells: Sequence[CellSpec]) -> set[int]:
    """Return the numbers of the GPUs that some cells may run on."""
    if not torch.cuda.is_available():
        return set()
    found: set[int] = set()
    for name in {spec.settings.device for spec in cells}:
        if name in _ANY_GPU:
            found |= set(range(torch.cuda.device_count()))
        elif name.startswith("cuda:"):
            found.add(torch.device(name).index)
    return found
