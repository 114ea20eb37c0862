"""Log-mel features of clips at 16 kHz, as FedAudio computes them.

Zhang et al., "FedAudio: A Federated Learning Benchmark for Audio Tasks", ICASSP 2023, arXiv
2210.15707, and its released code, which GPT-FL uses: power spectra of 1,024 samples under a Hann
window every 160 (10 ms), 128 mel bins, decibels without a floor on the range; then each bin of each
clip minus its mean over time, divided by its standard deviation (of N, not N - 1, as NumPy's) plus
1e-5. Batches are padded with zeros at the end, after that.

Differs: clips are cut or padded to one length, not to the longest of a batch. Clips of less than
513 samples, too short for one window, get zeros at their end. Features are stored as float16, whose
relative error of 0.05 % is below that of 16-bit sound.

Letters in shapes: N clips, T frames.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from gptfl_bench.core.errors import UsageError
from gptfl_bench.synthesis.generator import SAMPLE_RATE as SAMPLE_RATE
from gptfl_bench.synthesis.generator import sixteen_bits

MEL_BINS = 128
_WINDOW = 1024
_HOP = 160
_EPSILON = 1e-5
# Spectra of more clips at once fall out of the cache.
_AT_ONCE = 8
_BLOCK = 256


def frame_count(samples: int) -> int:
    """Return how many frames a clip has; 1 s of 16,000 samples gives 101, 5 s give 501."""
    return 1 + max(samples, _WINDOW // 2 + 1) // _HOP


def log_mel(waveforms: Tensor) -> Tensor:
    """Return the normalised features of clips of one length.

    Args:
        waveforms: float32 (N, time) at 16 kHz.

    Returns:
        float32 (N, T, 128); each bin has mean 0 over T, and deviation 1 unless it is nearly
        constant. A bin that never changes, as in silence, is 0.
    """
    return _normalised(waveforms, _decibels())


def features(clips: Iterable[np.ndarray], frames: int) -> np.ndarray:
    """Return the features of clips of any lengths, normalised, then cut or padded at the end.

    Clips of one length are computed together; what comes out is what each gives alone.

    Args:
        clips: float32 (time,) at 16 kHz each; read once, a few at a time.
        frames: T.

    Returns:
        float16 (N, frames, 128).
    """
    blocks = list(feature_blocks(clips, frames))
    return np.concatenate(blocks) if blocks else np.empty((0, frames, MEL_BINS), np.float16)


def feature_blocks(clips: Iterable[np.ndarray], frames: int) -> Iterator[np.ndarray]:
    """Yield what :func:`features` returns in blocks of up to 256 clips, in order."""
    decibels = _decibels()
    remaining = iter(clips)
    while block := list(islice(remaining, _BLOCK)):
        stored = np.zeros((len(block), frames, MEL_BINS), np.float16)
        for rows in _alike(block):
            waveforms = torch.from_numpy(np.stack([block[row] for row in rows]))
            found = _normalised(waveforms, decibels)[:, :frames]
            stored[rows, : found.shape[1]] = found.numpy()
        yield stored


@dataclass(frozen=True)
class AudioForm:
    """The form in which a task stores sound.

    Attributes:
        frames: T, 101 for 1 s and 501 for 5 s.
    """

    frames: int

    def from_media(self, media: np.ndarray) -> Tensor:
        """Return generated clips as they are stored.

        They are rounded as a file of 16 bits rounds them, which recordings come in: a silence that
        is more silent than that sounds like nothing recorded, and a network would learn it.

        Zeros at the end of a clip count as filling up to a common length and are left out of its
        mean and deviation, as if the clip had been padded after them.

        Args:
            media: Floats (N, time) at 16 kHz, in [-1, 1].

        Returns:
            float16 (N, frames, 128).

        Raises:
            UsageError: If ``media`` has another form or is not finite.
        """
        if media.ndim != 2 or not np.issubdtype(media.dtype, np.floating):
            raise UsageError(
                f"sound of shape {media.shape} and type {media.dtype} can't be used; "
                "a generator must give floats (N, time) at 16 kHz."
            )
        if not np.isfinite(media).all():
            raise UsageError("generated sound has samples that are not finite; make it anew.")
        clips = (
            np.trim_zeros(sixteen_bits(clip), "b").astype(np.float32) / np.float32(32768)
            for clip in media
        )
        return torch.from_numpy(features(clips, self.frames))


def _decibels() -> Callable[[Tensor], Tensor]:
    """Return what turns waveforms (N, time) into decibels (N, 128, T)."""
    from torchaudio.transforms import AmplitudeToDB, MelSpectrogram

    spectrogram = MelSpectrogram(
        SAMPLE_RATE, n_fft=_WINDOW, win_length=_WINDOW, hop_length=_HOP, n_mels=MEL_BINS
    )
    return torch.nn.Sequential(spectrogram, AmplitudeToDB())


@torch.no_grad()
def _normalised(waveforms: Tensor, decibels: Callable[[Tensor], Tensor]) -> Tensor:
    """Return features (N, T, 128) without mean and deviation over T."""
    lacking = _WINDOW // 2 + 1 - waveforms.shape[1]
    if lacking > 0:
        waveforms = torch.nn.functional.pad(waveforms, (0, lacking))
    mel = decibels(waveforms).transpose(1, 2)
    centred = mel - mel.mean(1, keepdim=True)
    # Several times as fast as torch.std along this axis.
    deviation = centred.square().mean(1, keepdim=True).sqrt()
    return centred / (deviation + _EPSILON)


def _alike(clips: list[np.ndarray]) -> Iterator[list[int]]:
    """Yield groups of positions whose clips have the same length."""
    by_length: dict[int, list[int]] = {}
    for row, clip in enumerate(clips):
        by_length.setdefault(len(clip), []).append(row)
    for rows in by_length.values():
        for start in range(0, len(rows), _AT_ONCE):
            yield rows[start : start + _AT_ONCE]
