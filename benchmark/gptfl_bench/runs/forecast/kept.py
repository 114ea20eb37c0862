"""What earlier runs left in the cache: what they made, how fast, and how long it took in truth."""

import json
import time
from collections.abc import Iterable
from contextlib import suppress

from gptfl_bench.core.cache import CACHE_REMEDY, Artifacts, digest
from gptfl_bench.core.errors import StorageError
from gptfl_bench.synthesis.costs import Priced, keep_rate, rate
from gptfl_bench.synthesis.generator import Generator
from gptfl_bench.synthesis.source import SyntheticSource
from gptfl_reports.records.files import storing, write_atomically

LOG = "forecasts.jsonl"
"""The file of estimates and true times in the cache, a line for each run."""
_TRIED = 16
"""Samples that are made to see how long one takes."""


def is_made(artifacts: Artifacts, key: str) -> bool:
    """Return whether an earlier run made what ``key`` stands for."""
    return (artifacts.place("made", key) / "made.json").exists()


def note_made(artifacts: Artifacts, keys: Iterable[str]) -> None:
    """Keep that what the keys stand for is in the cache."""
    for key in keys:
        with artifacts.claim("made", key) as place:
            write_atomically(place / "made.json", b"{}")


def seconds_a_sample(source: SyntheticSource, generator: Generator) -> float | None:
    """Return the seconds a synthetic sample takes; None if that is not known.

    A generator that says it is ``quick`` is tried where it was not measured before.

    Raises:
        UsageError: If it can't make the task's samples here.
    """
    artifacts, labels = source.artifacts, source.task.label_names
    known = rate(artifacts, generator.fingerprint)
    if not getattr(generator, "quick", False) or isinstance(generator, Priced):
        return known
    # Whether it can make these labels only a try can tell.
    key = digest({"tried": [generator.fingerprint, *labels]})
    if known and is_made(artifacts, key):
        return known
    prompts = source.planned(labels)[:_TRIED]
    # The first call loads what the second finds there.
    for tried in (prompts[:1], prompts):
        started = time.process_time()
        made = len(list(generator.generate(tried)))
        seconds = (time.process_time() - started) / max(made, 1)
    with suppress(StorageError):
        keep_rate(artifacts, generator.fingerprint, seconds)
        note_made(artifacts, [key])
    return seconds


def log_truth(artifacts: Artifacts, about: dict[str, object]) -> None:
    """Add a line with an estimate and the true time to the cache's log.

    Raises:
        StorageError: If the cache can't be written to.
    """
    path = artifacts.folder / LOG
    with storing(path, CACHE_REMEDY):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(about) + "\n")
