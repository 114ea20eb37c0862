"""What every other layout of CIFAR is read to, and the check of its labels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gptfl_bench.core.errors import UsageError

SIDE = 32
CLASSES = {"cifar10": 10, "cifar100": 100}
"""Classes of each data set."""

Labelled = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Images (N, 3, 32, 32) and their classes (N,)."""


@dataclass(frozen=True)
class Decoded:
    """A data set, read.

    Attributes:
        names: Name of each class, (C,).
        train: Training images.
        test: Test images.
        note: What every table must say about them.
        read: What they were read from, in words.
    """

    names: tuple[str, ...]
    train: Labelled
    test: Labelled
    note: str
    read: str


def check_labels(labels: NDArray[np.int64], dataset: str, where: str) -> None:
    """Refuse labels that are none of a data set's.

    Raises:
        UsageError: If there are none, or one is out of range.
    """
    classes = CLASSES[dataset]
    if not len(labels) or labels.min() < 0 or labels.max() >= classes:
        raise UsageError(
            f"{where} does not hold labels from 0 to {classes - 1}, as {dataset} has; it is "
            "damaged or another file."
        )
