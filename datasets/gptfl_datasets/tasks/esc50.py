"""Task ``esc50``: environmental sounds of five seconds in 50 classes and five folds.

One fold is for testing, the others for training; GPT-FL's code for audio, FedAudio, takes the
first fold of such data sets. Where not all folds are there, clips are split by the recording they
were cut from, which never is on both sides. Features are those of FedAudio.
"""

import csv
import hashlib
import io
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from gptfl_bench.core.errors import UsageError
from gptfl_bench.data.access import Access
from gptfl_bench.data.task import Modality, Task, tasks
from gptfl_datasets.files.download import Remote
from gptfl_datasets.files.find import Found, Layout, find
from gptfl_datasets.files.prepared import About, Workspace, prepare
from gptfl_datasets.preprocess.audio_features import SAMPLE_RATE, AudioForm, frame_count
from gptfl_datasets.preprocess.audio_pipeline import audio_pipeline
from gptfl_datasets.preprocess.clips import Clips

_META = "meta/esc50.csv"
_FOLDS = range(1, 6)
_CLIPS = 2000
_SHARE = 0.25
_FRAMES = frame_count(5 * SAMPLE_RATE)
LAYOUT = Layout(
    "esc50",
    # Its owner publishes no checksum, and the site packs the archive anew at times; each file in it
    # is compared with the archive's own CRC-32.
    {
        "ESC-50-master.zip": Remote(
            "https://github.com/karolpiczak/ESC-50/archive/master.zip", 0, about=646_000_000
        )
    },
    ("ESC-50-master", "ESC-50"),
    (_META, "audio"),
)
KAGGLE = Layout("esc50", {}, ("environmental-sound-classification-50",), ("esc50.csv", "audio/"))
"""As Kaggle has it: the table at the top, the official clips below ``audio/audio``."""
_FOLDERS = ("audio/audio/44100/", "audio/audio/", "audio/44100/", "audio/")
"""Where such clips may lie; others beside them are of another rate."""


@dataclass(frozen=True)
class EscOptions:
    """What of ESC-50 is read, and how.

    Attributes:
        path: Archive or unpacked folder; null looks into the data folder.
        split: ``fold``, ``source`` by recording, a quarter of each class for testing, or ``auto``:
            by fold if all five are whole.
        fold: The fold for testing, 1 to 5.
        augmentation: ``paper``: none; ``masks``: shifts and masks over time and frequency.
    """

    modality: ClassVar[Modality] = "sound"

    path: str | None = None
    split: Literal["auto", "fold", "source"] = "auto"
    fold: Literal[1, 2, 3, 4, 5] = 1
    augmentation: Literal["paper", "masks"] = "paper"


@dataclass(frozen=True)
class Clip:
    """A line of the official table.

    Attributes:
        file: Path in the tree.
        fold: Fold, 1 to 5.
        target: Class index, 0 to 49.
        category: Class name.
        source: The recording it was cut from.
    """

    file: str
    fold: int
    target: int
    category: str
    source: str


@tasks.register(
    "esc50",
    title="ESC-50, environmental sounds of 5 s, 2,000 clips of 50 classes",
    source="Piczak, ESC: Dataset for Environmental Sound Classification, ACM Multimedia 2015",
    year=2015,
    needs="646 MB, downloaded once",
)
def esc50(access: Access, options: EscOptions = EscOptions()) -> Task:
    """Return ESC-50; network input is float32 (N, 501, 128): time x mel bands.

    Raises:
        UsageError: If the files are not there, damaged, or no ESC-50.
    """
    found = find(LAYOUT, options.path, access, [KAGGLE])
    key = {"source": found.tree.stamp(), "split": options.split, "fold": options.fold}
    ready = prepare(access, "esc50", key, lambda w: _read(w, found, options))
    return ready.task(
        "esc50",
        AudioForm(_FRAMES).from_media,
        train=audio_pipeline(options.augmentation),
        test=audio_pipeline(),
        modality="sound",
        metric="macro_f1",
    )


