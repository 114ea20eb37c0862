"""Generators behind an OpenAI-compatible HTTP endpoint, of images and of speech.

The paper uses generative models as a service, by their API alone (section 3.3). What a service
returns is not under this machine's control: the same prompt may give another sample tomorrow, or
after the model behind the name has changed. Samples are kept once made, so one set serves all runs.
"""

import base64
import binascii
import hashlib
import json
import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import numpy as np

from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.randomness import numpy_rng
from gptfl_bench.data.task import Modality
from gptfl_bench.synthesis.generator import Plain, Prompt, Sample, generators
from gptfl_datasets.backends.answers import found_at
from gptfl_datasets.backends.openai import Moderated, Service
from gptfl_datasets.backends.weights import fitted as fitted_sound
from gptfl_datasets.backends.words import spoken
from gptfl_datasets.files.audio import decode as decode_audio
from gptfl_datasets.files.pictures import decode as decode_picture
from gptfl_datasets.files.pictures import fitted

_MOST_OF_IMAGE = 64 << 20
_MOST_OF_SOUND = 32 << 20
# What services that take a seed at all take without overflow.
_SEEDS = 1 << 31
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _MediaService(Service, ABC):
    """A service that makes one sample a request.

    Attributes:
        refusals: How many prompts of each label the service refused so far.
    """

    refusals: Counter[str] = field(default_factory=Counter, init=False, repr=False, compare=False)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over address, model and settings; not over the key or the name of its variable.

        The weights behind a service can't be known.
        """
        values = [type(self).__name__, self.base_url, self.model, *self._settings()]
        return hashlib.sha256(json.dumps(values).encode()).hexdigest()

    def generate(self, prompts: Sequence[Prompt]) -> Iterator[Sample]:
        """Yield one sample for each prompt, in order.

        A prompt that the service refuses for what it says is counted and replaced, in the sample
        too, by the label alone.

        Raises:
            UsageError: If address, model or key is missing, raised before the first sample; if the
                service does not answer as it should; or if it refuses a label.
        """
        self.check()
        return self._generate(prompts)

    def _generate(self, prompts: Sequence[Prompt]) -> Iterator[Sample]:
        refused = 0
        for prompt, sample in zip(prompts, self.each(self._sample, prompts), strict=True):
            if sample.prompt != prompt:
                self.refusals[prompt.label] += 1
                refused += 1
            yield sample
        if refused:
            _log.warning(
                "%s: the service refused %d of %d prompts and was given the label alone",
                self.setting.rpartition(".")[2],
                refused,
                len(prompts),
            )

    def _sample(self, prompt: Prompt) -> Sample:
        plain = replace(prompt, text=spoken(prompt.label))
        # Once if both are the same.
        for asked in dict.fromkeys((prompt, plain)):
            try:
                return Sample(self._media(asked), asked)
            except Moderated:
                continue
        raise self.refusal(f"its moderation refuses even the label {prompt.label!r} alone")

    def _unusable(self, prompt: Prompt, error: UsageError) -> UsageError:
        reason = str(error).partition(";")[0].rstrip(".")
        return self.refusal(f"what it made for the label {prompt.label!r} is no use: {reason}")

    @abstractmethod
    def _media(self, prompt: Prompt) -> np.ndarray:
        """Return what the service makes from a prompt."""

    @abstractmethod
    def _settings(self) -> list[Plain]:
        """Return what determines a sample beside address, model and prompt."""


@generators.register(
    "http_image",
    title="Images from an OpenAI-compatible service over HTTP",
    source="POST {base_url}/images/generations",
    needs="base_url, model and an API key in the environment",
)
@dataclass(frozen=True)
class HttpImage(_MediaService):
    """Asks a service for images, one a request.

    Attributes:
        size: Height and width that images are scaled and cut to.
        resolution: Width x height the service is asked for; None for its default.
        response_format: How it is told to send the image itself; None for models that always do
            and refuse the parameter.
        extensions: Also send the prompt's ``guidance_scale`` and a ``seed``, which many servers
            take and OpenAI's own refuses.
    """

    size: int = 32
    resolution: str | None = "1024x1024"
    response_format: Literal["b64_json"] | None = "b64_json"
    extensions: bool = False

    modalities: ClassVar[frozenset[Modality]] = frozenset({"image"})
    setting: ClassVar[str] = "generators.http_image"

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        super().__post_init__()
        if not 8 <= self.size <= 1024:
            raise ValueError(f"size={self.size} must be from 8 to 1024")

    def _media(self, prompt: Prompt) -> np.ndarray:
        """Return the image for a prompt, uint8 (size, size, 3)."""
        asked: dict[str, Plain] = {"model": self.model, "prompt": prompt.text, "n": 1}
        if self.resolution:
            asked["size"] = self.resolution
        if self.response_format:
            asked["response_format"] = self.response_format
        if self.extensions:
            asked |= {"seed": prompt.seed % _SEEDS, "guidance_scale": prompt.guidance}
        answer = self.post_for_json("images/generations", asked, most=_MOST_OF_IMAGE)
        text = found_at(answer, "data", 0, "b64_json")
        if not isinstance(text, str):
            raise self.refusal("its answer has no image in data[0].b64_json")
        try:
            data = base64.b64decode(text, validate=True)
        # ValueError: signs beyond ASCII.
        except (binascii.Error, ValueError) as error:
            raise self.refusal("its answer's b64_json is no base64") from error
        try:
            return fitted(decode_picture(data, "the image"), self.size)
        except UsageError as error:
            raise self._unusable(prompt, error) from error

    def _settings(self) -> list[Plain]:
        return [self.size, self.resolution, self.response_format, self.extensions]


@generators.register(
    "http_speech",
    title="Speech from an OpenAI-compatible service over HTTP",
    source="POST {base_url}/audio/speech",
    needs="base_url, model and an API key in the environment",
)
@dataclass(frozen=True)
class HttpSpeech(_MediaService):
    """Asks a service to speak, one prompt a request.

    Attributes:
        voices: Names of voices, separated by commas; each sample's is drawn with its seed, as the
            released code draws a speaker for each utterance.
        seconds: Length that sounds are padded or cut to.
    """

    voices: str = "alloy"
    seconds: float = 1.0

    modalities: ClassVar[frozenset[Modality]] = frozenset({"speech"})
    setting: ClassVar[str] = "generators.http_speech"

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        super().__post_init__()
        if not all(self._voices()):
            raise ValueError(f"voices={self.voices!r} must be names separated by commas")
        if not 0.1 <= self.seconds <= 60:
            raise ValueError(f"seconds={self.seconds} must be from 0.1 to 60")

    def _media(self, prompt: Prompt) -> np.ndarray:
        """Return the sound for a prompt, float32 (time,) in [-1, 1]."""
        voices = self._voices()
        voice = voices[int(numpy_rng(prompt.seed, "voice").integers(len(voices)))]
        asked: dict[str, Plain] = {
            "model": self.model,
            "input": prompt.text,
            "voice": voice,
            "response_format": "wav",
        }
        data = self.post(
            "audio/speech",
            asked,
            media_type="audio/.*|application/octet-stream",
            most=_MOST_OF_SOUND,
        )
        try:
            heard = decode_audio(data, "the sound", seconds=self.seconds)
        except UsageError as error:
            raise self._unusable(prompt, error) from error
        return fitted_sound(heard, self.seconds)

    def _settings(self) -> list[Plain]:
        return [self.voices, self.seconds]

    def _voices(self) -> list[str]:
        return [voice.strip() for voice in self.voices.split(",")]
