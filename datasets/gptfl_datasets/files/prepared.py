"""Decoded samples on disk: made once, memory-mapped ever after, shared by processes."""

import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from gptfl_bench.core.cache import CACHE_REMEDY, digest
from gptfl_bench.core.progress import bar, say
from gptfl_bench.data.access import Access
from gptfl_bench.data.samples import Samples, Transform
from gptfl_bench.data.task import Metric, Modality, Task
from gptfl_datasets.files.tree import Tree
from gptfl_reports.records import checksums
from gptfl_reports.records.files import storing

FORMAT = 2
"""Changes when decoding changes, so that files of an older version are not taken for new ones.

It is a part of the digests of sound files, so that their checksums change with it.
"""
_ARRAYS = ("train_x", "train_y", "test_x", "test_y")


@dataclass(frozen=True)
class About:
    """What is known about decoded samples beside themselves.

    Attributes:
        label_names: Name of each class, (C,).
        groups: Group id of each training sample, (N,); empty if there are none.
        note: What every table must say about them.
        read: What they were read from.
        made_by: Generators that made them; empty for recorded data.
    """

    label_names: tuple[str, ...]
    groups: tuple[str, ...] = ()
    note: str = ""
    read: str = ""
    made_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prepared:
    """Decoded samples of both splits, without transforms.

    Attributes:
        train: Training samples.
        test: Test samples.
        about: What is known about them.
    """

    train: Samples
    test: Samples
    about: About

    def task(
        self,
        name: str,
        from_media: Callable[[NDArray[np.generic]], Tensor],
        *,
        train: Transform,
        test: Transform,
        synthetic: Transform | None = None,
        modality: Modality = "image",
        metric: Metric = "accuracy",
        version: str = "1",
    ) -> Task:
        """Return the task of these samples; arguments are as in :class:`Task`."""
        return Task(
            name=name,
            train=replace(self.train, transform=train),
            test=replace(self.test, transform=test),
            label_names=self.about.label_names,
            from_media=from_media,
            modality=modality,
            metric=metric,
            groups=self.about.groups or None,
            synthetic_transform=synthetic,
            note=self.about.note,
            read=self.about.read,
            made_by=self.about.made_by,
            version=version,
        )


@dataclass
class Workspace:
    """Where a loader puts what it decodes; large arrays go straight to disk.

    Attributes:
        folder: Files of this data set.
        move: Takes how many samples are decoded, and of how many.
    """

    folder: Path
    move: Callable[[int, int], None] = lambda done, due: None
    _arrays: dict[str, NDArray[np.generic]] = field(default_factory=dict)

    def empty(
        self, name: str, shape: tuple[int, ...], dtype: DTypeLike
    ) -> "np.memmap[tuple[int, ...], np.dtype[np.generic]]":
        """Return an array on disk to fill: ``train_x``, ``train_y``, ``test_x`` or ``test_y``.

        Where samples are computed, ``train_sources`` and ``test_sources`` say from what, as
        :class:`Samples` has it.
        """
        path = self.folder / f"{name}.npy"
        array = np.lib.format.open_memmap(path, "w+", dtype=np.dtype(dtype), shape=shape)
        if array.nbytes and hasattr(os, "posix_fallocate"):
            # A disk that fills up while it is written through memory would kill the process.
            with storing(path, CACHE_REMEDY), path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        self._arrays[name] = array
        return array

    def stream(self, tree: Tree, wanted: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """Yield names and contents of the files ``wanted``, in one pass, and show how far it is."""
        names = frozenset(wanted)
        for done, item in enumerate(tree.stream(names.__contains__), 1):
            yield item
            self.move(done, len(names))

    def finish(self) -> None:
        """Write everything out."""
        for array in self._arrays.values():
            assert isinstance(array, np.memmap)
            array.flush()
        self._arrays.clear()


def prepare(
    access: Access,
    dataset: str,
    key: Mapping[str, object],
    make: Callable[[Workspace], About],
) -> Prepared:
    """Return decoded samples made earlier from the same ``key``, or make and keep them.

    Args:
        access: Names the cache, and whether what is there is made again.
        dataset: Name of the data set.
        key: Everything that determines the samples, the source's stamp included.
        make: Fills the four arrays and says what they are.
    """
    place = access.cache / "prepared" / f"{dataset}-{digest({**key, 'format': FORMAT})[:16]}"
    lock = FileLock(place.with_suffix(".lock"))
    with storing(place, CACHE_REMEDY):
        place.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        kept = None if access.anew else _kept(place)
        if kept is None:
            part = place.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            try:
                with bar(f"decoding {dataset}, once") as move:
                    _write(Workspace(part, move), make)
            except BaseException:
                shutil.rmtree(part, ignore_errors=True)
                raise
            shutil.rmtree(place, ignore_errors=True)
            part.rename(place)
            kept = _kept(place)
    finally:
        lock.release()
    assert kept is not None
    return kept


def _write(workspace: Workspace, make: Callable[[Workspace], About]) -> None:
    folder = workspace.folder
    about = make(workspace)
    workspace.finish()
    arrays = _arrays(folder)
    known = {split: _samples(arrays, split, "").checksum() for split in ("train", "test")}
    text = json.dumps({**asdict(about), "checksums": known})
    (folder / "about.json").write_text(text, encoding="utf-8")
    checksums.note_all(folder)


def _kept(folder: Path) -> Prepared | None:
    """Return what lies in a folder; None if that is nothing or was damaged."""
    lost = checksums.damaged(folder)
    if lost:
        say(f"{str(folder / lost)!r} is damaged; the data are decoded anew.")
        return None
    try:
        values = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        arrays = _arrays(folder)
        known = values["checksums"]
        about = About(
            tuple(values["label_names"]),
            tuple(values["groups"]),
            values["note"],
            values["read"],
            tuple(values.get("made_by", ())),
        )
        return Prepared(
            _samples(arrays, "train", known["train"]),
            _samples(arrays, "test", known["test"]),
            about,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _arrays(folder: Path) -> dict[str, NDArray[np.generic]]:
    # Copy on write: torch wants writable memory, and the file must never change.
    names = (*_ARRAYS, *(path.stem for path in folder.glob("*_sources.npy")))
    return {
        name: np.load(folder / f"{name}.npy", mmap_mode="c", allow_pickle=False) for name in names
    }


def _samples(arrays: Mapping[str, NDArray[np.generic]], split: str, known: str) -> Samples:
    x, y = (torch.from_numpy(arrays[f"{split}_{part}"]) for part in "xy")
    sources = arrays.get(f"{split}_sources")
    return Samples(
        x, y, known=known, sources=None if sources is None else torch.from_numpy(sources)
    )
