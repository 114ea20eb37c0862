"""Random crops of a batch at once, each image with draws of its own.

Letters in shapes: b images, c channels, H and W height and width stored, S side returned.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from gptfl_bench.core.device import bring

_TRIES = 10
"""Boxes that torchvision's RandomResizedCrop draws before it gives up."""


class Crop(Protocol):
    """Takes a part of each image and brings it to one size."""

    def __call__(self, x: Tensor, size: int, mirrored: Tensor, rng: torch.Generator) -> Tensor:
        """Return the crops.

        Args:
            x: uint8 (b, c, H, W).
            size: S.
            mirrored: Which images have left and right swapped, bool (b,), on the CPU.
            rng: Draws the places, on the CPU.

        Returns:
            uint8 or float32 (b, c, S, S) in [0, 255].
        """
        ...


def central(x: Tensor, size: int) -> Tensor:
    """Return the middle of the images, (b, c, S, S), a view; as torchvision's ``CenterCrop``.

    Raises:
        ValueError: If the images are smaller than ``size``.
    """
    height, width = x.shape[2:]
    if min(height, width) < size:
        raise ValueError(f"images of {height}x{width} pixels must have {size}x{size} or more")
    # Python rounds halves to even, and so does torchvision here.
    top, left = round((height - size) / 2), round((width - size) / 2)
    return x[:, :, top : top + size, left : left + size]


@dataclass(frozen=True)
class CentralCrop:
    """The middle of an image: nothing is drawn."""

    def __call__(self, x: Tensor, size: int, mirrored: Tensor, rng: torch.Generator) -> Tensor:
        """Return the crops; see :class:`Crop`."""
        crops = central(x, size)
        return torch.where(bring(mirrored, x.device)[:, None, None, None], crops.flip(3), crops)


@dataclass(frozen=True)
class PaddedCrop:
    """A square at any place of the image set into a black frame, as torchvision's ``RandomCrop``.

    Attributes:
        pad: Width of the frame on each side, 0 or more.
    """

    pad: int = 4

    def __call__(self, x: Tensor, size: int, mirrored: Tensor, rng: torch.Generator) -> Tensor:
        """Return the crops; see :class:`Crop`.

        Raises:
            ValueError: If the framed images are smaller than ``size``.
        """
        framed = functional.pad(x, [self.pad] * 4)
        height, width = framed.shape[2:]
        if min(height, width) < size:
            raise ValueError(
                f"images of {height}x{width} pixels with their frames must have {size}x{size} or "
                "more"
            )
        top = torch.randint(height - size + 1, (len(x), 1), generator=rng)
        left = torch.randint(width - size + 1, (len(x), 1), generator=rng)
        step = torch.arange(size)
        rows = bring(top + step, x.device)
        columns = bring(left + torch.where(mirrored[:, None], size - 1 - step, step), x.device)
        places = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)[:, None, :]
        crops = framed.flatten(2).gather(2, places.expand(-1, x.shape[1], -1))
        return crops.view(*x.shape[:2], size, size)


@dataclass(frozen=True)
class ResizedCrop:
    """A box of random area and aspect, resized to a square, as ``RandomResizedCrop``.

    Boxes are drawn by torchvision's procedure: ten tries, then the largest box in the middle that
    has an allowed aspect. They are resized by bilinear interpolation with antialiasing, which is
    linear along each axis, so that a batch takes two matrix products.

    Differs from torchvision's on Pillow images: results are not rounded to whole grey levels, which
    is at most one level. On tensors torchvision interpolates alike.

    Attributes:
        scale: Smallest and largest area of a box, as shares of the image.
        ratio: Smallest and largest width over height.
    """

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        """Refuse impossible values.

        Raises:
            ValueError: Naming the field, its value and what is allowed.
        """
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"scale={self.scale} must be two shares above 0, up to 1, in order")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"ratio={self.ratio} must be two numbers above 0, in order")

    def __call__(self, x: Tensor, size: int, mirrored: Tensor, rng: torch.Generator) -> Tensor:
        """Return the crops; see :class:`Crop`."""
        boxes = self.boxes(len(x), x.shape[2], x.shape[3], rng)
        return resized_boxes(x, boxes, size, mirrored)

    def boxes(self, count: int, height: int, width: int, rng: torch.Generator) -> Tensor:
        """Return boxes as rows of top, left, height and width, int64 (4, count)."""
        # Doubles, as Python's own floats in torchvision: rounding to pixels then agrees.
        draws = torch.rand(2, _TRIES, count, generator=rng, dtype=torch.float64)
        area = height * width * _between(draws[0], *self.scale)
        aspect = _between(draws[1], *map(math.log, self.ratio)).exp()
        tried = torch.stack([(area / aspect).sqrt(), (area * aspect).sqrt()]).round().long()
        largest = torch.tensor([height, width])
        fits = ((tried > 0) & (tried <= largest[:, None, None])).all(0)
        first = fits.int().argmax(0)
        drawn = tried[:, first, torch.arange(count)]
        fallback = torch.tensor(self._largest_box(height, width))
        box = torch.where(fits.any(0), drawn, fallback[:, None])
        room = largest[:, None] - box
        corner = (torch.rand(2, count, generator=rng, dtype=torch.float64) * (room + 1)).long()
        return torch.cat([torch.where(fits.any(0), corner, room // 2), box])

    def _largest_box(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of the largest box of an allowed aspect."""
        lowest, highest = self.ratio
        if width < lowest * height:
            return round(width / lowest), width
        if width > highest * height:
            return height, round(height * highest)
        return height, width


def resized_boxes(x: Tensor, boxes: Tensor, size: int, mirrored: Tensor) -> Tensor:
    """Return a box of each image, resized to a square.

    Args:
        x: uint8 (b, c, H, W).
        boxes: Top, left, height and width, int64 (4, b), inside the images.
        size: S.
        mirrored: Which results have left and right swapped, bool (b,).

    Returns:
        float32 (b, c, S, S) in [0, 255].
    """
    count, channels, height, width = x.shape
    top, left, tall, wide = bring(boxes, x.device)
    rows = _interpolation(top, tall, size, height)
    columns = _interpolation(left, wide, size, width)
    swap = bring(mirrored, x.device)[:, None, None]
    columns = torch.where(swap, columns.flip(1), columns)
    # Rows first, so that each product is over the last axis of a tensor that lies in one piece.
    images = x.transpose(1, 2).float().contiguous()
    images = rows @ images.view(count, height, channels * width)
    images = images.view(count, size * channels, width) @ columns.transpose(1, 2)
    return images.view(count, size, channels, size).transpose(1, 2).contiguous()


def _interpolation(start: Tensor, length: Tensor, size: int, pixels: int) -> Tensor:
    """Return what each pixel of an axis gives to each resized one, float32 (b, size, pixels).

    Pillow's bilinear filter: a triangle around the place of the resized pixel, as wide as that
    pixel where the box shrinks, cut at the box and made to sum to one.
    """
    step = (length / size)[:, None, None]
    centre = start[:, None, None] + (torch.arange(size, device=start.device)[:, None] + 0.5) * step
    pixel = torch.arange(pixels, device=start.device)
    weight = (1 - (pixel + 0.5 - centre).abs() / step.clamp(min=1)).clamp(min=0)
    inside = (pixel >= start[:, None]) & (pixel < (start + length)[:, None])
    weight = weight * inside[:, None]
    return weight / weight.sum(2, keepdim=True)


def _between(draws: Tensor, low: float, high: float) -> Tensor:
    """Return draws from [0, 1) as numbers in [low, high)."""
    return low + (high - low) * draws
