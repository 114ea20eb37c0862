"""What the generators that speak share: what they say, and the clip it ends up in."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from gptfl_bench.core.errors import UsageError
from gptfl_bench.data.task import Modality
from gptfl_bench.synthesis.generator import SAMPLE_RATE, Prompt, Sample, Turn, Wanted

Wave = NDArray[np.float32]
Sounds = TypeVar("Sounds")
"""What an engine is given to speak: a word, phonemes or their numbers."""

VERSION = "9208fa873296ce953d0b3920dd61072318fee3ca964072a8ff7082ea97286987"
"""Names the rules of this file in cells' names; new whenever a clip changes."""

_FRAME = SAMPLE_RATE // 100
# Level below the loudest frame that counts as silence (-40 dB), and what is kept around the rest.
_SILENCE = 0.01
_MARGIN = 2 * _FRAME
# The peak is drawn from these powers of ten: -26 to -1 dB below full scale.
_PEAK = (-1.3, -0.05)


def said(prompt: Prompt) -> str:
    """Return what is spoken: the label alone, its underscores as blanks.

    As in the paper's code; a speaker would read out whatever else a prompt says.
    """
    return " ".join(prompt.label.replace("_", " ").split())


@dataclass(frozen=True)
class SpeechGenerator(ABC, Generic[Sounds]):
    """A generator that speaks labels, each with another voice.

    Attributes:
        seconds: Length of a clip.
    """

    modalities: ClassVar[frozenset[Modality]] = frozenset({"speech"})
    turn: ClassVar[Turn] = Turn.NEURAL_VOICE
    packages: ClassVar[tuple[str, ...]]
    """Modules of the engine and its voice, which the extra of the generator's name installs."""

    seconds: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        """Refuse a length of clips outside 0.1 to 60 seconds.

        Raises:
            ValueError: Naming the value.
        """
        if not 0.1 <= self.seconds <= 60:
            raise ValueError(f"seconds={self.seconds} must be from 0.1 to 60")

    def generate(self, prompts: Sequence[Prompt]) -> Iterator[Sample]:
        """Yield one spoken label for each prompt, in order.

        Raises:
            UsageError: If the engine is not installed, its voice can't be used, or a label can't be
                spoken; raised before the first sample.
        """
        words = {word: self._sounds(word) for word in dict.fromkeys(map(said, prompts))}
        return (Sample(self._speak(words[said(prompt)], prompt), prompt) for prompt in prompts)

    def lacks(self, wanted: Wanted) -> str:
        """Lack the packages of the engine."""
        if all(find_spec(package) for package in self.packages):
            return ""
        return f"pip install 'gptfl-bench[{type(self).__name__.lower()}]'"

    @abstractmethod
    def _sounds(self, word: str) -> Sounds:
        """Return what the engine is to speak for a word.

        Raises:
            UsageError: If it can't speak it.
        """

    @abstractmethod
    def _speak(self, sounds: Sounds, prompt: Prompt) -> Wave:
        """Return a clip, (seconds x 16,000,), with the voice of a prompt."""


def clip(wave: Wave, rate: int, seconds: float, rng: np.random.Generator) -> Wave:
    """Return a word as a recording holds it: somewhere in a clip, at some level.

    Silence around the word is cut away; then it is put at a random place into digital silence, or
    cut at its end where the clip is shorter, and scaled to a random peak.

    Args:
        wave: A word (time,), not all silent.
        rate: Its samples a second.
        seconds: Length of the clip.
        rng: Draws place and peak.

    Returns:
        float32 (seconds x 16,000,) in [-1, 1].
    """
    from torchaudio.functional import resample

    resampled = resample(torch.from_numpy(wave.astype(np.float32)), rate, SAMPLE_RATE).numpy()
    length = round(seconds * SAMPLE_RATE)
    word = trimmed(resampled)[:length]
    start = rng.integers(length - len(word) + 1)
    peak = 10 ** rng.uniform(*_PEAK)
    whole = np.zeros(length, np.float32)
    whole[start : start + len(word)] = word * (peak / np.abs(word).max())
    return whole


def trimmed(wave: Wave) -> Wave:
    """Return the part of a wave at 16 kHz from its first to its last frame that is not silent."""
    padded = np.pad(wave, (0, -len(wave) % _FRAME)).reshape(-1, _FRAME)
    level = np.sqrt((padded**2).mean(1))
    loud = np.flatnonzero(level > level.max() * _SILENCE)
    first, last = loud[0] * _FRAME, (loud[-1] + 1) * _FRAME
    return wave[max(first - _MARGIN, 0) : last + _MARGIN]


def fingerprint(
    packages: Iterable[str], version_of_ours: str, files: Iterable[Path], settings: object
) -> str:
    """Return a SHA-256 over settings, versions of packages and code, and contents of files."""
    digest = hashlib.sha256(repr(settings).encode())
    for package in packages:
        digest.update(f"{package} {version(package)}".encode())
    for ours in (VERSION, version_of_ours):
        digest.update(bytes.fromhex(ours))
    for path in files:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def absent(name: str, package: str, error: BaseException) -> UsageError:
    """Return the error for a speech engine that is not installed or can't be loaded."""
    return UsageError(
        f"the generator {name!r} needs the package {package!r}, which can't be loaded ({error}); "
        f"install gptfl-bench[{name}], or use speech that was made elsewhere "
        "(synthetic.generator=folder)."
    )


def unspoken(name: str, word: str) -> UsageError:
    """Return the error for a label of which an engine makes no sound."""
    return UsageError(
        f"the generator {name!r} finds nothing to say in the label {word!r}; rename the class to "
        "an English word, or use speech that was made elsewhere (synthetic.generator=folder)."
    )
