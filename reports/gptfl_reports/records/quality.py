"""What a run folder says about the quality of a synthetic data set, read back without torch.

``synthetic/<data>-<task and model>/`` in a run folder holds ``quality.json`` and a contact sheet:
for class number 7 ``007.png``, a strip of its first samples, and for sound ``007-0.wav``.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from gptfl_reports.records import checksums
from gptfl_reports.records.errors import UsageError
from gptfl_reports.records.typed import build

SCHEMA = 1
FOLDER = "synthetic"
QUALITY = "quality.json"
PICTURES, NAMES = "pictures", "classes.json"
SHOWN, HEARD = 8, 2
"""Most samples of a class on its strip, and most that can be played."""

_NAME = re.compile("[0-9a-f]{12}-[0-9a-f]{8}")
_LARGEST_JSON, _LARGEST_SHEET = 2**24, 2**23
_MAGIC = {".png": (b"\x89PNG\r\n\x1a\n", b""), ".wav": (b"RIFF", b"WAVE")}
"""How a file begins, and what stands at its ninth byte."""

Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Text = Annotated[str, Field(max_length=1000)]


@dataclass(frozen=True)
class Shares:
    """A share of the synthetic samples, and the same of real ones; None where there is none."""

    synthetic: Share | None = None
    real: Share | None = None


@dataclass(frozen=True)
class Numbers:
    """A number of the synthetic samples, and the same of real ones; None where there is none."""

    synthetic: Number | None = None
    real: Number | None = None


@dataclass(frozen=True)
class Judge:
    """The network that judges: what it was trained for, and its accuracy on real test samples."""

    steps: Count
    accuracy: Share


@dataclass(frozen=True)
class Feature:
    """What distances are taken in: a layer of the judge, or Inception's; ``size`` values."""

    layer: Literal["penultimate", "logits", "inception"]
    size: Count


@dataclass(frozen=True)
class LookedAt:
    """Numbers of samples that were looked at."""

    synthetic: Count
    train: Count
    test: Count


@dataclass(frozen=True)
class ClassQuality:
    """One class; ``shown`` samples are on its strip, ``heard`` can be played."""

    name: Text
    samples: Count
    agreement: Shares
    diversity: Numbers
    shown: Annotated[int, Field(ge=0, le=SHOWN)] = 0
    heard: Annotated[int, Field(ge=0, le=HEARD)] = 0


@dataclass(frozen=True)
class Quality:
    """Measures of one synthetic data set, by one task's network, beside those of real samples.

    Attributes:
        schema: Number of this form.
        dataset: The task's name.
        dataset_sha256: SHA-256 of its training samples.
        model: The task's network.
        generator: What made the samples.
        prompts: What wrote the prompts.
        sha256: SHA-256 of what the generator made.
        samples: How many it made.
        looked_at: How many were looked at, of each kind.
        judge: The network that judges; None if there was none.
        feature: What distances are taken in; None if nothing.
        agreement: Share of samples whose label the judge gives: synthetic, and real test ones.
        distance: Kernel distance to real training samples: of synthetic, and of real test ones.
        diversity: Mean cosine distance within a class: of synthetic, and of real training samples.
        alike: Correlation above which two samples are near-duplicates.
        near_duplicates: Share that has one in its whole set: synthetic, and real training samples.
        exact_duplicates: Share of the whole set that is there more than once, of the same two.
        classes: The task's classes.
        seconds: What all this took.
    """

    schema: Annotated[int, Field(ge=1, le=SCHEMA)]
    dataset: Text
    dataset_sha256: Text
    model: Text
    generator: Text
    prompts: Text
    sha256: Text
    samples: Count
    looked_at: LookedAt
    judge: Judge | None
    feature: Feature | None
    agreement: Shares
    distance: Numbers
    diversity: Numbers
    alike: Number
    near_duplicates: Shares
    exact_duplicates: Shares
    classes: tuple[ClassQuality, ...]
    seconds: Number


@dataclass(frozen=True)
class Looks:
    """A quality with its contact sheet: ``files`` by name, as :func:`sheet_names` orders them."""

    name: str
    quality: Quality
    files: dict[str, bytes]


def strip_name(number: int) -> str:
    """Return the name of a class's strip."""
    return f"{number:03d}.png"


def clip_names(number: int, heard: int) -> tuple[str, ...]:
    """Return the names of a class's clips."""
    return tuple(f"{number:03d}-{clip}.wav" for clip in range(heard))


def sheet_names(quality: Quality) -> list[str]:
    """Return the names of a contact sheet's files, class by class."""
    names: list[str] = []
    for number, one in enumerate(quality.classes):
        names += [strip_name(number)] * bool(one.shown)
        names += clip_names(number, one.heard)
    return names


def read_looks(run_folder: Path) -> list[Looks]:
    """Return the synthetic data sets that a run folder describes, by the names of their folders.

    Raises:
        UsageError: If a file is damaged, too large, or outside the run folder.
    """
    return list(_read_all(run_folder / FOLDER, run_folder.resolve()))


def read_pictures(cell_folder: Path) -> dict[str, bytes]:
    """Return the images that a cell's method trained: PNG strips by class name; none without any.

    Raises:
        UsageError: If a file is damaged, too large, or outside the cell's folder.
    """
    folder, root = cell_folder / PICTURES, cell_folder.resolve()
    if not (folder / NAMES).exists():
        return {}
    strips: dict[str, bytes] = {}
    left = _LARGEST_SHEET
    try:
        names = json.loads(_bytes(folder / NAMES, root, _LARGEST_JSON))
        if not isinstance(names, list):
            raise ValueError(f"{NAMES} holds no list")
        for number, name in enumerate(names):
            path = folder / strip_name(number)
            if path.exists():
                strips[str(name)] = content = _checked(path, root, left)
                left -= len(content)
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(
            f"the images in {folder} can't be read ({error}); remove the folder and run the cell "
            "again with --force."
        ) from error
    return strips


def _read_all(parent: Path, root: Path) -> Iterator[Looks]:
    for path in sorted(parent.glob(f"*/{QUALITY}")):
        if not _NAME.fullmatch(path.parent.name):
            continue
        try:
            content = json.loads(_bytes(path, root, _LARGEST_JSON))
            quality = build(Quality, content, QUALITY)
            yield Looks(path.parent.name, quality, _sheet(path.parent, root, quality))
        except (OSError, ValueError, RecursionError, UsageError) as error:
            raise UsageError(
                f"the synthetic data's description in {path.parent} can't be read "
                f"({str(error).rstrip('.')}); update gptfl-bench if it is newer, or remove the "
                "folder and run a cell of it again with --force."
            ) from error


def _sheet(folder: Path, root: Path, quality: Quality) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    left = _LARGEST_SHEET
    for name in sheet_names(quality):
        files[name] = content = _checked(folder / name, root, left)
        left -= len(content)
    return files


def _checked(path: Path, root: Path, most: int) -> bytes:
    """Return a picture or clip that begins as its name says."""
    content = _bytes(path, root, most)
    begin, ninth = _MAGIC[path.suffix]
    if not content.startswith(begin) or content[8 : 8 + len(ninth)] != ninth:
        raise ValueError(f"{path.name} is no {path.suffix[1:].upper()} file")
    return content


def _bytes(path: Path, root: Path, most: int) -> bytes:
    if not path.resolve().is_relative_to(root):
        raise ValueError(f"{path.name} lies outside the run folder")

    def bounded(path: Path) -> bytes:
        with path.open("rb") as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise ValueError(f"{path.name} has more than {most:,} bytes")
        return content

    return checksums.read(path, bounded)
