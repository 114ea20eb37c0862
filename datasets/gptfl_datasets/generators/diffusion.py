"""Text-to-image diffusion behind a generator's call; any diffusers pipeline folder or id will do.

As in the paper (section 3.1) the scheduler is the multistep DPM-Solver, each image has its own
guidance scale, and no negative prompt is given.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from gptfl_bench.core.errors import UsageError
from gptfl_bench.data.task import Modality
from gptfl_bench.synthesis.generator import Prompt, Sample
from gptfl_datasets.backends.weights import silence, weights_sha256

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


def load_pipeline(
    model: str | Path,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    local_files_only: bool = False,
) -> "DiffusionPipeline":
    """Return the text-to-image pipeline in a folder or under an id, with DPM-Solver as scheduler.

    Args:
        model: A folder that diffusers saved, or a model's id.
        device: Where it runs.
        dtype: What its weights are turned into.
        local_files_only: Never look for the model outside this machine.

    Raises:
        UsageError: If there is no such pipeline.
    """
    from diffusers import DiffusionPipeline, DPMSolverMultistepScheduler

    try:
        with silence():
            # Weights in pickles are refused: they could run anything.
            pipeline = DiffusionPipeline.from_pretrained(
                str(model), local_files_only=local_files_only, use_safetensors=True
            ).to(device, dtype)
    except (OSError, ValueError) as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
        raise UsageError(
            f"the diffusion model {str(model)!r} can't be loaded ({first_line}); give a folder "
            "that diffusers saved or the id of a model that this machine can reach."
        ) from error
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


class GuidancePerImage:
    """A guidance scale for each image of a batch, in the place of the single number.

    Pipelines use the number twice: they ask whether it is above 1, and multiply the guidance
    direction (B, ...) with it. A scale of 1 or less means no guidance, as in the pipelines.
    """

    def __init__(self, scales: Sequence[float]) -> None:
        self.scales = [max(1.0, scale) for scale in scales]

    def __gt__(self, bound: float) -> bool:
        """Return whether any image's scale is above ``bound``."""
        return max(self.scales) > bound

    def __mul__(self, direction: Tensor) -> Tensor:
        """Return each image's direction times its scale."""
        scales = direction.new_tensor(self.scales)
        return scales.view(-1, *[1] * (direction.ndim - 1)) * direction


@dataclass(frozen=True)
class TextToImage:
    """A generator that asks a diffusion pipeline.

    Attributes:
        model: A folder that diffusers saved, or a model's id.
        steps: Denoising steps.
        batch_size: Images made at once; does not matter to the images, but for rounding.
        device: Where the pipeline runs.
        dtype: What its weights are turned into.
        local_files_only: Never look for the model outside this machine.
    """

    model: str | Path
    steps: int = 50
    batch_size: int = 8
    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    local_files_only: bool = False

    modalities: ClassVar[frozenset[Modality]] = frozenset({"image"})

    def __post_init__(self) -> None:
        """Refuse values outside their range.

        Raises:
            ValueError: Naming the field, its value and what is allowed.
        """
        if not 1 <= self.steps <= 1000:
            raise ValueError(f"steps={self.steps} must be from 1 to 1000")
        if self.batch_size < 1:
            raise ValueError(f"batch_size={self.batch_size} must be 1 or more")

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the settings and, for a folder, over all its files but the model card."""
        return weights_sha256(self.model, f"{self.steps} {self.dtype}")

    @cached_property
    def pipeline(self) -> "DiffusionPipeline":
        """The pipeline, loaded when it is first needed."""
        return load_pipeline(
            self.model,
            device=self.device,
            dtype=self.dtype,
            local_files_only=self.local_files_only,
        )

    def generate(self, prompts: Sequence[Prompt]) -> Iterator[Sample]:
        """Yield one image for each prompt, in order, as the pipeline sized it.

        Raises:
            UsageError: If the model can't be loaded.
        """
        for start in range(0, len(prompts), self.batch_size):
            batch = prompts[start : start + self.batch_size]
            images = self.pipeline(
                [prompt.text for prompt in batch],
                num_inference_steps=self.steps,
                guidance_scale=GuidancePerImage([prompt.guidance for prompt in batch]),
                # One generator an image, so that it depends on nothing else in the batch.
                generator=[torch.Generator().manual_seed(prompt.seed) for prompt in batch],
                output_type="np",
            ).images
            pixels = (np.asarray(images) * 255).round().astype(np.uint8)
            yield from (Sample(*pair) for pair in zip(pixels, batch, strict=True))
