"""What published synthetic sets share: they are found, fetched and checked as data sets are.

A set is known by its content, whatever archive or folder holds it: nothing of another is handed
out, and nothing in it is ever run.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.progress import bar
from gptfl_bench.data.access import Access
from gptfl_bench.data.task import Modality
from gptfl_bench.synthesis.generator import Prompt, Sample, Turn, Wanted
from gptfl_datasets.files.download import Remote, fetch
from gptfl_datasets.files.find import Layout, look, places_of
from gptfl_datasets.generators.folder import by_label, spelled


@dataclass(frozen=True)
class Content:
    """What the files of a set are, byte for byte.

    Attributes:
        folder: Where they lie in archive or folder; nothing beside it is read.
        files: How many there are.
        nbytes: Their bytes together.
        sha256: SHA-256 of the lines ``sha256  name`` of all files, sorted by name.
    """

    folder: str
    files: int
    nbytes: int
    sha256: str

    def fault(self, files: Mapping[str, bytes]) -> str:
        """Return in words what is wrong with some files; empty if they are the set's."""
        if (len(files), sum(map(len, files.values()))) != (self.files, self.nbytes):
            return f"its {self.folder} is not {self.files:,} files of {self.nbytes:,} bytes"
        found = listing_sha256(files)
        if found != self.sha256:
            return f"the list of its {self.folder} has the SHA-256 {found}, not {self.sha256}"
        return ""


def listing_sha256(files: Mapping[str, bytes]) -> str:
    """Return the SHA-256 of the lines ``sha256  name`` of all files, sorted by name."""
    lines = (f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@dataclass(frozen=True)
class Published(ABC):
    """Hands out the samples of a published set, each at most once, in an order of a hash.

    Attributes:
        path: Archive or unpacked folder; null looks into the data folder.
        access: Where the data folder is, and whether anything may be downloaded.
    """

    path: str | None = None
    access: Access = field(default_factory=Access)

    modalities: ClassVar[frozenset[Modality]] = frozenset({"image"})
    turn: ClassVar[Turn] = Turn.PUBLISHED
    datasets: ClassVar[frozenset[str]]
    """Data sets whose samples it can stand for."""
    layout: ClassVar[Layout]
    content: ClassVar[Content]

    @abstractmethod
    def labels(self, names: Sequence[str]) -> Mapping[str, str]:
        """Return the label of each of the set's files."""

    @abstractmethod
    def media(self, data: bytes, where: str) -> np.ndarray:
        """Return what a file holds; ``where`` is what to call it in an error."""

    @property
    def fingerprint(self) -> str:
        """The set's own checksum; where it lies does not matter."""
        return hashlib.sha256(f"published {self.content.sha256}".encode()).hexdigest()

    def placed(self, access: Access) -> Self:
        """Return the same, which looks where it may."""
        return replace(self, access=access)

    @property
    def to_fetch(self) -> int:
        """Bytes that are to be downloaded."""
        return 0 if self.path or self._place else self._remote.nbytes or self._remote.about

    def lacks(self, wanted: Wanted) -> str | None:
        """Lack the files where they may not be downloaded."""
        if wanted.dataset not in self.datasets:
            return None
        if not self.to_fetch or self.access.download:
            return ""
        return (
            f"{self._archive}, {self._remote.size}, from {self._remote.url} in "
            f"{str(self._target.parent)!r}; nothing is downloaded here"
        )

    def bring(self) -> None:
        """Download the set if it is not there.

        Raises:
            UsageError: If it can't or may not be downloaded, or is not what it should be, of which
                nothing is kept.
        """
        if not self.to_fetch or self.access.ahead:
            return
        name, remote, target = self.layout.dataset, self._remote, self._target
        if not self.access.download:
            raise UsageError(
                f"the generator {name!r} needs {self._archive} ({remote.size}) from {remote.url}, "
                f"and nothing is downloaded here; put it into {str(target.parent)!r}, or name it "
                f"with generators.{name}.path=."
            )
        try:
            with bar(target.name, of_bytes=True) as move:
                what = f"{name}: {target.name}"
                fetch(remote, target, what=what, announce=self.access.announce, progress=move)
        except UsageError as error:
            instead = "or go on without it by --no-download or another synthetic.generator"
            raise UsageError(f"{str(error).rstrip('.')}, {instead}.") from error
        try:
            self._files()
        except UsageError as error:
            target.unlink(missing_ok=True)
            raise UsageError(f"{str(error).rstrip('.')}; what came is not kept.") from error

    def generate(self, prompts: Sequence[Prompt]) -> Iterator[Sample]:
        """Return an iterator over the file of each prompt's label that has its number.

        Raises:
            UsageError: If the set is not there or another, or has too few files of a label; raised
                before the first sample.
        """
        self.bring()
        files = self._files()
        named = by_label(self.labels(list(files)))
        name = self.layout.dataset
        for prompt in prompts:
            there = len(named.get(spelled(prompt.label), ()))
            if prompt.number >= there:
                raise UsageError(
                    f"the generator {name!r} has {there:,} samples of the label {prompt.label!r}, "
                    "and more are asked for; set a smaller synthetic.multiplier, or another "
                    "synthetic.generator."
                )

        def sample(prompt: Prompt) -> Sample:
            file = named[spelled(prompt.label)][prompt.number]
            return Sample(self.media(files[file], f"{name}: {file}"), prompt)

        return map(sample, prompts)

    @property
    def _archive(self) -> str:
        return self.layout.archive

    @property
    def _remote(self) -> Remote:
        return self.layout.files[self._archive]

    @property
    def _target(self) -> Path:
        return places_of(self.layout.dataset, self.access)[0] / self._archive

    @property
    def _place(self) -> Path | None:
        """The folder or archive that seems to hold the set; archives are not looked into."""
        if self.path:
            return Path(self.path).expanduser()
        for place in places_of(self.layout.dataset, self.access):
            if (place / self._archive).is_file():
                return place / self._archive
            if any((place / top / self.content.folder).is_dir() for top in ("", *self.layout.tops)):
                return place
        return None

    def _files(self) -> Mapping[str, bytes]:
        """Return the set's files by name.

        Raises:
            UsageError: If they are not there, or are others.
        """
        place = self._place
        found = look(self.layout, place) if place is not None and place.exists() else None
        files: dict[str, bytes] = {}
        nbytes = 0
        for name, data in found.tree.below(self.content.folder).stream(_any) if found else ():
            files[name] = data
            nbytes += len(data)
            if nbytes > self.content.nbytes:
                # Whatever it is, it is not kept in memory to its end.
                break
        if fault := self.content.fault(files):
            raise UsageError(
                f"{str(place)!r} is not the published set {self.layout.dataset!r}: {fault}; put "
                f"{self._archive} ({self._remote.size}) from {self._remote.url} in its place."
            )
        return files


def _any(name: str) -> bool:
    return True
