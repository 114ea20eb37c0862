"""Network input from stored log-mel features: shifts in time and masks of a batch.

FedAudio and GPT-FL augment nothing. The masks are those of SpecAugment: Park et al.,
"SpecAugment: A Simple Data Augmentation Method for Automatic Speech Recognition", Interspeech 2019,
arXiv 1904.08779, one of each kind; its time warp is left out. Features have mean zero in each bin,
so zero is the mean value that the paper masks with.

Letters in shapes: b clips, T frames, M mel bins.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from gptfl_bench.core.device import bring
from gptfl_bench.core.errors import unknown

AudioAugmentation = Literal["paper", "masks"]


@dataclass(frozen=True)
class AudioPipeline:
    """A transform of samples: stored float16 (b, T, M) to float32 (b, T, M).

    With a generator each clip is shifted, then masked; widths are drawn from 0 to the largest, all
    equally likely. Draws are made on the CPU, for all clips of a batch at once.

    Attributes:
        shift: Most frames a clip is moved either way; what comes in from outside is zero.
        bins: Widest mask of mel bins, 0 for none; the paper's F.
        frames: Widest mask of frames, 0 for none; the paper's T.
    """

    shift: int = 0
    bins: int = 0
    frames: int = 0

    def __post_init__(self) -> None:
        """Refuse impossible values.

        Raises:
            ValueError: Naming the field, its value and what is allowed.
        """
        for name in ("shift", "bins", "frames"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} must be 0 or more")

    def __call__(self, x: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Return network input, augmented if there is a generator."""
        if rng is None or not (self.shift or self.bins or self.frames):
            return x.float()
        count, length, bins = x.shape
        source, visible = self._moved(count, length, rng)
        visible = visible & ~_mask(count, length, self.frames, rng)
        heard = ~_mask(count, bins, self.bins, rng)
        clips = torch.arange(count, device=x.device)[:, None]
        features = x[clips, bring(source, x.device)].float()
        visible, heard = (bring(mask, x.device).to(features) for mask in (visible, heard))
        return features.mul_(visible[:, :, None]).mul_(heard[:, None])

    def _moved(self, count: int, length: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return which frame comes to each place and whether there was one, (b, T) both."""
        shift = torch.randint(-self.shift, self.shift + 1, (count, 1), generator=rng)
        source = torch.arange(length) - shift
        return source.clamp(0, length - 1), (source >= 0) & (source < length)


def audio_pipeline(augmentation: AudioAugmentation = "paper") -> AudioPipeline:
    """Return the transform of features; the same for clients, synthetic samples and tests.

    ``"paper"`` augments nothing. ``"masks"`` shifts by up to 10 frames (0.1 s) and masks up to 24
    bins and up to 20 frames.

    Raises:
        UsageError: If ``augmentation`` is unknown.
    """
    if augmentation not in get_args(AudioAugmentation):
        raise unknown("augmentation", augmentation, get_args(AudioAugmentation))
    return AudioPipeline(10, 24, 20) if augmentation == "masks" else AudioPipeline()


def _mask(count: int, length: int, widest: int, rng: torch.Generator) -> Tensor:
    """Return a run of places for each clip, at any position where it fits, bool (b, length)."""
    width = torch.randint(min(widest, length) + 1, (count, 1), generator=rng)
    first = (torch.rand(count, 1, generator=rng) * (length - width + 1)).long()
    place = torch.arange(length)
    return (place >= first) & (place < first + width)
