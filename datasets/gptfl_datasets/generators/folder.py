"""Synthetic data that somebody made already: a folder stands in for the generator.

Taken are class folders (``<class>/...``), a ``metadata.jsonl`` that gives ``file_name`` and
``label`` of each file (the convention of Hugging Face's image and audio folders), and the layout of
CIFAKE (Bird and Lotfi, IEEE Access 2024): ``FAKE/<number> (<class from 2>).jpg`` below ``train``,
files of the first class without brackets.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from gptfl_bench.core.errors import UsageError
from gptfl_bench.data.task import Modality
from gptfl_bench.synthesis.generator import Prompt, Sample, generators
from gptfl_datasets.backends.weights import fitted as fitted_sound
from gptfl_datasets.files.audio import decode as decode_audio
from gptfl_datasets.files.class_folders import IMAGES, SOUNDS, class_files
from gptfl_datasets.files.made_by import makers
from gptfl_datasets.files.pictures import decode, fitted
from gptfl_datasets.files.tree import Tree, open_tree

_METADATA = "metadata.jsonl"
CIFAKE = "train/FAKE"
"""Where CIFAKE has its synthetic images."""
_CIFAKE_CLASSES = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
]


@generators.register(
    "folder",
    title="A folder of images or sounds that were made before, by anything",
    needs="generators.folder.path",
)
@dataclass(frozen=True)
class Folder:
    """Hands out the files of a folder, each at most once, in an order of a hash.

    Attributes:
        path: The folder.
        size: Height and width that images are scaled and cut to.
        seconds: Length that sounds are padded or cut to.
    """

    path: str | None = None
    size: int = 32
    seconds: float = 1.0

    modalities: ClassVar[frozenset[Modality]] = frozenset({"image", "speech", "sound"})

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        if not 8 <= self.size <= 1024:
            raise ValueError(f"size={self.size} must be from 8 to 1024")
        if not 0.1 <= self.seconds <= 60:
            raise ValueError(f"seconds={self.seconds} must be from 0.1 to 60")

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the form, and the labels and contents of all files."""
        digest = hashlib.sha256(f"{self.size} {self.seconds}".encode())
        label_of = {file: label for label, files in self.files.items() for file in files}
        for name, data in self._tree.stream(label_of.__contains__):
            digest.update(f"{label_of[name]}/{hashlib.sha256(data).hexdigest()}".encode())
        return digest.hexdigest()

    @property
    def made_by(self) -> tuple[str, ...]:
        """The generators that made the files, if the folder says so."""
        return makers(self._tree)

    def generate(self, prompts: Sequence[Prompt]) -> Iterator[Sample]:
        """Yield for each prompt the file of its label that has its number.

        Raises:
            UsageError: If the folder has too few files of a label, or one can't be read.
        """
        for prompt in prompts:
            files = self.files.get(spelled(prompt.label), ())
            if prompt.number >= len(files):
                raise UsageError(
                    f"the folder {self.path!r} has {len(files):,} files of the label "
                    f"{prompt.label!r}, and more are asked for; add some, rename its class folder, "
                    "or set a smaller synthetic.multiplier."
                )
            name = files[prompt.number]
            yield Sample(self._media(name, self._tree.read(name)), prompt)

    @cached_property
    def files(self) -> Mapping[str, Sequence[str]]:
        """The files of each label, labels in lower case with blanks; in the order of a hash.

        Raises:
            UsageError: If there are none.
        """
        return by_label(self._labelled())

    @cached_property
    def _tree(self) -> Tree:
        if self.path is None:
            raise UsageError(
                "the generator 'folder' needs generators.folder.path=FOLDER with a folder of "
                "images or sounds for each class."
            )
        tree = open_tree(Path(self.path).expanduser())
        if tree.kind != "folder":
            raise UsageError(f"the generator 'folder' needs a folder; unpack {self.path!r}.")
        return tree

    def _labelled(self) -> Mapping[str, str]:
        names = self._tree.names()
        if _METADATA in names:
            return _from_metadata(self._tree)
        inside = f"{CIFAKE}/"
        if fakes := [name.removeprefix(inside) for name in names if name.startswith(inside)]:
            return {inside + name: label for name, label in from_cifake(fakes).items()}
        files = class_files(self._tree, IMAGES + SOUNDS)
        return {name: files.classes[label] for name, label in files.labels.items()}

    def _media(self, name: str, data: bytes) -> np.ndarray:
        where = f"{self.path}/{name}"
        if name.lower().endswith(SOUNDS):
            return fitted_sound(decode_audio(data, where, seconds=self.seconds), self.seconds)
        return fitted(decode(data, where), self.size)


def _from_metadata(tree: Tree) -> Mapping[str, str]:
    """Return the label of each file that the metadata name.

    Raises:
        UsageError: If a line is damaged or names no file of the tree.
    """
    there, labelled = set(tree.names()), {}
    for number, line in enumerate(tree.read(_METADATA).decode("utf-8", "replace").splitlines(), 1):
        try:
            row = json.loads(line)
            name, label = row["file_name"], row["label"]
            if not isinstance(name, str) or not isinstance(label, str | int):
                raise TypeError(name, label)
        # A deeply nested text makes the parser give up.
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UsageError(
                f"line {number} of {str(tree.path / _METADATA)!r} has no file_name and label "
                f"({type(error).__name__}); repair it."
            ) from error
        if name not in there:
            raise UsageError(
                f"line {number} of {str(tree.path / _METADATA)!r} names {name!r}, which is not "
                "there; bring the file or remove the line."
            )
        labelled[name] = str(label)
    return labelled


def from_cifake(names: Sequence[str]) -> Mapping[str, str]:
    """Return the label of each of CIFAKE's synthetic images by its file's name."""
    labelled = {}
    for name in names:
        found = re.fullmatch(r"\d+(?: \((\d+)\))?\.jpg", name)
        number = int(found[1] or 1) if found else 0
        if 1 <= number <= len(_CIFAKE_CLASSES):
            labelled[name] = _CIFAKE_CLASSES[number - 1]
    return labelled


def by_label(labelled: Mapping[str, str]) -> Mapping[str, Sequence[str]]:
    """Return the files of each label, as :func:`spelled`; files in the order of a hash."""
    found: dict[str, list[str]] = {}
    for name, label in labelled.items():
        found.setdefault(spelled(label), []).append(name)
    return {label: sorted(names, key=_hash) for label, names in found.items()}


def spelled(label: str) -> str:
    """Return a label as folders may spell it: in lower case, with blanks."""
    return " ".join(label.replace("_", " ").replace("-", " ").lower().split())


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
