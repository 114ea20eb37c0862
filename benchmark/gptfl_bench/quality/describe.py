"""The quality of a synthetic data set, measured once and described in every run folder it is in.

It is for readers alone: real samples have a part in all of it, so no method sees it and it changes
no result. Seeds and methods share it: it is made once for a synthetic data set, a task and a
network. :mod:`gptfl_bench.quality.judging` measures, :mod:`gptfl_bench.quality.sheets` makes the
contact sheet, and :mod:`gptfl_reports.records.quality` reads what is written here.
"""

import json
import time
from dataclasses import asdict, replace
from pathlib import Path

from filelock import FileLock
from torch import Tensor

from gptfl_bench.core.cache import Artifacts, digest
from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.progress import say
from gptfl_bench.core.randomness import isolated_torch_rng
from gptfl_bench.data.task import Task
from gptfl_bench.quality.inception import inception
from gptfl_bench.quality.judging import QualitySettings, Subject, measure
from gptfl_bench.quality.sheets import picture_sheet, sound_sheet
from gptfl_bench.synthesis import shards
from gptfl_reports.records import checksums
from gptfl_reports.records.files import write_atomically
from gptfl_reports.records.quality import FOLDER, HEARD, QUALITY, SCHEMA, SHOWN, clip_names

_MOST_CLASSES = 200
"""Classes on a contact sheet."""


def refuse_unmeasurable(settings: QualitySettings, task: Task) -> None:
    """Refuse settings that can't be measured here, before anything is made.

    Raises:
        UsageError: If Inception is asked for and can't be had, or the samples are no pictures.
    """
    if not settings.samples or settings.feature != "inception":
        return
    if task.modality != "image":
        raise UsageError(
            f"quality.feature=inception takes pictures, not {task.modality}; set "
            "quality.feature=judge."
        )
    network = inception(settings.weights, task.train.x.device)
    network(task.train.x[:1])


def write_quality(
    subject: Subject, settings: QualitySettings, artifacts: Artifacts, run_folder: Path
) -> None:
    """Measure a synthetic data set unless that was done before, and describe it in a run folder.

    Raises:
        UsageError: As :func:`check`.
    """
    made, task = subject.made, subject.task
    key = digest(
        {
            "media": made.ready.sha256,
            "samples": made.samples.checksum(),
            "task": task.fingerprint,
            "forms": [samples.form for samples in (made.samples, task.train, task.test)],
            "model": subject.model_key,
            "settings": asdict(replace(settings, weights=None)),
            "schema": SCHEMA,
        }
    )
    with artifacts.claim("quality", key) as place:
        lost = checksums.damaged(place)
        if lost:
            say(f"{str(place / lost)!r} is damaged; the synthetic data are looked at again.")
        if lost or not (place / QUALITY).exists():
            with isolated_torch_rng(0, "quality"):
                _make(subject, settings, artifacts, place)
        _copy(place, run_folder / FOLDER / f"{made.ready.sha256[:12]}-{key[:8]}")


def _make(subject: Subject, settings: QualitySettings, artifacts: Artifacts, place: Path) -> None:
    started = time.perf_counter()
    made, task = subject.made, subject.task
    quality = measure(subject, settings, artifacts)
    rows = _first(made.samples.labels, task.num_classes)
    media = shards.some(made.place, sorted(row for own in rows for row in own))
    of_row = dict(zip(sorted(row for own in rows for row in own), media, strict=True))
    draw = picture_sheet if task.modality == "image" else sound_sheet
    files = draw([[of_row[row] for row in own] for own in rows])
    classes = tuple(
        replace(one, shown=len(own), heard=sum(name in files for name in clip_names(n, HEARD)))
        for n, (one, own) in enumerate(zip(quality.classes, rows, strict=True))
    )
    quality = replace(quality, classes=classes, seconds=time.perf_counter() - started)
    for name, content in files.items():
        checksums.write(place / name, content)
    text = json.dumps(asdict(quality), indent=1, allow_nan=False)
    checksums.write(place / QUALITY, f"{text}\n".encode())


def _first(labels: Tensor, count: int) -> list[list[int]]:
    """Return the places of each class's first samples; none for classes that come too late."""
    return [
        (labels == number).nonzero()[:SHOWN, 0].tolist() if number < _MOST_CLASSES else []
        for number in range(count)
    ]


def _copy(place: Path, target: Path) -> None:
    """Copy a description and its sheet unless they are there; the description comes last."""
    target.parent.mkdir(parents=True, exist_ok=True)
    # Cells that share it may come to this at the same moment.
    with FileLock(target.parent / ".lock"):
        lost = checksums.damaged(target)
        if lost:
            say(f"{str(target / lost)!r} is damaged and is written again.")
        elif (target / QUALITY).exists():
            return
        for path in sorted(place.iterdir(), key=lambda path: path.name == QUALITY):
            if path.suffix in (".json", ".png", ".wav"):
                write_atomically(target / path.name, path.read_bytes())