def _read(workspace: Workspace, found: Found, options: EscOptions) -> About:
    kaggle = found.layout == KAGGLE
    table = _table(found.tree.read("esc50.csv" if kaggle else _META))
    there = set(found.tree.names())
    if kaggle:
        table = _placed(table, there)
    missing = [clip.file for clip in table if clip.file not in there]
    if missing:
        raise UsageError(
            f"{str(found.tree.path)!r} lacks {missing[0]!r} and {len(missing) - 1} other clips "
            f"that {_META} names; unpack the official archive again."
        )
    notes = []
    whole = len(table) == _CLIPS and {clip.fold for clip in table} == set(_FOLDS)
    if not whole:
        notes.append(f"{len(table)} of {_CLIPS:,} clips")
    if options.split == "fold" or (options.split == "auto" and _has_all_folds(table)):
        test = {clip.file for clip in table if clip.fold == options.fold}
    else:
        test = _by_source(table)
        notes.append("split by recording, this project's and not the official folds")
    if not 0 < len(test) < len(table):
        raise UsageError(
            f"fold {options.fold} has {len(test)} of {len(table)} clips, which leaves one side of "
            "the split empty; set another data.fold or data.split=source."
        )
    for split in ("train", "test"):
        clips = [clip for clip in table if (clip.file in test) == (split == "test")]
        made = Clips(workspace, split, len(clips), _FRAMES)
        made.read(found.tree, {clip.file: row for row, clip in enumerate(clips)})
        workspace.empty(f"{split}_y", (len(clips),), np.int64)[:] = [c.target for c in clips]
    names = {clip.target: clip.category for clip in table}
    read = f"Kaggle's {found.read}" if kaggle else found.read
    return About(tuple(names[target] for target in sorted(names)), note="; ".join(notes), read=read)


def _placed(table: list[Clip], there: set[str]) -> list[Clip]:
    """Return Kaggle's clips by where they lie: in the first folder that has most of them."""
    names = [clip.file.removeprefix("audio/") for clip in table]
    folder = max(_FOLDERS, key=lambda folder: sum(folder + name in there for name in names))
    return [replace(clip, file=folder + name) for clip, name in zip(table, names, strict=True)]


def _has_all_folds(table: list[Clip]) -> bool:
    """Return whether each class has clips in each fold."""
    pairs = {(clip.target, clip.fold) for clip in table}
    return len(pairs) == len({clip.target for clip in table}) * len(_FOLDS)


def _by_source(table: list[Clip]) -> set[str]:
    """Return files for testing: whole recordings of each class, in the order of a hash.

    A class gives recordings until a quarter of its clips is for testing, but never its last one.
    """
    held_out: set[str] = set()
    by_class: dict[int, dict[str, list[str]]] = {}
    for clip in table:
        by_class.setdefault(clip.target, {}).setdefault(clip.source, []).append(clip.file)
    for sources in by_class.values():
        order = sorted(sources, key=lambda source: hashlib.sha256(source.encode()).hexdigest())
        wanted = _SHARE * sum(len(files) for files in sources.values())
        taken: list[str] = []
        for source in order[:-1]:
            if len(taken) >= wanted:
                break
            taken += sources[source]
        held_out.update(taken)
    return held_out


def _table(data: bytes) -> list[Clip]:
    """Return the lines of the official table.

    Raises:
        UsageError: If it is not that table.
    """
    try:
        clips = [
            Clip(
                f"audio/{row['filename']}",
                int(row["fold"]),
                int(row["target"]),
                row["category"],
                row["src_file"],
            )
            for row in csv.DictReader(io.StringIO(data.decode("utf-8")))
        ]
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise UsageError(
            f"{_META} is not the official table ({type(error).__name__}: {error}); unpack the "
            "official archive again."
        ) from error
    targets = {clip.target for clip in clips}
    if (
        not clips
        or targets != set(range(len(targets)))
        or len({c.file for c in clips}) < len(clips)
    ):
        raise UsageError(
            f"{_META} does not number its classes from 0 or names a clip twice; unpack the "
            "official archive again."
        )
    return clips
