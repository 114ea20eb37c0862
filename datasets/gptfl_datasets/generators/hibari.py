"""A small neural voice, varied into many speakers; weights come with its package (Apache-2.0).

The network of ``hibari-tts`` gives pitch and spectral envelopes for a vocoder that is plain signal
processing. Between the two, pitch, length of the vocal tract, intonation and spectral tilt are
changed, so one voice becomes men, women and children; a network trained on such words alone
recognises more real ones than after the unvaried voice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from gptfl_bench.core.randomness import numpy_rng
from gptfl_bench.synthesis.generator import Prompt, generators
from gptfl_datasets.generators.voices import (
    SpeechGenerator,
    Wave,
    absent,
    clip,
    fingerprint,
    unspoken,
)

if TYPE_CHECKING:
    from hibari import Hibari as Engine

# The vocoder takes a lower pitch for "not voiced".
_VOICED = 40.0
_PITCH_RANGE = (45.0, 600.0)


@dataclass(frozen=True)
class Speaker:
    """How the voice is changed; the defaults leave it as it is.

    Attributes:
        speed: Factor on the pace.
        pitch: Factor on the fundamental frequency, by nature about 210 Hz.
        formants: Factor on all resonances; above 1 for a shorter vocal tract.
        intonation: Exponent on the ups and downs of pitch; 0 is monotonous.
        tilt: Decibels an octave added to the spectrum around 1 kHz.
    """

    speed: float = 1.0
    pitch: float = 1.0
    formants: float = 1.0
    intonation: float = 1.0
    tilt: float = 0.0

    @classmethod
    def draw(cls, rng: np.random.Generator, *, varied: bool = True) -> "Speaker":
        """Return a random speaker, from 90 to 320 Hz; without ``varied`` only the pace differs."""
        speed = 1.4 ** rng.uniform(-1, 1)
        if not varied:
            return cls(speed)
        octaves = rng.uniform(-1.25, 0.6)
        return cls(
            speed,
            pitch=2**octaves,
            # Whoever has a low voice mostly has a long vocal tract, but not by a fixed rule.
            formants=2 ** (0.2 * octaves + rng.uniform(-0.13, 0.13)),
            intonation=rng.uniform(0.3, 1.8),
            tilt=rng.uniform(-3, 3),
        )


@generators.register(
    "hibari",
    title="Neural text-to-speech, one small voice varied into many speakers",
    source="hibari-tts (Apache-2.0)",
    year=2026,
    needs="gptfl-bench[hibari]",
)
@dataclass(frozen=True)
class Hibari(SpeechGenerator[str]):
    """Speaks English words, each with another speaker.

    Attributes:
        varied: Whether the voice is changed beyond its pace.
        VERSION: Names the rules here in cells' names; new whenever a clip changes.
    """

    varied: bool = True

    packages: ClassVar[tuple[str, ...]] = ("hibari",)
    VERSION: ClassVar[str] = "a331faba01b7e6c929516e5675234cd75568daa9a9a39caa2c1ff4e4c8056850"
    quick: ClassVar[bool] = True

    @cached_property
    def engine(self) -> "Engine":
        """The engine with the one voice that comes with it; others would be downloaded.

        Raises:
            UsageError: If it is not installed.
        """
        try:
            from hibari import Hibari as Engine

            return Engine(voice="heart", threads=1)
        except ImportError as error:
            raise absent("hibari", "hibari-tts", error) from error

    @property
    def fingerprint(self) -> str:
        """SHA-256 over settings, versions, weights, lexicons and the rules here.

        Raises:
            UsageError: If the engine is not installed.
        """
        assets = sorted(Path(self.engine.model_path).parent.iterdir())
        return fingerprint(
            ("hibari-tts", "onnxruntime"),
            self.VERSION,
            assets,
            (self.varied, self.seconds),
        )

    def _sounds(self, word: str) -> str:
        phonemes = " ".join(self.engine.phonemize(word))
        if not any(map(str.isalpha, phonemes)):
            raise unspoken("hibari", word)
        return phonemes

    def _speak(self, phonemes: str, prompt: Prompt) -> Wave:
        from hibari.dsp import SR, synth

        rng = numpy_rng(prompt.seed, "hibari")
        speaker = Speaker.draw(rng, varied=self.varied)
        ids = np.array([self.engine.ids(phonemes)], np.int64)
        speed = np.array([speaker.speed], np.float32)
        outputs = self.engine.sess.run(None, {"ids": ids, "speed": speed})
        wave = synth(*changed([output[0] for output in outputs], speaker, SR), rng)
        return clip(wave, SR, self.seconds, rng)


def changed(outputs: Sequence[Wave], speaker: Speaker, rate: int) -> list[Wave]:
    """Return what the network gave the vocoder, as if another speaker had spoken.

    Args:
        outputs: Log magnitude and phase of the harmonics, log magnitude of the noise, log magnitude
            and phase of the rest, each float32 (bins, frames), and pitch in Hz (frames,).
        speaker: The other speaker.
        rate: Samples a second; the bins reach to half of it.
    """
    harmonics, turn, noise, rest, phase, pitch = outputs
    bins = len(harmonics)
    place = np.minimum(np.arange(bins) / speaker.formants, bins - 1)
    hertz = np.arange(bins) * (rate / 2 / (bins - 1))
    octaves = np.log2(np.maximum(hertz, 100) / 1000)
    gain = (speaker.tilt * octaves * np.log(10) / 20).astype(np.float32)[:, None]

    voiced = pitch >= _VOICED
    new_pitch = pitch.copy()
    if voiced.any():
        middle = np.exp(np.log(pitch[voiced]).mean())
        moved = speaker.pitch * middle * (pitch[voiced] / middle) ** speaker.intonation
        new_pitch[voiced] = np.clip(moved, *_PITCH_RANGE)
    # A low voice has more harmonics: their power together stays the same.
    power = np.float32(np.log(speaker.pitch) / 2)
    # Phases are not interpolated: between two angles that differ much lies none that means a thing.
    nearest = place.round().astype(int)
    return [
        _between(harmonics, place) + gain + power,
        turn[nearest],
        _between(noise, place) + gain,
        _between(rest, place) + gain,
        phase[nearest],
        new_pitch,
    ]


def _between(values: Wave, place: np.ndarray) -> Wave:
    """Return rows at fractional places, interpolated linearly."""
    low = np.minimum(place.astype(int), len(values) - 2)
    share = (place - low).astype(np.float32)[:, None]
    between: Wave = values[low] * (1 - share) + values[low + 1] * share
    return between
