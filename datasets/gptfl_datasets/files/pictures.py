"""From the bytes of a picture file to pixels, with Pillow."""

import io
import warnings
from typing import TYPE_CHECKING

import numpy as np

from gptfl_bench.core.errors import UsageError

if TYPE_CHECKING:
    from PIL import Image

# Formats that Pillow reads by itself; EPS, for one, would start another program.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_MAX_PIXELS = 64_000_000
# A strip grows to this many squares when its shorter side is fitted.
_MAX_ASPECT = 100


def decode(data: bytes, where: str, *, exact: tuple[int, int] | None = None) -> np.ndarray:
    """Return a picture in colour.

    Grey, palette and CMYK become RGB, 16 bits a channel become their upper 8, what is transparent
    shows a white ground, of an animation the first frame is taken. Notes of a camera on how it was
    held are not followed, as in torchvision's loaders.

    Args:
        data: A whole file: BMP, GIF, JPEG, PNG, PPM, TIFF or WebP.
        where: What to call the file in an error.
        exact: Height and width it must have; None allows up to 64 million pixels and sides up to
            100 times each other.

    Returns:
        uint8 (H, W, 3).

    Raises:
        UsageError: If the file is empty, damaged, no such picture, too large or not ``exact``.
    """
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise UsageError(f"{where} is empty; replace it or remove it.")
    try:
        with warnings.catch_warnings():
            # Of what Pillow puts up with, and of sizes, which are checked here.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                _check_size(*image.size, where, exact)
                return _as_rgb(image)
    except UsageError:
        raise
    # Damaged bytes make decoders raise nearly anything.
    except Exception as error:
        unknown = isinstance(error, UnidentifiedImageError)
        cause = "unknown format" if unknown else " ".join(str(error).split()).rstrip(".")
        raise UsageError(
            f"{where} is damaged or no picture ({cause or type(error).__name__}); replace it by "
            "a BMP, GIF, JPEG, PNG, PPM, TIFF or WebP file."
        ) from error


def fitted(picture: np.ndarray, side: int) -> np.ndarray:
    """Return the middle of a picture whose shorter side is first resized to ``side``.

    As torchvision's ``Resize(side)`` and ``CenterCrop(side)`` on a Pillow image, bit for bit:
    bilinear, antialiased, the longer side rounded down.

    Args:
        picture: uint8 (H, W, 3) or (H, W, 1), grey, which is repeated.
        side: Height and width to return.

    Returns:
        uint8 (side, side, 3).

    Raises:
        UsageError: If ``picture`` has another form.
    """
    from PIL import Image

    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] not in (1, 3):
        raise UsageError(
            f"a picture of shape {picture.shape} and type {picture.dtype} can't be used; "
            "give uint8 (height, width, 1 or 3)."
        )
    if 0 in picture.shape:
        raise UsageError(f"a picture of shape {picture.shape} is empty; give it height and width.")
    height, width = picture.shape[:2]
    image = Image.fromarray(np.broadcast_to(picture, (height, width, 3)))
    shorter = min(height, width)
    width, height = side * width // shorter, side * height // shorter
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    # Python rounds halves to even, and so does torchvision here.
    left, top = round((width - side) / 2), round((height - side) / 2)
    return np.array(image.crop((left, top, left + side, top + side)))


def _check_size(width: int, height: int, where: str, exact: tuple[int, int] | None) -> None:
    """Refuse a size, known from the header alone, before anything is decoded."""
    if exact is not None:
        if (height, width) != exact:
            raise UsageError(
                f"{where} is {height} pixels high and {width} wide where {exact[0]} and {exact[1]} "
                "are wanted; resize it or remove it."
            )
        return
    if width * height > _MAX_PIXELS:
        raise UsageError(
            f"{where} has {width * height:,} pixels, more than the {_MAX_PIXELS:,} allowed; "
            "scale it down."
        )
    if max(width, height) > _MAX_ASPECT * min(width, height):
        raise UsageError(
            f"{where} is {height} pixels high and {width} wide, one side more than {_MAX_ASPECT} "
            "times the other; cut it."
        )


def _as_rgb(image: "Image.Image") -> np.ndarray:
    """Return a picture's pixels, uint8 (H, W, 3).

    Raises:
        ValueError: If its numbers have no known range.
    """
    from PIL import Image

    if image.mode.startswith("I"):
        grey = np.array(image)
        if grey.min() < 0 or grey.max() > 0xFFFF:
            raise ValueError("pixels of more than 16 bits")
        return np.repeat((grey >> 8).astype(np.uint8)[:, :, None], 3, axis=2)
    if image.mode == "F":
        raise ValueError("pixels are floats")
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        ground = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(ground, image.convert("RGBA"))
    return np.array(image.convert("RGB"))
