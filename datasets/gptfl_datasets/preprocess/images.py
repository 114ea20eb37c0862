"""From generated pictures to the form a task stores: channels first, resized, grey or colour."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gptfl_bench.core.errors import UsageError

Filter = Literal["area", "bilinear"]

# ITU-R BT.601 luma, the weights Pillow uses for mode "L".
_LUMA = (0.299, 0.587, 0.114)
# Large pictures are converted a few at a time, so that floats of all of them never exist at once.
_CHUNK = 256


def resized(
    media: np.ndarray, size: tuple[int, int], *, channels: Literal[1, 3], by: Filter = "bilinear"
) -> Tensor:
    """Return pictures in the size and channels a task stores.

    Height and width are fitted independently: the whole picture stays, its aspect may change.

    Args:
        media: uint8 pictures (N, H, W, 1) or (N, H, W, 3).
        size: Height and width to return.
        channels: 1 turns colour to grey by luma, 3 repeats grey.
        by: ``"area"`` for means over blocks, exact where the size divides H and W, or antialiased
            ``"bilinear"``.

    Returns:
        float32 (N, channels, *size) in [0, 255]; pictures of that size keep their values.

    Raises:
        UsageError: If ``media`` has another shape or is not uint8.
    """
    if media.dtype != np.uint8 or media.ndim != 4 or media.shape[3] not in (1, 3):
        raise UsageError(
            f"images of shape {media.shape} and type {media.dtype} can't be used; "
            "a generator must give uint8 images (N, height, width, 1 or 3)."
        )
    if 0 in media.shape[1:3]:
        raise UsageError(f"images of shape {media.shape} are empty; give them height and width.")
    chunks = [
        _convert(torch.from_numpy(media[start : start + _CHUNK]), size, channels, by)
        for start in range(0, len(media), _CHUNK)
    ]
    return torch.cat(chunks) if chunks else torch.empty(0, channels, *size)


@dataclass(frozen=True)
class PictureForm:
    """From generated pictures to the bytes a task stores: antialiased, in colour.

    Attributes:
        side: Height and width of a stored image.
    """

    side: int

    def __call__(self, media: np.ndarray) -> Tensor:
        """Return uint8 (N, 3, side, side) of pictures uint8 (N, H, W, 1 or 3).

        Raises:
            UsageError: If ``media`` has another form.
        """
        size = (self.side, self.side)
        # In parts, so that floats of all of them never exist at once.
        parts = [
            resized(media[start : start + _CHUNK], size, channels=3).round().to(torch.uint8)
            for start in range(0, max(len(media), 1), _CHUNK)
        ]
        return torch.cat(parts)


def _convert(media: Tensor, size: tuple[int, int], channels: int, by: Filter) -> Tensor:
    images = media.permute(0, 3, 1, 2).float()
    if channels == 1 and images.shape[1] == 3:
        images = torch.einsum("nchw,c->nhw", images, torch.tensor(_LUMA)).unsqueeze(1)
    if images.shape[2:] != size:
        if by == "area":
            images = functional.interpolate(images, size, mode="area")
        else:
            images = functional.interpolate(images, size, mode="bilinear", antialias=True)
    return images.expand(-1, channels, -1, -1).clamp(0, 255).contiguous()
