"""A contact sheet: the first samples of each class as the generator made them, to look at or hear.

Files have the names of :mod:`gptfl_reports.records.quality` and, together, some 3 MB at most.
"""

import io
import math
import wave
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from gptfl_bench.synthesis.generator import SAMPLE_RATE, sixteen_bits
from gptfl_reports.records.quality import HEARD, clip_names, strip_name

if TYPE_CHECKING:
    from PIL.Image import Image

_SIDE = 96
"""Most pixels of a sample's longer side."""
_GAP = 2
_PICTURES, _SPECTRA, _SOUND = 2_600_000, 600_000, 2_300_000
"""Bytes that all strips, or clips, may take before compression."""
_COLOURFUL = 64
"""Fewest pixels of a side for which true colours are worth their bytes."""


def picture_sheet(classes: Sequence[Sequence[np.ndarray]]) -> dict[str, bytes]:
    """Return a strip of pictures for each class that has any, by the name of its file.

    Args:
        classes: For each class its first samples, uint8 (H, W, 1 or 3).
    """
    from PIL import Image

    count = max(sum(len(own) for own in classes), 1)
    side = _side(_PICTURES, 3 * count)
    few = side < _COLOURFUL
    if few:
        side = min(_side(_PICTURES, count), _COLOURFUL)
    files = {}
    for number, own in enumerate(classes):
        if own:
            shown = _strip([_fitted(Image.fromarray(_plain(one)), side) for one in own])
            # Where there are many classes, a strip has 256 colours of its own.
            files[strip_name(number)] = _png(shown.quantize(256) if few else shown)
    return files


def sound_sheet(classes: Sequence[Sequence[np.ndarray]]) -> dict[str, bytes]:
    """Return a strip of spectrograms and clips for each class that has any, by file name.

    Clips are 16-bit WAV at 16 kHz. Where there are many classes there is one of each, and long ones
    are cut at the end.

    Args:
        classes: For each class its first samples, float (time,) in [-1, 1].
    """
    count = max(sum(len(own) for own in classes), 1)
    side = _side(_SPECTRA, count)
    heard, length = _room([own for own in classes if own])
    files = {}
    for number, own in enumerate(classes):
        if own:
            files[strip_name(number)] = _png(_strip([_spectrogram(one, side) for one in own]))
            clips = zip(clip_names(number, heard), own, strict=False)
            files |= {name: _wav(one[:length]) for name, one in clips}
    return files


def _side(budget: int, parts: int) -> int:
    return max(min(_SIDE, math.isqrt(budget // parts)), 8)


def _room(classes: Sequence[Sequence[np.ndarray]]) -> tuple[int, int]:
    """Return how many clips of a class there is room for, and how many samples of each."""
    longest = max((len(one) for own in classes for one in own), default=0)
    fit = _SOUND // (2 * max(len(classes), 1))
    return min(max(fit // max(longest, 1), 1), HEARD), min(longest, fit)


def _plain(media: np.ndarray) -> np.ndarray:
    return media[:, :, 0] if media.shape[2] == 1 else media


def _fitted(picture: "Image", side: int) -> "Image":
    from PIL.Image import Resampling

    times = side // max(picture.size)
    if times > 1:  # Small pictures are shown by their pixels.
        return picture.resize((picture.width * times, picture.height * times), Resampling.NEAREST)
    picture.thumbnail((side, side), Resampling.LANCZOS)
    return picture


def _spectrogram(sound: np.ndarray, side: int) -> "Image":
    """Return mel bands over time, low ones below, brighter for louder within 80 dB."""
    from PIL import Image
    from torchaudio.functional import melscale_fbanks

    window = 1024
    padded = np.pad(sound.astype(np.float32), (0, max(window - len(sound), 0)))
    power = torch.stft(
        torch.from_numpy(padded),
        window,
        hop_length=window // 4,
        window=torch.hann_window(window),
        return_complex=True,
    )
    bands = melscale_fbanks(window // 2 + 1, 0.0, SAMPLE_RATE / 2, 64, SAMPLE_RATE)
    mel = bands.T @ power.abs().square()
    decibels = 10 * mel.clamp_min(1e-10).log10()
    bright = ((decibels - decibels.max()) / 80 + 1).clamp(0, 1)
    pixels = (255 * bright).round().to(torch.uint8).flip(0).numpy()
    return Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR)


def _strip(pictures: Sequence["Image"]) -> "Image":
    """Return pictures side by side, in colour if any of them is; all grey ones stay grey."""
    from PIL import Image

    mode = "L" if all(picture.mode == "L" for picture in pictures) else "RGB"
    width = sum(picture.width for picture in pictures) + _GAP * (len(pictures) - 1)
    height = max(picture.height for picture in pictures)
    strip = Image.new(mode, (width, height), "grey")
    left = 0
    for picture in pictures:
        strip.paste(picture, (left, 0))
        left += picture.width + _GAP
    return strip


def _png(picture: "Image") -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()


def _wav(sound: np.ndarray) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SAMPLE_RATE)
        out.writeframes(sixteen_bits(sound).astype("<i2").tobytes())
    return file.getvalue()
