"""A task: a data set with its official split, and the registry of data sets.

Letters in shapes: N samples, C classes.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gptfl_bench.core.registry import Registry
from gptfl_bench.data.samples import Samples, Transform

Metric = Literal["accuracy", "macro_f1"]
Modality = Literal["image", "speech", "sound"]


def as_stored(media: np.ndarray) -> Tensor:
    """Return a generator's images (N, H, W, channels) as (N, channels, H, W), audio as it is."""
    made = torch.from_numpy(media)
    return made.permute(0, 3, 1, 2).contiguous() if made.ndim == 4 else made


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
            audio (N, time) in, the form of ``train.x`` out; by default images become (N, channels,
            H, W) and audio stays as it is.
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
    from_media: Callable[[np.ndarray], Tensor] = as_stored
    modality: Modality = "image"
    metric: Metric = "accuracy"
    groups: tuple[str, ...] | None = None
    synthetic_transform: Transform | None = None
    note: str = ""
    read: str = ""
    made_by: tuple[str, ...] = ()
    version: str = "1"

    def __repr__(self) -> str:
        """Return name, sizes and shape in a line."""
        return (
            f"Task: {self.name}, {len(self.train):,} {self.modality} samples of shape "
            f"{self.input_shape} to train on and {len(self.test):,} to test on, "
            f"{self.num_classes} classes"
        )

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


tasks: Registry[Callable[..., Task]] = Registry(
    "data set", "gptfl_datasets.tasks", "gptfl_bench.datasets"
)
"""Loaders by data set name; see :mod:`gptfl_bench.data.loaders` for how they are called."""
