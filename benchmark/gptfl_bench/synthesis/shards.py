"""Media of a synthetic data set in the cache, in files of many samples each.

A file that is whole is never touched again. One that is not is begun beside it, so that neither a
failure nor a kill loses more than the samples of some seconds.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from gptfl_bench.core.progress import say
from gptfl_bench.synthesis.generator import Generator, Prompt, Sample
from gptfl_reports.records import checksums

SHARD = 256
"""Samples in one file."""

KEEP_EVERY = 20.0
"""Seconds after which unfinished work is kept, which is what a kill can cost."""


def complete(
    place: Path,
    generator: Generator,
    prompts: Sequence[Prompt],
    progress: Callable[[int, int], None],
) -> int:
    """Make what is missing; return how many samples were made.

    Args:
        place: The folder.
        generator: What makes them.
        prompts: What is wanted, in order.
        progress: Called with samples done and due.
    """
    made = 0
    for start in range(0, len(prompts), SHARD):
        wanted = prompts[start : start + SHARD]
        path = place / f"media-{start:08d}.npy"
        if path.exists() and not _sound(path, len(wanted)):
            say(f"{str(path)!r} is damaged; its {len(wanted)} samples are made anew.")
            path.unlink()
        if not path.exists():
            made += _fill(path, generator, wanted)
        progress(start + len(wanted), len(prompts))
    return made


def media(place: Path) -> np.ndarray:
    """Return all media (N, ...)."""
    paths = sorted(place.glob("media-*.npy"))
    return np.concatenate([np.load(path, allow_pickle=False) for path in paths])


def some(place: Path, rows: Sequence[int]) -> list[np.ndarray]:
    """Return the media of the samples at ascending ``rows``; no others are read."""
    paths = sorted(place.glob("media-*.npy"))
    parts = [np.load(path, mmap_mode="r", allow_pickle=False) for path in paths]
    starts = np.cumsum([0, *(len(part) for part in parts)])
    files = np.searchsorted(starts, rows, side="right") - 1
    return [np.array(parts[n][row - starts[n]]) for n, row in zip(files, rows, strict=True)]


def _fill(path: Path, generator: Generator, prompts: Sequence[Prompt]) -> int:
    """Make one file, from what was begun if there is something; return how many were made."""
    begun = path.with_suffix(".begun")
    made = _read(begun, len(prompts))
    already, kept = len(made), time.monotonic()
    try:
        for sample in _samples(generator, prompts[already:]):
            made.append(sample.media)
            if time.monotonic() - kept >= KEEP_EVERY:
                _write(begun, made)
                kept = time.monotonic()
    except BaseException:
        if len(made) > already:
            _write(begun, made)
        raise
    _write(path, made)
    begun.unlink(missing_ok=True)
    return len(made) - already


def _sound(path: Path, count: int) -> bool:
    """Return whether a file holds so many samples, as they were made as far as that is known."""
    try:
        return checksums.whole(path) and len(np.load(path, "r", allow_pickle=False)) == count
    except (OSError, ValueError, TypeError, EOFError):
        return False


def _samples(generator: Generator, prompts: Sequence[Prompt]) -> Iterator[Sample]:
    if prompts:
        for _, sample in zip(prompts, generator.generate(prompts), strict=True):
            yield sample


def _read(begun: Path, most: int) -> list[np.ndarray]:
    """Return the media of unfinished work; none if there is none or it is no use."""
    try:
        if not checksums.whole(begun):
            return []
        found = np.load(begun, allow_pickle=False)
        return list(found) if len(found) <= most else []
    # Without a length, damaged, or empty.
    except (OSError, ValueError, TypeError, EOFError):
        return []


def _write(path: Path, made: Sequence[np.ndarray]) -> None:
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.save(file, np.stack(made))
    checksums.move(part, path)
