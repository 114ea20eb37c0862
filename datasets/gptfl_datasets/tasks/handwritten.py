"""What the embedded tasks of handwritten digits share: class names, split and check."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from gptfl_bench.core.errors import UsageError
from gptfl_bench.data.samples import Samples
from gptfl_bench.data.task import Task

DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def digit_task(
    name: str,
    images: Tensor,
    labels: Tensor,
    *,
    sha256: str,
    package: str,
    from_media: Callable[[np.ndarray], Tensor],
    note: str = "",
) -> Task:
    """Return the task whose test samples are every fifth image in file order, from the first.

    Args:
        name: The task's name.
        images: All images in file order, (N, 1, H, W).
        labels: All digits in file order, (N,), int64.
        sha256: What :meth:`Samples.checksum` must give for all of them.
        package: The distribution the images come with.
        from_media: As in :class:`Task`.
        note: As in :class:`Task`.

    Raises:
        UsageError: If the images or labels are not those the task is defined by.
    """
    samples = Samples(images, labels)
    if samples.checksum() != sha256:
        raise UsageError(
            f"data set {name!r}: the digits in the installed {package} have SHA-256 "
            f"{samples.checksum()}, not {sha256}; "
            f"reinstall with pip install --force-reinstall {package}."
        )
    is_test = torch.arange(len(samples)) % 5 == 0
    return Task(
        name=name,
        train=Samples(images[~is_test], labels[~is_test]),
        test=Samples(images[is_test], labels[is_test]),
        label_names=DIGIT_NAMES,
        from_media=from_media,
        note=note,
    )
