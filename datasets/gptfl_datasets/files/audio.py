"""From the bytes of a sound file to samples at one rate, with soundfile."""

import io
import math

import numpy as np
import torch

from gptfl_bench.core.errors import UsageError
from gptfl_bench.synthesis.generator import SAMPLE_RATE

_MAX_SECONDS = 600
_RATES = range(1_000, 400_000)
# Entries of the filter that resampling needs; rates without a common divisor need huge ones.
_MAX_FILTER = 1 << 24
_BLOCK = 1 << 14
# Of 32-bit samples that nobody scaled; the power spectrum of more may overflow.
_LOUDEST = 2.0**31
# More than the filter reaches, so that cutting before resampling changes nothing.
_MARGIN_SECONDS = 0.1


class _Bytes(io.BytesIO):
    """Bytes whose beginning is as far back as one can get, where damaged headers point before it.

    The error of :class:`io.BytesIO` would be printed by soundfile, not raised.
    """

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, counted from the beginning, from here or from the end."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: self.getbuffer().nbytes}
        return super().seek(max(base[whence] + offset, 0))


def decode(
    data: bytes, where: str, *, rate: int = SAMPLE_RATE, seconds: float | None = None
) -> np.ndarray:
    """Return the first channel of a sound file.

    FedAudio takes the first channel, too, and resamples with the same filter. A WAV or MP3 file
    that was cut short gives what is left of it.

    Args:
        data: A whole file that libsndfile reads, such as WAV, FLAC, AIFF, OGG or MP3; at most ten
            minutes.
        where: What to call the file in an error.
        rate: Samples a second to return.
        seconds: How much of the beginning to return at most; None for all.

    Returns:
        float32 (time,), in [-1, 1] up to overshoot; at least one sample.

    Raises:
        UsageError: If the file is damaged, no sound file, without samples, too long, not finite or
            of a rate that can't be resampled.
    """
    import soundfile

    try:
        with soundfile.SoundFile(_Bytes(data)) as file:
            found = file.samplerate
            _check(file.frames, found, rate, where)
            wanted = file.frames
            if seconds is not None:
                wanted = min(wanted, math.ceil((seconds + _MARGIN_SECONDS) * found))
            # In blocks, so that only one channel of the whole ever exists.
            blocks = file.blocks(_BLOCK, frames=wanted, dtype="float32", always_2d=True)
            wave = np.concatenate([block[:, 0].copy() for block in blocks] or [np.empty(0)])
    except soundfile.SoundFileError as error:
        raise UsageError(
            f"{where} is damaged or no sound file; replace it by a WAV, FLAC, OGG or MP3 file."
        ) from error
    if not len(wave):
        raise UsageError(f"{where} has no samples; replace it or remove it.")
    # A number that is not one is never at most anything.
    if not np.abs(wave).max() <= _LOUDEST:
        raise UsageError(
            f"{where} has samples that are not finite or beyond any sound's range; replace it or "
            "remove it."
        )
    wave = _resampled(wave, found, rate)
    return wave if seconds is None else wave[: max(round(seconds * rate), 1)]


def _check(frames: int, found: int, rate: int, where: str) -> None:
    """Refuse a length or a rate, known from the header alone, before anything is decoded."""
    if found not in _RATES:
        raise UsageError(
            f"{where} has {found:,} samples a second, outside of {_RATES.start:,} to "
            f"{_RATES.stop:,}; resample it to {rate:,}."
        )
    if frames > _MAX_SECONDS * found:
        raise UsageError(
            f"{where} is longer than the {_MAX_SECONDS // 60} minutes allowed, or does not say how "
            "long it is; cut it or save it anew."
        )
    divisor = math.gcd(found, rate)
    if found != rate and (found // divisor) * (rate // divisor) > _MAX_FILTER:
        raise UsageError(
            f"{where} has {found:,} samples a second, which shares no large divisor with {rate:,}; "
            f"resample it to {rate:,}."
        )


def _resampled(wave: np.ndarray, found: int, rate: int) -> np.ndarray:
    """Return samples at another rate, by torchaudio's default filter."""
    if found == rate:
        return wave
    from torchaudio.functional import resample

    resampled: torch.Tensor = resample(torch.from_numpy(wave), found, rate)
    return resampled.numpy()
