"""Measure how often the ``embedded`` generator draws what its prompt says.

    python -m gptfl_datasets.generators._digits.judge

A small ConvNet learns the digits from the ``renderer``'s drawings of four fifths of the font
families and is tested on the rest; then it reads generated images. Prints Markdown tables for the
model card. No handwriting of any data set is read.
"""

import argparse
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from gptfl_bench.core.randomness import address_seed, isolated_torch_rng, numpy_rng, torch_rng
from gptfl_bench.synthesis.generator import Prompt
from gptfl_datasets.generators.embedded import FOLDER, Embedded
from gptfl_datasets.generators.renderer import Style, draw
from gptfl_datasets.glyphs.glyphs import Glyphs, load_glyphs
from gptfl_datasets.prompts.grammar import GrammarWriter
from gptfl_datasets.tasks.handwritten import DIGIT_NAMES

SENTENCES = (
    "{}",
    "the digit {}",
    "a thin {}",
    "a bold {}",
    "a photo of a cat near the number {}",
    "a messy {} scribbled by a tired doctor on a prescription",
    "grobul {} fnix zuut",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the judge and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", type=Path, default=FOLDER, help="folder of the pipeline")
    parser.add_argument("--images", type=int, default=500, help="images per cell")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    judge = train_judge()
    count = options.images // len(DIGIT_NAMES)
    writer = GrammarWriter()

    def fidelity(texts: Sequence[Sequence[str]], guidance: float, steps: int = 8) -> str:
        before = time.process_time()
        images, labels = generate(options.model, texts, guidance, steps)
        rate = len(images) / (time.process_time() - before)
        read = judge(as_input(images)).argmax(1)
        ink = float(images.float().mean()) / 255
        return f"{float((read == labels).float().mean()):.3f} | {ink:.3f} | {rate:.0f}"

    grammar = [writer.write(label, count, modality="image", seed=1) for label in DIGIT_NAMES]
    figures = "label fidelity | mean ink | images per CPU second |\n| --- | --- | --- | --- |"
    print(f"| guidance | steps | {figures} --- |")
    for guidance, steps in ((1, 8), (1.5, 8), (2, 8), (3, 8), (5, 8), (3, 4), (3, 6), (3, 20)):
        print(f"| {guidance} | {steps} | {fidelity(grammar, guidance, steps)} |", flush=True)
    print(f"\n| prompt, guidance 3 | {figures}")
    for sentence in SENTENCES:
        texts = [[sentence.format(label)] * count for label in DIGIT_NAMES]
        print(f"| {sentence.format('…')} | {fidelity(texts, 3)} |", flush=True)


def generate(
    model: Path, texts: Sequence[Sequence[str]], guidance: float, steps: int
) -> tuple[Tensor, Tensor]:
    """Return images (N, 32, 32, 1) and labels (N,) for the texts of each digit."""
    prompts = [
        Prompt(label, text, guidance, address_seed(0, "judged", label, index))
        for label, of_label in zip(DIGIT_NAMES, texts, strict=True)
        for index, text in enumerate(of_label)
    ]
    samples = Embedded(model, steps=steps).generate(prompts)
    images = torch.from_numpy(np.stack([sample.media for sample in samples]))
    return images, torch.tensor([DIGIT_NAMES.index(prompt.label) for prompt in prompts])


def train_judge(drawings: int = 12_000, steps: int = 1_000) -> nn.Module:
    """Return a ConvNet that reads drawn digits, and print its accuracy on families held out."""
    glyphs = load_glyphs()
    held_out = np.isin(
        glyphs.families,
        numpy_rng(0, "held out").permutation(glyphs.families.max() + 1)[::5],
    )
    seen = dataclasses.replace(glyphs, families=np.where(held_out, -1, glyphs.families))
    unseen = dataclasses.replace(glyphs, families=np.where(held_out, glyphs.families, -1))
    images, labels = draw_set(seen, drawings, "seen")
    with isolated_torch_rng(0, "judge"):
        layers: list[nn.Module] = []
        for inputs, outputs in ((1, 16), (16, 32), (32, 64)):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        judge = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 16, len(DIGIT_NAMES)))
    optimizer = torch.optim.AdamW(judge.parameters(), lr=2e-3)
    rng = torch_rng(0, "judge batches")
    for _ in range(steps):
        rows = torch.randint(len(labels), (64,), generator=rng)
        optimizer.zero_grad()
        functional.cross_entropy(judge(as_input(images[rows])), labels[rows]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    judge.eval().requires_grad_(False)
    images, labels = draw_set(unseen, 2_000, "unseen")
    right = (judge(as_input(images)).argmax(1) == labels).float().mean()
    print(f"judge on families held out: {right:.3f}\n")
    return judge


def draw_set(glyphs: Glyphs, count: int, name: str) -> tuple[Tensor, Tensor]:
    """Return ``count`` drawings (N, 32, 32, 1) of the given faces, and their labels (N,)."""
    digits = np.arange(count) % len(DIGIT_NAMES)
    drawings = [
        draw(int(digit), Style(), address_seed(0, name, index), glyphs)
        for index, digit in enumerate(digits)
    ]
    return torch.from_numpy(np.stack(drawings)), torch.from_numpy(digits)


def as_input(images: Tensor) -> Tensor:
    """Return images (N, H, W, 1) of bytes as network input (N, 1, H, W) in [0, 1]."""
    return images.permute(0, 3, 1, 2).float() / 255


if __name__ == "__main__":
    main()
