import copy
from pathlib import Path

import pytest
import torch

from gptfl_bench.core.randomness import numpy_rng
from gptfl_datasets.generators._digits.train import (
    caption,
    draw_data,
    learn_merges,
    main,
    train_autoencoder,
    whiten,
)
from gptfl_datasets.generators.embedded import Embedded
from gptfl_datasets.tasks.handwritten import DIGIT_NAMES


def test_captions_always_hold_their_label() -> None:
    texts = [(label, caption(label, numpy_rng(i))) for i in range(60) for label in DIGIT_NAMES]
    assert all(label in text.split() for label, text in texts)
    assert len({text for _, text in texts}) > 400


def test_merges_are_the_most_frequent_pairs_in_a_fixed_order() -> None:
    # ab twice, abc once: (a, b</w>) leads with 2; then (a, b) and (b, c</w>) tie at 1.
    assert learn_merges(["ab ab", "abc"], 2) == [("a", "b</w>"), ("b", "c</w>")]


def test_whitening_changes_the_latents_but_not_the_pictures() -> None:
    images, _ = draw_data(64, seed=1)
    raw = train_autoencoder(images, steps=2, seed=1)
    white = copy.deepcopy(raw)
    latents = whiten(white, images)
    assert latents.mean((0, 2, 3)).abs().max() < 1e-5
    torch.testing.assert_close(latents.std((0, 2, 3)), torch.ones(4))
    # The model itself now encodes to these latents, and decodes to what it did before.
    torch.testing.assert_close(white.encode(images).latent_dist.mean, latents, atol=1e-4, rtol=1e-4)
    before = raw.decode(raw.encode(images).latent_dist.mean).sample
    torch.testing.assert_close(white.decode(latents).sample, before, atol=1e-4, rtol=1e-4)
    spread = raw.encode(images).latent_dist.std / white.encode(images).latent_dist.std
    channel_sd = raw.encode(images).latent_dist.mean.std((0, 2, 3))
    torch.testing.assert_close(spread.mean((0, 2, 3)), channel_sd, atol=1e-3, rtol=1e-3)


@pytest.mark.slow
def test_the_same_seed_trains_the_same_model(tmp_path: Path) -> None:
    short = ["--images", "300", "--autoencoder-steps", "3", "--steps", "5"]
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        main(["--out", str(tmp_path / name), "--seed", seed, *short])
    first, again, other = (Embedded(tmp_path / name).fingerprint for name in "abc")
    assert first == again != other
