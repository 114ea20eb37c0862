"""The instant generator: draws a digit from a font outline as the prompt's words ask.

Everything a drawing has (face, stroke width, slant, size, place, wobble, blur, ink) is drawn from
the prompt's seed alone, inside ranges that words of the prompt narrow: "a thin slanted seven".
Images are 32x32x1, a bright digit on a dark ground as in MNIST. It needs no weights and makes
about a thousand images a second, and the ``embedded`` generator was trained on what it draws.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.randomness import numpy_rng
from gptfl_bench.data.task import Modality
from gptfl_bench.synthesis.generator import Prompt, Sample, generators
from gptfl_datasets.glyphs.glyphs import (
    Contour,
    Glyphs,
    load_glyphs,
    perimeter,
    rasterise,
    signed_area,
)
from gptfl_datasets.tasks.handwritten import DIGIT_NAMES

SIDE = 32
"""Height and width of an image in pixels."""

FINE = 4
"""Drawn at this many times the resolution, then averaged down."""

CANDIDATES = 3
"""Of this many faces the one whose strokes come nearest to the wanted width is drawn."""

Range = tuple[float, float]


@dataclass(frozen=True)
class Style:
    """From what ranges a drawing is drawn, uniformly.

    Attributes:
        hand: Probability of a face that imitates handwriting.
        stroke: Stroke width over the digit's height.
        slant: Horizontal shear; positive leans to the right.
        turn: Rotation in degrees, counter-clockwise.
        size: The digit's longer side over the image's side.
        aspect: Factor on the width.
        wobble: Size of smooth random displacements over the digit's height.
        blur: Radius of the final blur in pixels.
        ink: Brightness of the strokes in [0, 1].
    """

    hand: float = 0.4
    stroke: Range = (0.07, 0.17)
    slant: Range = (-0.15, 0.45)
    turn: Range = (-12, 12)
    size: Range = (0.66, 0.98)
    aspect: Range = (0.8, 1.2)
    wobble: Range = (0.0, 0.05)
    blur: Range = (0.0, 0.6)
    ink: Range = (0.8, 1.0)


WORDS: dict[str, dict[str, float | Range]] = {
    "thin fine": {"stroke": (0.045, 0.075)},
    "bold thick heavy": {"stroke": (0.16, 0.24)},
    "slanted italic leaning": {"slant": (0.3, 0.6)},
    "upright straight": {"slant": (-0.04, 0.04), "turn": (-3, 3)},
    "tilted crooked": {"turn": (-25, 25)},
    "large big": {"size": (0.88, 1.0)},
    "small tiny little": {"size": (0.5, 0.66)},
    "wide": {"aspect": (1.2, 1.5)},
    "narrow": {"aspect": (0.6, 0.8)},
    "messy scribbled shaky sloppy": {"wobble": (0.05, 0.09), "hand": 0.8},
    "neat clean tidy": {"wobble": (0.0, 0.015)},
    "blurry smudged": {"blur": (0.8, 1.2)},
    "crisp sharp": {"blur": (0.0, 0.2)},
    "faint pale": {"ink": (0.5, 0.75)},
    "handwritten": {"hand": 0.7},
    "printed typed": {"hand": 0.0, "wobble": (0.0, 0.02), "turn": (-4, 4)},
}
"""What words of a prompt ask for; all other words are passed over."""


@generators.register(
    "renderer", title="digits drawn from font outlines, 32x32", needs="labels zero to nine"
)
class Renderer:
    """Draws the ten digits; needs no weights.

    Attributes:
        VERSION: Names outlines and rules in cells' names; new whenever a drawing changes.
    """

    VERSION: ClassVar[str] = "dbaf8efa8cf4a8d778b87b36334a30a742edc44362ecfc4d34fc505b7719224a"
    modalities: ClassVar[frozenset[Modality]] = frozenset({"image"})
    quick: ClassVar[bool] = True

    @property
    def fingerprint(self) -> str:
        """The version of outlines and rules."""
        return self.VERSION

    def generate(self, prompts: Sequence[Prompt]) -> Iterator[Sample]:
        """Yield one drawing for each prompt, in order.

        Raises:
            UsageError: If a label is not one of the ten digit names; raised before the first
                drawing.
        """
        digits = [digit_of(prompt.label) for prompt in prompts]
        return (
            Sample(draw(digit, style_of(prompt.text), prompt.seed), prompt)
            for digit, prompt in zip(digits, prompts, strict=True)
        )


def digit_of(label: str) -> int:
    """Return the digit called ``label``.

    Raises:
        UsageError: If there is none.
    """
    if label not in DIGIT_NAMES:
        raise UsageError(
            f"the generators of digits can't draw the label {label!r}: they know "
            f"{', '.join(DIGIT_NAMES)}; choose another generator, or a folder of synthetic images."
        )
    return DIGIT_NAMES.index(label)


def style_of(text: str) -> Style:
    """Return the style that the words of a prompt ask for."""
    said = set(re.findall(r"[a-z]+", text.lower()))
    style = Style()
    for words, ranges in WORDS.items():
        if said & set(words.split()):
            style = replace(style, **ranges)  # type: ignore[arg-type]
    return style


def draw(digit: int, style: Style, seed: int, glyphs: Glyphs | None = None) -> NDArray[np.uint8]:
    """Return a drawing (32, 32, 1), bright on dark.

    Args:
        digit: 0 to 9.
        style: Ranges to draw from.
        seed: Determines the drawing together with ``digit`` and ``style``.
        glyphs: Outlines to choose from; None for those of the package.
    """
    rng = numpy_rng(seed, "drawing")
    outlines = glyphs or load_glyphs()
    families = outlines.hand_like if rng.random() < style.hand else outlines.printed
    stroke = rng.uniform(*style.stroke)
    tried = [families[rng.integers(len(families))] for _ in range(CANDIDATES)]
    candidates = [outlines.outline(int(rng.choice(faces)), digit) for faces in tried]
    outline = min(candidates, key=lambda contours: abs(stroke_width(contours) - stroke))
    bent = bend([subdivide(contour) for contour in outline], rng, rng.uniform(*style.wobble))
    contours = place(bent, rng, style)

    wanted = stroke * float(np.ptp(np.concatenate(contours)[:, 1]))
    image = fill(contours, wanted - stroke_width(contours)).reduce(FINE)
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(*style.blur)))
    pixels = np.asarray(image, np.float64) * rng.uniform(*style.ink)
    return pixels.round().astype(np.uint8)[..., None]


def stroke_width(contours: Sequence[Contour]) -> float:
    """Return the mean stroke width: a stroke has about the area l w and the perimeter 2 l."""
    return 2 * abs(sum(map(signed_area, contours))) / sum(map(perimeter, contours))


def fill(contours: Sequence[Contour], wider: float) -> Image.Image:
    """Return the filled contours as a grey image, strokes wider by ``wider`` pixels.

    A negative value makes them narrower, by at most three tenths: the hairlines of a face with
    contrast would be lost beyond that.
    """
    image = Image.fromarray(rasterise(contours, SIDE * FINE).astype(np.uint8) * 255)
    change = round(max(wider, -0.3 * stroke_width(contours)))
    for contour in contours if change else []:
        corners = [tuple(point) for point in [*contour.tolist(), *contour[:2].tolist()]]
        ImageDraw.Draw(image).line(
            corners, fill=255 if change > 0 else 0, width=abs(change), joint="curve"
        )
    return image


def subdivide(contour: Contour, step: float = 0.08) -> Contour:
    """Return a closed polyline with no piece longer than ``step``, so that it can be bent."""
    ends = np.roll(contour, -1, 0)
    pieces = np.maximum(1, np.ceil(np.linalg.norm(ends - contour, axis=1) / step)).astype(int)
    piece = np.repeat(np.arange(len(contour)), pieces)
    first = np.repeat(np.cumsum(pieces) - pieces, pieces)
    share = ((np.arange(len(piece)) - first) / pieces[piece])[:, None]
    return np.asarray(contour[piece] * (1 - share) + ends[piece] * share)


def bend(contours: Sequence[Contour], rng: np.random.Generator, amount: float) -> list[Contour]:
    """Return the contours displaced by three smooth random waves of total size ``amount``."""
    waves = rng.normal(size=(3, 2)) * 5
    phases = rng.uniform(0, 2 * math.pi, 3)
    pushes = rng.normal(size=(3, 2)) * amount / math.sqrt(3)
    return [contour + np.sin(contour @ waves.T + phases) @ pushes for contour in contours]


def place(contours: Sequence[Contour], rng: np.random.Generator, style: Style) -> list[Contour]:
    """Return the contours sheared, turned, scaled and moved into the fine image, in its pixels."""
    turn = math.radians(rng.uniform(*style.turn))
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    shear = np.array([[1, 0], [-rng.uniform(*style.slant), 1]])
    stretch = np.diag([math.exp(rng.uniform(*np.log(style.aspect))), 1])
    moved = [contour @ stretch @ shear @ rotation for contour in contours]
    every = np.concatenate(moved)
    low, high = every.min(0), every.max(0)
    scale = rng.uniform(*style.size) * SIDE * FINE / (high - low).max()
    # Whatever room is left around the digit, half of it may be used up on one side.
    room = (SIDE * FINE - (high - low) * scale) / 2
    shift = SIDE * FINE / 2 + rng.uniform(-0.5, 0.5, 2) * np.minimum(room, 5 * FINE)
    return [(contour - (low + high) / 2) * scale + shift for contour in moved]
