"""SpeechT5, the paper's generator of spoken words (section 3.1), with a voice drawn per utterance.

Ao et al., "SpeechT5", ACL 2022, arXiv 2110.07205; licence of the weights: MIT. As released, each
utterance gets an x-vector at random (there of ``Matthijs/cmu-arctic-xvectors``: seven speakers),
and the text is the bare word. A file of one row gives the variant with one voice.

Differs from the released code: it draws from all x-vectors (there the last is never drawn), and
all utterances have one length (there whatever the model says). Its weights are published in
pickles; loaded are the same in safetensors, which the hub's own converter has put beside them.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.randomness import isolated_torch_rng, numpy_rng
from gptfl_bench.data.task import Modality
from gptfl_bench.synthesis.generator import Prompt, Sample, Turn, Wanted, generators
from gptfl_datasets.backends.weights import (
    absent,
    check_rate,
    fingerprint,
    fitted,
    here,
    hub_answers,
    lacking,
    located,
    place,
    reason,
    silence,
)

if TYPE_CHECKING:
    from transformers import SpeechT5ForTextToSpeech, SpeechT5HifiGan, SpeechT5Processor

LARGEST_FILE = 1 << 28
"""Bytes of x-vectors at most: the released set takes 16 MB."""


@dataclass(frozen=True)
class Speaker:
    """What turns text into sound, loaded.

    Attributes:
        processor: From text to ids.
        model: From ids and an x-vector to a spectrum.
        vocoder: From a spectrum to sound.
    """

    processor: "SpeechT5Processor"
    model: "SpeechT5ForTextToSpeech"
    vocoder: "SpeechT5HifiGan"


@generators.register(
    "speecht5",
    title="SpeechT5 with HiFi-GAN, spoken words at 16 kHz",
    source="Ao et al., ACL 2022, arXiv 2110.07205",
    year=2022,
    needs="gptfl-bench[speech]; weights of 0.6 GB from the hub; generators.speecht5.xvectors=FILE",
)
@dataclass(frozen=True)
class SpeechT5:
    """Reads the texts of prompts aloud, one at a time.

    Attributes:
        xvectors: A file of voices, ``.npy`` or ``.safetensors`` with one array (voices, 512), such
            as the column ``xvector`` of ``regisss/cmu-arctic-xvectors`` on the hub.
        model: A folder in the layout of transformers, or an id of the hub, which may be followed
            by ``@`` and a revision; weights in safetensors.
        vocoder: Likewise.
        seconds: Length that utterances are padded or cut to.
        device: Where the models run; ``auto`` takes a GPU if there is one.
        local_files_only: Never look for the models outside this machine; so it is anyway with
            ``--no-download``, and where the hub is offline (``HF_HUB_OFFLINE=1``).
    """

    xvectors: str | None = None
    model: str = "microsoft/speecht5_tts@10abb8588a27521195b6c85b0121ac612546108e"
    vocoder: str = "microsoft/speecht5_hifigan@6f01b211b404df2e0a0a20ca79628a757bb35854"
    seconds: float = 1.0
    device: str = "auto"
    local_files_only: bool = False

    modalities: ClassVar[frozenset[Modality]] = frozenset({"speech"})
    turn: ClassVar[Turn] = Turn.WEIGHTS

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        if not 0.1 <= self.seconds <= 60:
            raise ValueError(f"seconds={self.seconds} must be from 0.1 to 60")

    @property
    def fingerprint(self) -> str:
        """SHA-256 over settings, versions, voices and, for folders, their files.

        Raises:
            UsageError: If the file of voices can't be used.
        """
        voices = hashlib.sha256(self._voices.tobytes()).hexdigest()
        return fingerprint(
            map(located, (self.model, self.vocoder)), self.seconds, self._voices.shape, voices
        )

    def generate(self, prompts: Sequence[Prompt]) -> Iterator[Sample]:
        """Return an iterator over one utterance for each prompt, in order.

        Raises:
            UsageError: If sentencepiece, the voices or the weights are not there, or don't belong
                together; raised before the first utterance.
        """
        voices, wanted = self._voices, self._speaker.model.config.speaker_embedding_dim
        if voices.shape[1] != wanted:
            raise UsageError(
                f"the voices in {self.xvectors!r} have {voices.shape[1]} numbers each, and "
                f"{self.model!r} needs {wanted}; give generators.speecht5.xvectors a file of "
                f"shape (voices, {wanted})."
            )
        return (Sample(self._say(prompt), prompt) for prompt in prompts)

    def lacks(self, wanted: Wanted) -> str:
        """Lack a GPU, weights on this machine, voices or the package that reads texts."""
        there = {
            model: here(*split(located(model)), "model.safetensors") is not None
            for model in (self.model, self.vocoder)
        }
        lacks = [lacking(self.device, "0.6 GB", there)]
        if self.xvectors is None or not Path(self.xvectors).expanduser().is_file():
            lacks.append("generators.speecht5.xvectors=FILE")
        if find_spec("sentencepiece") is None:
            lacks.append("pip install 'gptfl-bench[speech]'")
        return ", ".join(filter(None, lacks))

    def _say(self, prompt: Prompt) -> np.ndarray:
        speaker, voices = self._speaker, self._voices
        voice = torch.from_numpy(voices[numpy_rng(prompt.seed, "voice").integers(len(voices))])
        ids = speaker.processor(text=prompt.text, return_tensors="pt")["input_ids"]
        device = speaker.model.device
        # The decoder's first layers drop out at inference, too.
        with torch.inference_mode(), isolated_torch_rng(prompt.seed, "utterance"):
            wave = speaker.model.generate_speech(
                ids.to(device), voice[None].to(device), vocoder=speaker.vocoder
            )
        return fitted(cast(Tensor, wave).cpu().numpy(), self.seconds)

    @cached_property
    def _voices(self) -> np.ndarray:
        if self.xvectors is None:
            raise UsageError(
                "the generator 'speecht5' needs voices; set generators.speecht5.xvectors=FILE to "
                "x-vectors (voices, 512) in .npy or .safetensors, such as those of "
                "regisss/cmu-arctic-xvectors on the hub, or use speech that was made elsewhere "
                "(synthetic.generator=folder)."
            )
        return read_voices(Path(self.xvectors).expanduser())

    @cached_property
    def _speaker(self) -> Speaker:
        if find_spec("sentencepiece") is None:
            raise UsageError(
                "the generator 'speecht5' needs the package sentencepiece; install "
                "gptfl-bench[speech], or use speech that was made elsewhere "
                "(synthetic.generator=folder)."
            )
        from transformers import SpeechT5ForTextToSpeech, SpeechT5HifiGan, SpeechT5Processor

        device, _ = place(self.device, "float32")
        # Weights in pickles are refused, here and below: they could run anything.
        with self._source("model", self.model) as (name, where):
            processor = SpeechT5Processor.from_pretrained(name, **where)
            model = SpeechT5ForTextToSpeech.from_pretrained(name, use_safetensors=True, **where)
        with self._source("vocoder", self.vocoder) as (name, where):
            vocoder = SpeechT5HifiGan.from_pretrained(name, use_safetensors=True, **where)
        check_rate("speecht5", self.vocoder, vocoder.config.sampling_rate)
        parts: tuple[nn.Module, ...] = (model, vocoder)
        for part in parts:
            part.to(device)
        return Speaker(processor, model, vocoder)

    @contextmanager
    def _source(self, field: str, value: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Give the folder or id in a field and what to load from there with, in silence.

        Raises:
            UsageError: If loading fails inside the block.
        """
        name, revision = split(located(value))
        remote = not (self.local_files_only or Path(name).is_dir()) and hub_answers(name, revision)
        try:
            with silence():
                yield name, {"revision": revision, "local_files_only": not remote}
        except (OSError, ValueError) as error:
            raise absent("speecht5", field, located(value), "0.6 GB", error) from error


