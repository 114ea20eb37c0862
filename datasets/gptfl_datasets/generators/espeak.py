"""Hundreds of simple formant voices by eSpeak NG; the library is GPL-3, so it is an extra.

The library and its data come with ``espeakng-loader`` and are called directly. Its voices sound
like machines, but there are many: accents times variants, at any pitch, range and pace.
"""

import _ctypes
import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.randomness import numpy_rng
from gptfl_bench.synthesis.generator import Prompt, Turn, generators
from gptfl_datasets.generators.voices import (
    SpeechGenerator,
    Wave,
    absent,
    clip,
    fingerprint,
    unspoken,
)

ACCENTS = (
    "en",
    "en-us",
    "en-us-nyc",
    "en-029",
    "en-gb-scotland",
    "en-gb-x-rp",
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
)
"""Names of the accents of English."""

_VARIANTS = "voices/!v"
# Effects that nobody's voice has.
_EFFECTS = ("robo", "unirobot", "anikarobot", "demonic", "croak", "whisper", "fast")
# Their breath comes from the process's random numbers, which the library's seed does not reach.
_UNSEEDED = ("reed", "caleb", "klatt6")

# Constants of the library's speak_lib.h.
_SYNCHRONOUS = 2
_DO_NOT_EXIT = 0x8000
_BY_CHARACTER = 1
_UTF8 = 1
_RATE, _PITCH, _RANGE = 1, 3, 4

_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


@dataclass(frozen=True)
class Speaker:
    """A voice and how it is used.

    Attributes:
        name: Accent and variant, as the library names them together.
        pitch: From 0 to 100; 50 is the voice's own.
        range: Ups and downs of pitch from 0 to 100; 50 is the voice's own.
        rate: Words a minute.
        seed: Of the noise in breath and consonants.
    """

    name: str
    pitch: int
    range: int
    rate: int
    seed: int


@generators.register(
    "espeak",
    title="Formant speech synthesis, hundreds of voices that sound like machines",
    source="eSpeak NG (GPL-3)",
    year=2024,
    needs="gptfl-bench[espeak]",
)
@dataclass(frozen=True)
class Espeak(SpeechGenerator[str]):
    """Speaks English words, each with another voice.

    Attributes:
        VERSION: Names the rules here in cells' names; new whenever a clip changes.
    """

    packages: ClassVar[tuple[str, ...]] = ("espeakng_loader",)
    turn: ClassVar[Turn] = Turn.FORMANT_VOICE
    VERSION: ClassVar[str] = "3da7efeace73193566b0369d0508ed59c2e53cb6965d50efb66b2b7c53664261"
    quick: ClassVar[bool] = True

    @property
    def fingerprint(self) -> str:
        """SHA-256 over settings, version, library, its data and the rules here.

        Raises:
            UsageError: If the library is not installed.
        """
        library, data = self._files
        # Of the dictionaries only the English one matters.
        used = [*data.glob("phon*"), data / "intonations", data / "en_dict"]
        used += [*(data / "lang/gmw").glob("en*"), *(data / _VARIANTS).iterdir()]
        files = (library, *sorted(used))
        return fingerprint(("espeakng-loader",), self.VERSION, files, self.seconds)

    @cached_property
    def variants(self) -> Sequence[str]:
        """The variants that every accent can be spoken in, in alphabetical order.

        Raises:
            UsageError: If the library is not installed.
        """
        names = sorted(path.name for path in (self._files[1] / _VARIANTS).iterdir())
        return [name for name in names if not name.lower().startswith(_EFFECTS + _UNSEEDED)]

    def speaker(self, rng: np.random.Generator) -> Speaker:
        """Return a random speaker."""
        return Speaker(
            f"{rng.choice(ACCENTS)}+{rng.choice(self.variants)}",
            pitch=int(rng.integers(20, 81)),
            range=int(rng.integers(20, 81)),
            rate=int(rng.integers(110, 221)),
            seed=int(rng.integers(1, 2**31)),
        )

    def speak(self, word: str, speaker: Speaker) -> tuple[Wave, int]:
        """Return a word as float32 (time,) in [-1, 1], and its samples a second.

        Raises:
            UsageError: If the library is not installed or refuses a step.
        """
        library_path, data = self._files
        parts = [np.zeros(1, np.int16)]

        def keep(samples: "ctypes._Pointer[ctypes.c_short]", count: int, _: int | None) -> int:
            if samples and count > 0:
                parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
            return 0

        text = word.encode()
        with _fresh(library_path) as library:
            rate = library.espeak_Initialize(_SYNCHRONOUS, 0, str(data).encode(), _DO_NOT_EXIT)
            if rate <= 0:
                raise _failed("espeak_Initialize", rate)
            callback = _CALLBACK(keep)
            library.espeak_SetSynthCallback(callback)
            # Where a name is unknown, the library would silently go on with another voice.
            _call(library, "espeak_SetVoiceByName", speaker.name.encode())
            _call(library, "espeak_ng_SetRandSeed", ctypes.c_long(speaker.seed))
            for parameter, value in (
                (_RATE, speaker.rate),
                (_PITCH, speaker.pitch),
                (_RANGE, speaker.range),
            ):
                _call(library, "espeak_SetParameter", parameter, value, 0)
            size = ctypes.c_size_t(len(text) + 1)
            _call(library, "espeak_Synth", text, size, 0, _BY_CHARACTER, 0, _UTF8, None, None)
            _call(library, "espeak_Terminate")
        return np.concatenate(parts).astype(np.float32) / np.float32(2**15), rate

    @cached_property
    def _files(self) -> tuple[Path, Path]:
        """The library and the folder of its data."""
        try:
            import espeakng_loader
        except ImportError as error:
            raise absent("espeak", "espeakng-loader", error) from error
        return Path(espeakng_loader.get_library_path()), Path(espeakng_loader.get_data_path())

    def _sounds(self, word: str) -> str:
        plain = Speaker("en-us", pitch=50, range=50, rate=175, seed=0)
        if not self.speak(word, plain)[0].any():
            raise unspoken("espeak", word)
        return word

    def _speak(self, sounds: str, prompt: Prompt) -> Wave:
        rng = numpy_rng(prompt.seed, "espeak")
        wave, rate = self.speak(sounds, self.speaker(rng))
        return clip(wave, rate, self.seconds, rng)


@contextmanager
def _fresh(path: Path) -> Iterator[ctypes.CDLL]:
    """Load the library, and unload it in the end.

    It has state that no call resets, such as where its wavering of pitch has got to: a word would
    depend on those before it. To load it anew takes two milliseconds.
    """
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise absent("espeak", "espeakng-loader", error) from error
    try:
        yield library
    finally:
        unload = getattr(_ctypes, "dlclose", None) or _ctypes.FreeLibrary  # type: ignore[attr-defined]
        unload(library._handle)


def _call(library: ctypes.CDLL, function: str, *arguments: object) -> None:
    code = getattr(library, function)(*arguments)
    if code != 0:
        raise _failed(function, code)


def _failed(function: str, code: int) -> UsageError:
    return UsageError(
        f"the generator 'espeak' can't work: {function} of its library returned {code}; install "
        "gptfl-bench[espeak] anew, or use speech that was made elsewhere "
        "(synthetic.generator=folder)."
    )
