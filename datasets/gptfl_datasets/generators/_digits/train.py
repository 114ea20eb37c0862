"""Train the ``embedded`` generator: a Stable Diffusion in small, from drawn digits alone.

    python -m gptfl_datasets.generators._digits.train --out FOLDER

Draws captioned digits with the ``renderer``, learns a byte-pair encoding on the captions, trains
an autoencoder with a KL term, whitens its latents, then trains the denoiser and the text encoder
together with v-prediction (Rombach et al. 2022; Salimans and Ho 2022), and saves a stock
``StableDiffusionPipeline``. One thread, about 10 CPU-minutes; no handwriting of any data set is
read. The same seed, versions and machine give the same weights.
"""

import argparse
import math
import re
import string
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gptfl_bench.core.randomness import address_seed, isolated_torch_rng, numpy_rng, torch_rng
from gptfl_bench.synthesis.generator import Prompt
from gptfl_datasets.generators.renderer import SIDE, Renderer
from gptfl_datasets.prompts.grammar import WRITING
from gptfl_datasets.tasks.handwritten import DIGIT_NAMES

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

TOKENS = 32
"""Longest prompt in tokens, the two end marks included."""

VOCABULARY = 900
WIDTH = 64
LATENTS = 4
CAPTION_DROPOUT = 0.1
"""Share of captions left empty, for classifier-free guidance (Ho and Salimans 2022)."""