def split(model: str) -> tuple[str, str]:
    """Return the folder or id in a setting, and its revision.

    >>> split("someone/something@0a1b")
    ('someone/something', '0a1b')
    >>> split("someone/something")
    ('someone/something', 'main')
    """
    if Path(model).is_dir():
        return model, "main"
    name, _, revision = model.partition("@")
    return name, revision or "main"


def read_voices(path: Path) -> np.ndarray:
    """Return the x-vectors in a file, float32 (voices, numbers).

    Raises:
        UsageError: If the file is not there, damaged, of another kind or shape, or not finite.
    """
    from safetensors.numpy import load

    how = "give generators.speecht5.xvectors a .npy or .safetensors file of shape (voices, 512)"
    if path.suffix not in (".npy", ".safetensors"):
        raise UsageError(f"{str(path)!r} is no file of x-vectors; {how}.")
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise UsageError(
                f"{str(path)!r} has {path.stat().st_size:,} bytes, and x-vectors may have "
                f"{LARGEST_FILE:,}; {how}."
            )
        if path.suffix == ".npy":
            arrays = [np.load(path, mmap_mode="r", allow_pickle=False)]
        else:
            arrays = list(load(path.read_bytes()).values())
    except UsageError:
        raise
    except Exception as error:  # Both readers have many errors for damaged files.
        raise UsageError(
            f"the x-vectors {str(path)!r} can't be read ({reason(error)}); {how}."
        ) from error
    shapes = [array.shape for array in arrays]
    if len(arrays) != 1 or arrays[0].ndim != 2 or 0 in shapes[0] or arrays[0].dtype.kind != "f":
        kinds = ", ".join(f"{array.dtype} {array.shape}" for array in arrays) or "nothing"
        raise UsageError(f"{str(path)!r} holds {kinds}, not one table of numbers; {how}.")
    voices = np.array(arrays[0], np.float32)
    if not np.isfinite(voices).all():
        raise UsageError(f"{str(path)!r} has numbers that are not finite; {how}.")
    return voices
