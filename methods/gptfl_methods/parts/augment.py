"""Differentiable augmentations of images: gradients pass through them to the pixels.

Zhao, Bilen, "Dataset Condensation with Differentiable Siamese Augmentation", ICML 2021, arXiv
2102.08259. Each call draws one family and applies it to the whole batch, every image with draws of
its own. What is moved in from outside an image is zero.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gptfl_bench.core.device import bring

_SHIFT = 0.125
_ZOOM = 1.2
_DEGREES = 15.0


@dataclass(frozen=True)
class Augmentation:
    """One random family a call; serves as the transform of samples, too.

    Attributes:
        families: Names out of :data:`FAMILIES`; nothing is changed without any.
    """

    families: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse unknown names.

        Raises:
            ValueError: Naming the value and what is allowed.
        """
        if wrong := sorted(set(self.families) - FAMILIES.keys()):
            raise ValueError(f"augmentations={wrong} must be out of {', '.join(FAMILIES)}")

    def __call__(self, x: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Return the images (b, channels, H, W), augmented if there is a generator."""
        if rng is None or not self.families:
            return x
        drawn = int(torch.randint(len(self.families), (), generator=rng))
        return FAMILIES[self.families[drawn]](x, rng)


def _uniform(x: Tensor, rng: torch.Generator, low: float, high: float) -> Tensor:
    """Return a number in [low, high) for each image, (b, 1, 1, 1)."""
    drawn = low + (high - low) * torch.rand(len(x), 1, 1, 1, generator=rng)
    return bring(drawn.to(x.dtype), x.device)


def _integers(x: Tensor, rng: torch.Generator, low: int, high: int) -> Tensor:
    """Return a whole number in [low, high) for each image, (b, 1, 1, 1)."""
    return bring(torch.randint(low, high, (len(x), 1, 1, 1), generator=rng).to(x.dtype), x.device)


def _color(x: Tensor, rng: torch.Generator) -> Tensor:
    """Change brightness by up to 0.5, saturation by 0 to 2 and contrast by 0.5 to 1.5."""
    x = x + _uniform(x, rng, -0.5, 0.5)
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * _uniform(x, rng, 0, 2)
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (x - mean) * _uniform(x, rng, 0.5, 1.5)


def _cutout(x: Tensor, rng: torch.Generator) -> Tensor:
    """Set a square of half the side, which may reach over the edge, to zero."""

    def covered(side: int) -> Tensor:
        size = int(side * 0.5 + 0.5)
        first = _integers(x, rng, 0, side + 1 - size % 2) - size // 2
        offset = torch.arange(side, dtype=x.dtype, device=x.device) - first
        return (offset >= 0) & (offset < size)

    rows, columns = covered(x.shape[2]).transpose(2, 3), covered(x.shape[3])
    return x * ~(rows & columns)


def _crop(x: Tensor, rng: torch.Generator) -> Tensor:
    """Move the picture by whole pixels, up to an eighth of its side."""
    height, width = (int(side * _SHIFT + 0.5) for side in x.shape[2:])
    down = _integers(x, rng, -height, height + 1) * 2 / x.shape[2]
    right = _integers(x, rng, -width, width + 1) * 2 / x.shape[3]
    one, zero = torch.ones_like(down), torch.zeros_like(down)
    return _affine(x, [one, zero, right, zero, one, down])


def _flip(x: Tensor, rng: torch.Generator) -> Tensor:
    """Mirror left and right half of the time."""
    sign = 1 - 2 * _integers(x, rng, 0, 2)
    one, zero = torch.ones_like(sign), torch.zeros_like(sign)
    return _affine(x, [sign, zero, zero, zero, one, zero])


def _rotate(x: Tensor, rng: torch.Generator) -> Tensor:
    """Turn by up to 15 degrees."""
    angle = _uniform(x, rng, -_DEGREES, _DEGREES) * math.pi / 180
    zero = torch.zeros_like(angle)
    return _affine(x, [angle.cos(), -angle.sin(), zero, angle.sin(), angle.cos(), zero])


def _scale(x: Tensor, rng: torch.Generator) -> Tensor:
    """Stretch height and width, each by up to 1.2 either way."""
    height, width = (_uniform(x, rng, 1 / _ZOOM, _ZOOM) for _ in range(2))
    zero = torch.zeros_like(width)
    return _affine(x, [width, zero, zero, zero, height, zero])


def _affine(x: Tensor, entries: list[Tensor]) -> Tensor:
    """Return the images sampled at a map of the coordinates, given by its entries in rows."""
    matrix = torch.cat(entries, 1).reshape(-1, 2, 3)
    grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="zeros", align_corners=False)


FAMILIES: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "color": _color,
    "crop": _crop,
    "cutout": _cutout,
    "flip": _flip,
    "rotate": _rotate,
    "scale": _scale,
}
"""Functions of images (b, channels, H, W) and a generator, by name."""
