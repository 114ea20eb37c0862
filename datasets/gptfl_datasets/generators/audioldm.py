"""AudioLDM, the paper's generator of environmental sounds (section 3.1), and AudioLDM 2.

As released: 100 denoising steps, 5 seconds at 16 kHz, the scheduler of the checkpoint, no negative
prompt. Liu et al., "AudioLDM", ICML 2023, arXiv 2301.12503; Liu et al., "AudioLDM 2", IEEE/ACM
TASLP 2024, arXiv 2308.05734. Licence of the weights: CC BY-NC-SA 4.0.

Differs from the released code: it takes ``cvssp/audioldm``, which is published in pickles alone
and therefore refused; ``cvssp/audioldm-s-full-v2`` is the same model trained for longer, in
safetensors. Guidance is what the prompt says; each sound has a seed of its own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import nn

from gptfl_bench.core.errors import UsageError
from gptfl_bench.data.task import Modality
from gptfl_bench.synthesis.generator import Prompt, Sample, Turn, Wanted, generators
from gptfl_datasets.backends.weights import (
    Precision,
    absent,
    check_rate,
    fingerprint,
    fitted,
    lacking,
    located,
    pipeline_here,
    place,
)
from gptfl_datasets.generators.diffusion import GuidancePerImage, load_pipeline

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline
    from transformers import PreTrainedModel

Version = Literal["audioldm", "audioldm2"]
CLASSES: dict[Version, str] = {"audioldm": "AudioLDMPipeline", "audioldm2": "AudioLDM2Pipeline"}
MODELS: dict[Version, str] = {
    "audioldm": "cvssp/audioldm-s-full-v2",
    "audioldm2": "cvssp/audioldm2",
}
SIZES: dict[Version, str] = {"audioldm": "1.7 GB", "audioldm2": "several GB"}


@generators.register(
    "audioldm",
    title="AudioLDM or AudioLDM 2, environmental sounds at 16 kHz",
    source="Liu et al., ICML 2023, arXiv 2301.12503",
    year=2023,
    needs="weights of 1.7 GB from the hub or generators.audioldm.model=FOLDER; a GPU",
)
@dataclass(frozen=True)
class AudioLDM:
    """Asks a text-to-audio pipeline.

    Attributes:
        pipeline: AudioLDM, which diffusers keeps without care, or AudioLDM 2.
        model: An id of the hub or a folder that diffusers saved, with weights in safetensors; None
            takes the one that belongs to ``pipeline``.
        steps: Denoising steps.
        seconds: Length of every sound.
        batch_size: Sounds made at once by AudioLDM; does not matter to them, but for rounding.
        device: Where the pipeline runs; ``auto`` takes a GPU if there is one.
        dtype: What its weights are turned into.
        local_files_only: Never look for the model outside this machine; so it is anyway with
            ``--no-download``, and where the hub is offline (``HF_HUB_OFFLINE=1``).
    """

    pipeline: Version = "audioldm"
    model: str | None = None
    steps: int = 100
    seconds: float = 5.0
    batch_size: int = 4
    device: str = "auto"
    dtype: Precision = "auto"
    local_files_only: bool = False

    modalities: ClassVar[frozenset[Modality]] = frozenset({"sound"})
    turn: ClassVar[Turn] = Turn.WEIGHTS

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        if not 1 <= self.steps <= 1000:
            raise ValueError(f"steps={self.steps} must be from 1 to 1000")
        if not 0.1 <= self.seconds <= 60:
            raise ValueError(f"seconds={self.seconds} must be from 0.1 to 60")
        if self.batch_size < 1:
            raise ValueError(f"batch_size={self.batch_size} must be at least 1")

    @property
    def fingerprint(self) -> str:
        """SHA-256 over settings, versions and, for a folder, its files."""
        _, dtype = place(self.device, self.dtype)
        return fingerprint([self._model], self.pipeline, self.steps, self.seconds, str(dtype))

    def lacks(self, wanted: Wanted) -> str:
        """Lack a GPU, or weights on this machine."""
        there = {self._model: pipeline_here(self._model)}
        return lacking(self.device, SIZES[self.pipeline], there)

    @property
    def _model(self) -> str:
        return located(MODELS[self.pipeline] if self.model is None else self.model)

    @cached_property
    def _service(self) -> "DiffusionPipeline":
        import diffusers

        wanted = CLASSES[self.pipeline]
        if not hasattr(diffusers, wanted):
            raise UsageError(
                f"diffusers {diffusers.__version__} has no {wanted} any more; install an older "
                "one, set generators.audioldm.pipeline=audioldm2, or use sounds that were made "
                "elsewhere (synthetic.generator=folder)."
            )
        device, dtype = place(self.device, self.dtype)
        try:
            pipeline = load_pipeline(
                self._model, device=device, dtype=dtype, local_files_only=self.local_files_only
            )
        except UsageError as error:
            cause = error.__cause__ or error
            raise absent("audioldm", "model", self._model, SIZES[self.pipeline], cause) from error
        if type(pipeline).__name__ != wanted:
            raise UsageError(
                f"{self._model!r} holds a {type(pipeline).__name__}, and the generator 'audioldm' "
                f"needs an {wanted}; set generators.audioldm.model or .pipeline to what fits."
            )
        check_rate("audioldm", self._model, pipeline.vocoder.config.sampling_rate)
        # The solver for images was put in its place; its settings remember the checkpoint's own.
        pipeline.scheduler = diffusers.DDIMScheduler.from_config(pipeline.scheduler.config)
        if self.pipeline == "audioldm2":
            pipeline.language_model = with_head(pipeline.language_model)
        return pipeline

    def generate(self, prompts: Sequence[Prompt]) -> Iterator[Sample]:
        """Return an iterator over one sound for each prompt, in order.

        Raises:
            UsageError: If the weights are not there; raised before the first sound.
        """
        _ = self._service
        return self._sounds(prompts)

    def _sounds(self, prompts: Sequence[Prompt]) -> Iterator[Sample]:
        # AudioLDM 2 pads a prompt to the longest beside it, and its language model hears that.
        together = 1 if self.pipeline == "audioldm2" else self.batch_size
        for start in range(0, len(prompts), together):
            batch = prompts[start : start + together]
            sounds = self._service(
                [prompt.text for prompt in batch],
                audio_length_in_s=self.seconds,
                num_inference_steps=self.steps,
                guidance_scale=GuidancePerImage([prompt.guidance for prompt in batch]),
                # One generator a sound, so that it depends on nothing else in the batch.
                generator=[torch.Generator().manual_seed(prompt.seed) for prompt in batch],
                output_type="np",
            ).audios
            for sound, prompt in zip(sounds, batch, strict=True):
                yield Sample(fitted(sound, self.seconds), prompt)


def with_head(model: "PreTrainedModel") -> "PreTrainedModel":
    """Return AudioLDM 2's language model as one that can generate.

    The published checkpoint holds a bare ``GPT2Model``, which in transformers 5 has not the methods
    that the pipeline calls; the head itself is never asked.
    """
    from transformers import GPT2LMHeadModel, GPT2Model

    if not isinstance(model, GPT2Model):
        return model
    headed = GPT2LMHeadModel(model.config)
    headed.transformer = model
    head: nn.Module = headed.lm_head
    head.to(device=model.device, dtype=model.dtype)
    return headed
