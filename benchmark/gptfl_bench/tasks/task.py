"""What is learned from: samples, a task's data with its labels, and how clients share them.

Letters in shapes: N samples, C classes, K clients.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gptfl_bench.core.registry import Registry
from gptfl_reports.records.schema import describe

Metric = Literal["accuracy", "macro_f1"]
Transform = Callable[[Tensor, torch.Generator | None], Tensor]
"""Stored samples (N, ...) to network input (N, ...); augments if a generator is given."""


def as_float(x: Tensor, rng: torch.Generator | None = None) -> Tensor:
    """Return stored samples as float32, bytes scaled to [0, 1]; the default transform."""
    return x.float() / 255 if x.dtype == torch.uint8 else x.float()


@dataclass(frozen=True)
class Samples:
    """Labelled samples, or a view of some of them.

    Attributes:
        x: Stored samples, (N, ...); bytes are kept as bytes until a batch is drawn.
        y: Class indices, (N,), int64, in [0, C).
        indices: The rows this view shows, (n,), int64; None for all of them.
        transform: From stored samples to network input.
        known: What :meth:`checksum` gave when all rows were stored; empty if nobody knows.
    """

    x: Tensor
    y: Tensor
    indices: Tensor | None = None
    transform: Transform = as_float
    known: str = ""

    def __len__(self) -> int:
        """Return the number of samples shown."""
        return len(self.y) if self.indices is None else len(self.indices)

    @property
    def labels(self) -> Tensor:
        """The class indices shown, (n,)."""
        return self.y if self.indices is None else self.y[self.indices]

    @property
    def form(self) -> str:
        """Shape, type and transform in words; the same media can have several forms."""
        transform = self.transform
        words = getattr(transform, "__qualname__", None) or repr(transform)
        return f"{tuple(self.x.shape[1:])} {self.x.dtype} {words}"

    def select(self, indices: Tensor) -> "Samples":
        """Return a view of the samples at ``indices`` of this view; nothing is copied."""
        rows = indices if self.indices is None else self.indices[indices]
        return Samples(self.x, self.y, rows, self.transform)

    def batch(self, indices: Tensor, rng: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Return network input (b, ...) and labels (b,) of the samples at ``indices``.

        Args:
            indices: Positions within this view, (b,).
            rng: Draws augmentations; none are made without it.
        """
        rows = indices if self.indices is None else self.indices[indices]
        return self.transform(self.x[rows], rng), self.y[rows]

    def to(self, device: torch.device) -> "Samples":
        """Return the same samples on a device; nothing is copied if they are there."""
        return replace(self, x=self.x.to(device), y=self.y.to(device))

    def checksum(self) -> str:
        """Return the SHA-256 over shape, stored bytes and labels of the samples shown, as hex."""
        if self.known and self.indices is None:
            return self.known
        x = self.x if self.indices is None else self.x[self.indices]
        digest = hashlib.sha256(str((tuple(x.shape), str(x.dtype))).encode())
        for tensor in (x, self.labels):
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Task:
    """A data set with its official split.

    Attributes:
        name: Registered name.
        train: Private training samples, later shared among clients.
        test: The official test samples; never trained on.
        label_names: Name of each class, (C,); what clients tell in label discovery.
        modality: What a sample is, which a generator must be able to make.
        metric: What the leaderboard ranks by.
        from_media: Generator output to stored samples: uint8 images (N, H, W, channels) or float
            audio (N, time) in, the form of ``train.x`` out.
        groups: Group id of each training sample, (N,), for the natural partition; None if the
            data have none.
        synthetic_transform: Transform of synthetic samples; None for the training samples' own.
        note: What every table must say about the data, for example a lossy copy; may be empty.
        read: What the data were read from, for example an archive; empty for a package's own.
        made_by: Generators that made the samples; empty for recorded data.
        version: Changes when the same name means other data.
    """

    name: str
    train: Samples
    test: Samples
    label_names: tuple[str, ...]
    from_media: Callable[[np.ndarray], Tensor]
    modality: Literal["image", "speech", "sound"] = "image"
    metric: Metric = "accuracy"
    groups: tuple[str, ...] | None = None
    synthetic_transform: Transform | None = None
    note: str = ""
    read: str = ""
    made_by: tuple[str, ...] = ()
    version: str = "1"

    @property
    def fingerprint(self) -> str:
        """SHA-256 over samples, class names, groups, metric, version and makers, as hex."""
        parts = [self.train.checksum(), self.test.checksum(), self.metric, self.version]
        parts += self.made_by
        text = json.dumps([self.name, *parts, self.label_names, self.groups, self.modality])
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return len(self.label_names)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample as the network sees it."""
        return tuple(self.test.batch(torch.arange(1))[0].shape[1:])


@dataclass(frozen=True)
class Partition:
    """Which client holds which training samples; the same object serves all methods of a run.

    Attributes:
        clients: For each client its sample indices, ascending.
        recipe: How it was made, by name.
        settings: The recipe's arguments, seed included.
    """

    clients: tuple[tuple[int, ...], ...]
    recipe: str
    settings: dict[str, str | int | float | None] = field(default_factory=dict)

    @property
    def sizes(self) -> list[int]:
        """Number of samples of each client."""
        return [len(indices) for indices in self.clients]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the client-to-indices table as hex; the recipe's name does not enter."""
        digest = hashlib.sha256()
        for indices in self.clients:
            digest.update(np.asarray([len(indices), *indices], dtype="<i8").tobytes())
        return digest.hexdigest()

    def describe(self) -> str:
        """Return recipe, settings and fingerprint in a line for tables."""
        return describe(self.recipe, self.settings, fingerprint=self.fingerprint, seed=True)

    def counts(self, labels: NDArray[np.int64], num_classes: int) -> NDArray[np.int64]:
        """Return how many samples of each class each client holds, (K, C), int64.

        Args:
            labels: Class of each training sample, (N,), in [0, C).
            num_classes: C.
        """
        held = [labels[np.asarray(indices, dtype=np.int64)] for indices in self.clients]
        return np.stack([np.bincount(own, minlength=num_classes) for own in held])

    def to_json(self, labels: NDArray[np.int64], label_names: Sequence[str]) -> str:
        """Return the partition, and what it gives each client, as JSON text.

        Args:
            labels: Class of each training sample, (N,), in [0, C).
            label_names: Name of each class, (C,).
        """
        return json.dumps(
            {
                "recipe": self.recipe,
                "settings": self.settings,
                "sha256": self.fingerprint,
                "classes": list(label_names),
                "counts": self.counts(labels, len(label_names)).tolist(),
                "clients": [list(indices) for indices in self.clients],
            }
        )


tasks: Registry[Callable[..., Task]] = Registry(
    "data set", "gptfl_datasets.tasks", "gptfl_bench.datasets"
)
"""Loaders by data set name; see :mod:`gptfl_bench.tasks.loaders` for how they are called."""

Recipe = Callable[..., Partition]
"""``recipe(labels, groups, *, num_clients, seed, alpha, min_size) -> Partition``."""

partitions: Registry[Recipe] = Registry(
    "partition", "gptfl_datasets.partitions", "gptfl_bench.partitions"
)
