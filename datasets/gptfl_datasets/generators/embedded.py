"""The embedded generator: a latent diffusion model of 5 MB that ships with the package.

It is a stock ``StableDiffusionPipeline`` folder and is called through the very code that calls
Stable Diffusion, so the whole path of GPT-FL (prompts, guidance, scheduler, seeds) runs on a
machine with neither GPU nor network. It knows the ten digits and was trained on drawings of
printed digits alone; the model card beside the weights has its figures.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from gptfl_bench.synthesis.generator import Prompt, Sample, Turn, Wanted, generators
from gptfl_datasets.generators.diffusion import TextToImage
from gptfl_datasets.generators.renderer import digit_of
from gptfl_datasets.tasks.handwritten import DIGIT_NAMES

FOLDER = Path(__file__).parent / "_digits" / "embedded_model"


@generators.register(
    "embedded", title="small latent diffusion model, 32x32 digits", needs="labels zero to nine"
)
@dataclass(frozen=True)
class Embedded(TextToImage):
    """Makes 32x32x1 images of the ten digits, bright on dark."""

    quick: ClassVar[bool] = True

    model: str | Path = FOLDER
    steps: int = 8
    batch_size: int = 64
    local_files_only: bool = True

    turn: ClassVar[Turn] = Turn.COMES_ALONG

    def lacks(self, wanted: Wanted) -> str | None:
        """Lack nothing where the labels are the ten digits' names."""
        return "" if wanted.labels and set(wanted.labels) <= set(DIGIT_NAMES) else None

    def generate(self, prompts: Sequence[Prompt]) -> Iterator[Sample]:
        """Yield one image for each prompt, in order.

        Raises:
            UsageError: If a label is not one of the ten digit names; raised before the first
                image.
        """
        for prompt in prompts:
            digit_of(prompt.label)
        return super().generate(prompts)
