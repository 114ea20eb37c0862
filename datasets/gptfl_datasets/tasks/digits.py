"""Task ``digits``: 1,797 real handwritten digits of 8x8 pixels that come with scikit-learn.

scikit-learn ships no split, so the split is this project's and fixed for ever: every fifth image
in file order, from the first, is for testing (360), the rest for training (1,437).

The images were made from 32x32 bitmaps by counting the ink in blocks of 4x4 pixels, which gives
whole numbers from 0 to 16. They are stored as that count over 16, and generated images are brought
to the same form in the same way.
"""

import numpy as np
import torch
from torch import Tensor

from gptfl_bench.core.errors import UsageError
from gptfl_bench.data.task import Task, tasks
from gptfl_datasets.preprocess.images import resized
from gptfl_datasets.tasks.handwritten import digit_task

_SIDE = 8
_LEVELS = 16
_SHA256 = "7cb2b70ea0b2d09078eb81a42013c37fd06720813b815b5df8207b7a2dc1bdf4"


@tasks.register(
    "digits",
    title="Handwritten digits, 8x8 grey, 1,797 images, comes with scikit-learn",
    source="Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI (test part)",
    year=1998,
)
def digits() -> Task:
    """Return the task; network input is float32 (N, 1, 8, 8) in [0, 1].

    Raises:
        UsageError: If scikit-learn's copy is not the one the task is defined by.
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    images = torch.from_numpy(data.images).float().unsqueeze(1) / _LEVELS
    labels = torch.from_numpy(data.target).long()
    return digit_task(
        "digits",
        images,
        labels,
        sha256=_SHA256,
        package="scikit-learn",
        from_media=from_media,
    )


def from_media(media: np.ndarray) -> Tensor:
    """Return generated images in the form ``digits`` stores.

    Each pixel is the mean brightness of a block (4x4 for images of 32x32), rounded to sixteenths
    as in the real data. Where 8 does not divide height or width, blocks overlap by a pixel.

    Args:
        media: uint8 (N, H, W, 1 or 3), H and W at least 8; a bright digit on dark ground.

    Returns:
        float32 (N, 1, 8, 8) in [0, 1], in steps of 1/16.

    Raises:
        UsageError: If ``media`` is smaller or has another form.
    """
    if media.ndim == 4 and min(media.shape[1:3]) < _SIDE:
        raise UsageError(
            f"images of shape {media.shape} are too small for data set 'digits'; "
            f"have the generator make at least {_SIDE}x{_SIDE} pixels."
        )
    brightness = resized(media, (_SIDE, _SIDE), channels=1, by="area") / 255
    return (brightness * _LEVELS).round() / _LEVELS
