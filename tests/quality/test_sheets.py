"""Contact sheets: what is on them, that they stay small, and what can be played."""

import io
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gptfl_bench.quality.sheets import picture_sheet, sound_sheet
from gptfl_bench.synthesis import shards
from gptfl_bench.synthesis.generator import sixteen_bits
from gptfl_reports.records.quality import clip_names, strip_name

BOUND = 3_200_000


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def opened(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def test_small_pictures_are_shown_by_their_pixels() -> None:
    first, second = noise(32, 32, 1), noise(32, 32, 1, seed=1)
    files = picture_sheet([[first, second], []])
    assert list(files) == ["000.png"]
    strip = opened(files["000.png"])
    assert strip.shape == (96, 96 + 2 + 96)
    assert (strip[::3, :96:3] == first[:, :, 0]).all()
    assert (strip[::3, 98::3] == second[:, :, 0]).all()


def test_large_pictures_keep_their_aspect() -> None:
    strip = opened(picture_sheet([[noise(100, 400, 3)]])["000.png"])
    assert strip.shape == (24, 96, 3)


@pytest.mark.parametrize(("classes", "colours"), [(10, 0xFF), (26, 0xFF), (102, 0xC0)])
def test_pictures_of_many_classes_stay_within_three_megabytes(classes: int, colours: int) -> None:
    """Noise is the worst there is: it can't be compressed."""
    files = picture_sheet([[noise(128, 128, 3, seed=n) & colours for n in range(8)]] * classes)
    assert len(files) == classes
    assert sum(map(len, files.values())) < BOUND


@pytest.mark.parametrize(("classes", "seconds", "heard"), [(35, 1, 2), (50, 5, 1)])
def test_sounds_stay_within_three_megabytes(classes: int, seconds: int, heard: int) -> None:
    sound = np.random.default_rng(0).normal(0, 0.1, 16_000 * seconds).astype(np.float32)
    files = sound_sheet([[sound] * 8] * classes)
    assert len(files) == classes * (1 + heard)
    assert sum(map(len, files.values())) < BOUND


def test_clips_are_what_the_generator_made() -> None:
    sounds = [np.sin(np.arange(n) / 9).astype(np.float32) for n in (16_000, 500, 16_000)]
    files = sound_sheet([sounds, sounds[:1]])
    assert set(files) == {strip_name(0), strip_name(1), *clip_names(0, 2), *clip_names(1, 1)}
    for name, sound in zip(clip_names(0, 2), sounds, strict=False):
        with wave.open(io.BytesIO(files[name])) as clip:
            assert (clip.getframerate(), clip.getnchannels(), clip.getsampwidth()) == (16_000, 1, 2)
            assert clip.readframes(10**6) == sixteen_bits(sound).astype("<i2").tobytes()


def test_a_spectrogram_has_low_bands_below_and_time_to_the_right() -> None:
    time = np.arange(16_000) / 16_000
    low, high = (np.sin(2 * np.pi * f * time) for f in (300, 6000))
    half = np.where(time < 0.5, low, 0)
    strip = opened(sound_sheet([[low, high, half]])["000.png"]).astype(float)
    side = strip.shape[0]
    low, high, half = (strip[:, n * (side + 2) : n * (side + 2) + side] for n in range(3))
    assert low[side // 2 :].mean() > 2 * low[: side // 2].mean()
    assert high[: side // 2].mean() > 2 * high[side // 2 :].mean()
    assert half[:, : side // 2 - 5].mean() > 10 * half[:, side // 2 + 5 :].mean()


def test_some_media_are_read_from_the_files_they_are_in(tmp_path: Path) -> None:
    media = noise(700, 2, 2, 1)
    for start in (0, 256, 512):
        np.save(tmp_path / f"media-{start:08d}.npy", media[start : start + 256])
    rows = [0, 255, 256, 511, 512, 699]
    assert (np.stack(shards.some(tmp_path, rows)) == media[rows]).all()
    assert (shards.media(tmp_path) == media).all()
    assert shards.some(tmp_path, []) == []
