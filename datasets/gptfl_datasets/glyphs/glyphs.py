"""Outlines of printed digits, packed into one file, so that nothing needs a font at run time.

The file holds closed polylines on a grid of 0..255; FONTS.md beside it says which fonts they were
taken from and under which licences. No handwriting of any data set is in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Contour = NDArray[np.float64]
"""Closed polyline (P, 2) in x, y; the y axis points down."""

GRID = 255
"""The longer side of a digit's bounding box spans this many units."""

FILE = Path(__file__).parent / "glyphs.npz"


@dataclass(frozen=True)
class Glyphs:
    """Digits of F faces.

    Attributes:
        points: All points of all contours, (P, 2), uint8.
        contours: Where each contour starts in ``points``, with the end as last entry.
        digits: Where each digit starts in ``contours``, (10 F + 1,): ten digits a face, 0 to 9.
        families: Family of each face, (F,); faces of one family share a number.
        hand: Whether a face imitates handwriting, (F,).
    """

    points: NDArray[np.uint8]
    contours: NDArray[np.int32]
    digits: NDArray[np.int32]
    families: NDArray[np.int32]
    hand: NDArray[np.bool_]

    def __len__(self) -> int:
        """Return the number of faces F."""
        return len(self.families)

    def outline(self, face: int, digit: int) -> list[Contour]:
        """Return the contours of a digit, scaled to a longer side of 1 and centred at 0.

        Args:
            face: Index in [0, F).
            digit: 0 to 9.
        """
        first, last = self.digits[10 * face + digit : 10 * face + digit + 2]
        starts = self.contours[first : last + 1]
        every = self.points[starts[0] : starts[-1]].astype(np.float64)
        centre = (every.min(0) + every.max(0)) / 2
        return [(self.points[start:end] - centre) / GRID for start, end in pairwise(starts)]

    @cached_property
    def hand_like(self) -> list[NDArray[np.int64]]:
        """The faces that imitate handwriting, by family; negative families are left out."""
        return self._by_family(self.hand)

    @cached_property
    def printed(self) -> list[NDArray[np.int64]]:
        """All other faces, by family; negative families are left out."""
        return self._by_family(~self.hand)

    def _by_family(self, kept: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
        numbers = np.unique(self.families[kept & (self.families >= 0)])
        return [np.flatnonzero(kept & (self.families == number)) for number in numbers]


@cache
def load_glyphs(path: Path = FILE) -> Glyphs:
    """Return the outlines in ``path``; they are read once."""
    with np.load(path, allow_pickle=False) as arrays:
        return Glyphs(**{name: arrays[name] for name in Glyphs.__dataclass_fields__})


def save_glyphs(
    path: Path,
    faces: Sequence[Sequence[Sequence[NDArray[np.uint8]]]],
    families: Sequence[int],
    hand: Sequence[bool],
) -> None:
    """Write faces, each ten digits of contours (P, 2), to ``path``."""
    digits = [digit for face in faces for digit in face]
    contours = [contour for digit in digits for contour in digit]
    np.savez_compressed(
        path,
        points=np.concatenate(contours).astype(np.uint8),
        contours=np.cumsum([0, *map(len, contours)], dtype=np.int32),
        digits=np.cumsum([0, *map(len, digits)], dtype=np.int32),
        families=np.asarray(families, np.int32),
        hand=np.asarray(hand, bool),
    )


def rasterise(contours: Sequence[Contour], size: int) -> NDArray[np.bool_]:
    """Return the filled contours as a mask (size, size), by the non-zero winding rule.

    Args:
        contours: In pixels; what lies outside is cut off.
        size: Side of the mask in pixels.
    """
    winding = np.zeros((size, size), np.int8)
    for contour in contours:
        mask = Image.new("1", (size, size))
        ImageDraw.Draw(mask).polygon([tuple(point) for point in contour.tolist()], fill=1)
        winding += np.sign(signed_area(contour)).astype(np.int8) * np.asarray(mask)
    return np.not_equal(winding, 0)


def signed_area(contour: Contour) -> float:
    """Return the area inside a closed polyline, negative for one of the two directions."""
    x, y = contour.T
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def perimeter(contour: Contour) -> float:
    """Return the length of a closed polyline."""
    return float(np.linalg.norm(np.roll(contour, -1, 0) - contour, axis=1).sum())