FILLERS = (
    "please show me make very quite some that is and with the of nice a tired doctor cat near "
    "photo desk old new red blue green wall house street like in style my best quality"
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and save; progress goes to standard output."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=24_000)
    parser.add_argument("--autoencoder-steps", type=int, default=400)
    parser.add_argument("--steps", type=int, default=3_000, help="steps of the denoiser")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    seed = options.seed

    images, captions = draw_data(options.images, seed)
    tokenizer = learn_tokenizer(captions)
    autoencoder = train_autoencoder(images, options.autoencoder_steps, seed)
    latents = whiten(autoencoder, images)
    denoiser, text_encoder = train_denoiser(latents, captions, tokenizer, options.steps, seed)
    save(options.out, autoencoder, denoiser, text_encoder, tokenizer)


def draw_data(count: int, seed: int) -> tuple[Tensor, list[str]]:
    """Return ``count`` drawings (N, 1, 32, 32) in [-1, 1] and their captions."""
    prompts = []
    for index in range(count):
        label = DIGIT_NAMES[index % len(DIGIT_NAMES)]
        address = address_seed(seed, "training drawing", index)
        prompts.append(Prompt(label, caption(label, numpy_rng(address, "caption")), 1.0, address))
    drawings = np.stack([sample.media for sample in Renderer().generate(prompts)])
    images = torch.from_numpy(drawings).permute(0, 3, 1, 2).float() / 127.5 - 1
    print(f"{count} drawings made")
    return images, [prompt.text for prompt in prompts]


def caption(label: str, rng: np.random.Generator) -> str:
    """Return a caption for ``label``: a sentence, the bare word, or a sentence with noise in it.

    Words that mean nothing teach the text encoder to pass over words it has never seen.
    """
    kind = rng.random()
    if kind < 0.1:
        return label
    words = WRITING.sentence(label, rng).split()
    if kind < 0.5:
        return " ".join(words)
    for _ in range(rng.integers(1, 6)):
        letters = rng.choice(list(string.ascii_lowercase), rng.integers(2, 8))
        noise = str(rng.choice(FILLERS.split())) if rng.random() < 0.6 else "".join(letters)
        words.insert(rng.integers(len(words) + 1), noise)
    return " ".join(words)


def learn_tokenizer(captions: Sequence[str]) -> "CLIPTokenizer":
    """Return CLIP's tokenizer with a byte-pair encoding learnt from the captions."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    alphabet = sorted(ByteLevel.alphabet())
    pieces = [*alphabet, *(char + "</w>" for char in alphabet), "<|startoftext|>", "<|endoftext|>"]
    merges = learn_merges(captions, VOCABULARY - len(pieces))
    pieces += ["".join(pair) for pair in merges]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    # Declared as strings, but handed on to a model that takes pairs.
    pairs = cast("list[str]", merges)
    return CLIPTokenizer(vocab=vocabulary, merges=pairs, model_max_length=TOKENS)


def learn_merges(captions: Sequence[str], count: int) -> list[tuple[str, str]]:
    """Return the pairs to merge, most frequent first (Sennrich et al. 2016).

    The tokenizers library breaks ties in the order of a hash table, another one in each process.
    """
    words = Counter(word for text in captions for word in re.findall(r"[a-z]+|[^\sa-z]+", text))
    spelled = {word: [*word[:-1], word[-1] + "</w>"] for word in words}
    merges: list[tuple[str, str]] = []
    for _ in range(count):
        pairs: Counter[tuple[str, str]] = Counter()
        for word, pieces in spelled.items():
            for pair in pairwise(pieces):
                pairs[pair] += words[word]
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        for pieces in spelled.values():
            for at in range(len(pieces) - 2, -1, -1):
                if tuple(pieces[at : at + 2]) == best:
                    pieces[at : at + 2] = ["".join(best)]
    return merges


def train_autoencoder(images: Tensor, steps: int, seed: int) -> "AutoencoderKL":
    """Return an autoencoder 1x32x32 -> 4x8x8, trained on squared error and a small KL term."""
    from diffusers import AutoencoderKL

    with isolated_torch_rng(seed, "autoencoder"):
        model = AutoencoderKL(
            in_channels=1,
            out_channels=1,
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(8, 16, 32),
            layers_per_block=1,
            latent_channels=LATENTS,
            norm_num_groups=4,
            sample_size=SIDE,
            scaling_factor=1.0,
            mid_block_add_attention=False,
        )
    rng = torch_rng(seed, "autoencoder batches")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    for step in range(steps):
        set_rate(optimizer, 3e-3, step, steps)
        batch = images[torch.randint(len(images), (64,), generator=rng)]
        posterior = model.encode(batch).latent_dist
        decoded = model.decode(posterior.sample(rng)).sample
        loss = functional.mse_loss(decoded, batch) + 1e-5 * posterior.kl().mean() / LATENTS
        descend(optimizer, loss, model.parameters())
        report("autoencoder", step, steps, loss)
    return model.eval().requires_grad_(False)


@torch.no_grad()
def whiten(model: "AutoencoderKL", images: Tensor) -> Tensor:
    """Return the latents (N, 4, 8, 8), each channel with mean 0 and variance 1.

    The affine map is folded into the 1x1 convolutions on both sides of the latents, exactly;
    Stable Diffusion's single scaling factor could not do this for channels that differ.
    """
    latents = torch.cat([model.encode(part).latent_dist.mean for part in torch.split(images, 256)])
    mean, sd = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    inner, outer = model.quant_conv, model.post_quant_conv
    outer.bias += outer.weight[:, :, 0, 0] @ mean
    outer.weight *= sd[None, :, None, None]
    # The first half of the channels is the mean, the second half the logarithm of the variance.
    inner.weight[:LATENTS] /= sd[:, None, None, None]
    inner.bias[:LATENTS] = (inner.bias[:LATENTS] - mean) / sd
    inner.bias[LATENTS:] -= 2 * sd.log()
    return (latents - mean[:, None, None]) / sd[:, None, None]


def train_denoiser(
    latents: Tensor,
    captions: Sequence[str],
    tokenizer: "CLIPTokenizer",
    steps: int,
    seed: int,
) -> tuple["UNet2DConditionModel", "CLIPTextModel"]:
    """Return denoiser and text encoder, trained together with v-prediction."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    with isolated_torch_rng(seed, "denoiser"):
        denoiser = UNet2DConditionModel(
            sample_size=latents.shape[-1],
            in_channels=LATENTS,
            out_channels=LATENTS,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            block_out_channels=(32, 64),
            layers_per_block=1,
            cross_attention_dim=WIDTH,
            attention_head_dim=8,
            norm_num_groups=8,
        )
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=WIDTH,
                intermediate_size=2 * WIDTH,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=TOKENS,
                projection_dim=WIDTH,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
    tokens = tokenize(tokenizer, captions)
    empty = tokenize(tokenizer, [""])
    signal = noise_scheduler().alphas_cumprod
    parameters = [*denoiser.parameters(), *text_encoder.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=2e-3, weight_decay=0.01)
    rng = torch_rng(seed, "denoiser batches")
    denoiser.train()
    text_encoder.train()
    for step in range(steps):
        set_rate(optimizer, 2e-3, step, steps)
        rows = torch.randint(len(latents), (48,), generator=rng)
        dropped = torch.rand(len(rows), 1, generator=rng) < CAPTION_DROPOUT
        words = text_encoder(torch.where(dropped, empty, tokens[rows])).last_hidden_state
        times = torch.randint(len(signal), (len(rows),), generator=rng)
        noise = torch.randn(latents[rows].shape, generator=rng)
        kept = signal[times].sqrt()[:, None, None, None]
        lost = (1 - signal[times]).sqrt()[:, None, None, None]
        noisy = kept * latents[rows] + lost * noise
        velocity = kept * noise - lost * latents[rows]
        loss = functional.mse_loss(denoiser(noisy, times, words).sample, velocity)
        descend(optimizer, loss, parameters)
        report("denoiser", step, steps, loss)
    return denoiser.eval(), text_encoder.eval()  # type: ignore[no-untyped-call]


def tokenize(tokenizer: "CLIPTokenizer", texts: Sequence[str]) -> Tensor:
    """Return token ids (N, 32), padded as Stable Diffusion does."""
    ids: Tensor = tokenizer(
        list(texts), padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt"
    ).input_ids
    return ids


def noise_scheduler() -> "DPMSolverMultistepScheduler":
    """Return DPM-Solver++ (Lu et al. 2022) on Stable Diffusion's noise levels."""
    from diffusers import DPMSolverMultistepScheduler

    return DPMSolverMultistepScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        steps_offset=1,
    )


def save(
    folder: Path,
    autoencoder: "AutoencoderKL",
    denoiser: "UNet2DConditionModel",
    text_encoder: "CLIPTextModel",
    tokenizer: "CLIPTokenizer",
) -> None:
    """Write a ``StableDiffusionPipeline`` folder with float32 safetensors."""
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=denoiser,
        scheduler=noise_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {size / 1e6:.2f} MB")


def set_rate(optimizer: torch.optim.Optimizer, peak: float, step: int, steps: int) -> None:
    """Set the learning rate: a linear rise over 100 steps, times a cosine fall to zero."""
    fall = (1 + math.cos(math.pi * step / steps)) / 2
    for group in optimizer.param_groups:
        group["lr"] = peak * min(1.0, (step + 1) / 100) * fall


def descend(optimizer: torch.optim.Optimizer, loss: Tensor, parameters: Iterable[Tensor]) -> None:
    """Take one step with gradients clipped to norm 1."""
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()


def report(part: str, step: int, steps: int, loss: Tensor) -> None:
    """Print the loss now and then."""
    if step % 100 == 0 or step == steps - 1:
        print(f"{part} step {step + 1} of {steps}, loss {loss.item():.4f}", flush=True)


if __name__ == "__main__":
    main()
