"""Log-mel features against FedAudio's calls, a NumPy transcription, and tones."""

import pickle

import numpy as np
import pytest
import torch
import torchaudio

from gptfl_bench.core.errors import UsageError
from gptfl_bench.synthesis.folder import encoded
from gptfl_datasets.files.audio import decode
from gptfl_datasets.preprocess.audio_features import (
    AudioForm,
    feature_blocks,
    features,
    frame_count,
    log_mel,
)

ULP = 2e-3
"""Float16 numbers below 4 are this far apart; few features are above."""


def _noise(length: int, seed: int = 0) -> np.ndarray:
    """Return coloured noise that gets louder."""
    rng = np.random.default_rng(seed)
    wave = np.convolve(rng.standard_normal(length + 4), [1, 0.8, 0.3, 0.1, 0.05], "valid")
    return (0.1 * wave * np.linspace(0.1, 1, length)).astype(np.float32)


def _fedaudio(clip: np.ndarray) -> np.ndarray:
    """Return what FedAudio's Speech Commands loader makes of a clip at 16 kHz."""
    to_mel = torchaudio.transforms.MelSpectrogram(
        sample_rate=16000,
        n_mels=128,
        n_fft=1024,
        win_length=1024,
        hop_length=160,
        window_fn=torch.hann_window,
    )
    decibels = torchaudio.transforms.AmplitudeToDB()(to_mel(torch.from_numpy(clip)[None]))
    mel = decibels[0].numpy().T
    return np.asarray((mel - np.mean(mel, axis=0)) / (np.std(mel, axis=0) + 1e-5))


def _transcribed(clip: np.ndarray) -> np.ndarray:
    """Return decibels (T, 128) by the textbook, with triangles on HTK's mel scale."""
    padded = np.pad(clip.astype(np.float64), 512, mode="reflect")
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024)
    frames = np.stack([padded[s : s + 1024] for s in range(0, len(padded) - 1023, 160)])
    power = np.abs(np.fft.rfft(frames * hann)) ** 2
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 130) / 2595) - 1)
    hertz = np.linspace(0, 8000, 513)
    filters = [
        np.interp(hertz, edges[m : m + 3], [0.0, 1.0, 0.0], left=0, right=0) for m in range(128)
    ]
    return np.asarray(10 * np.log10(np.maximum(power @ np.array(filters).T, 1e-10)))


@pytest.mark.parametrize("length", [16_000, 80_000, 9_999, 513])
def test_features_are_fedaudios(length: int) -> None:
    clip = _noise(length)
    found = log_mel(torch.from_numpy(clip)[None])[0]
    assert found.dtype == torch.float32
    assert found.shape == (frame_count(length), 128)
    np.testing.assert_allclose(found, _fedaudio(clip), atol=1e-4)


def test_features_are_those_of_a_transcription() -> None:
    clip = _noise(16_000)
    mel = _transcribed(clip)
    expected = (mel - mel.mean(0)) / (mel.std(0) + 1e-5)
    found = log_mel(torch.from_numpy(clip)[None])[0]
    np.testing.assert_allclose(found, expected, atol=5e-3)


def test_a_second_gives_101_frames_and_five_give_501() -> None:
    assert frame_count(16_000) == 101
    assert frame_count(80_000) == 501


@pytest.mark.parametrize("hertz", [200, 1000, 3000, 7000])
def test_a_tone_is_in_the_bins_around_its_pitch(hertz: int) -> None:
    time = np.arange(16_000) / 16_000
    tone = np.sin(2 * np.pi * hertz * time) * (time > 0.5)
    noise = np.random.default_rng(0).standard_normal(16_000)
    clip = torch.from_numpy((0.3 * tone + 0.01 * noise).astype(np.float32))
    found = log_mel(clip[None])[0].numpy()
    sounding = np.arange(101) > 50
    contrast = found[sounding].mean(0) - found[~sounding].mean(0)
    # Mel scale: bin m is centred at (m + 1) / 129 of mel(8000).
    mel = np.log10(1 + hertz / 700) / np.log10(1 + 8000 / 700)
    place = 129 * mel - 1
    # Features that are -1, then 1, differ by 2.
    loud = np.flatnonzero(contrast > 1.8)
    assert loud.min() <= place <= loud.max()
    assert len(loud) < 16
    far = np.abs(np.arange(128) - place) > 20
    # Noise alone, and the click where the tone begins.
    assert np.abs(contrast[far]).max() < 1.4


def test_clips_together_give_what_each_gives_alone() -> None:
    lengths = [16_000, 9_000, 16_000, 16_000, 9_000, 20_000, 300] + [16_000] * 9
    clips = [_noise(length, seed) for seed, length in enumerate(lengths)]
    together = features(iter(clips), 101)
    assert together.shape == (16, 101, 128)
    assert together.dtype == np.float16
    for clip, found in zip(clips, together, strict=True):
        np.testing.assert_allclose(found, features([clip], 101)[0], atol=ULP)


def test_many_clips_come_in_blocks_and_in_order() -> None:
    clips = [_noise(600 + 200 * (k % 3), k) for k in range(300)]
    blocks = list(feature_blocks(clips, 8))
    assert [len(block) for block in blocks] == [256, 44]
    whole = features(clips, 8)
    assert np.array_equal(np.concatenate(blocks), whole)
    for k in (0, 100, 255, 256, 299):
        np.testing.assert_allclose(whole[k], features([clips[k]], 8)[0], atol=ULP)
    assert features([], 8).shape == (0, 8, 128)


def test_short_clips_are_padded_after_normalisation() -> None:
    clip = _noise(9_000)
    (found,) = features([clip], 101)
    there = frame_count(9_000)
    assert there == 57
    assert (found[there:] == 0).all()
    np.testing.assert_allclose(found[:there], _fedaudio(clip), atol=ULP)
    np.testing.assert_allclose(found[:there].astype(np.float64).mean(0), 0, atol=ULP)
    np.testing.assert_allclose(found[:there].astype(np.float64).std(0), 1, atol=ULP)


def test_long_clips_are_cut_after_normalisation() -> None:
    clip = _noise(20_000)
    (found,) = features([clip], 101)
    np.testing.assert_allclose(found, _fedaudio(clip)[:101], atol=ULP)


@pytest.mark.parametrize("length", [0, 1, 300, 512])
def test_clips_too_short_for_a_window_get_zeros(length: int) -> None:
    clip = _noise(600)[:length]
    assert frame_count(length) == 4
    longer = np.pad(clip, (0, 513 - length))
    np.testing.assert_allclose(features([clip], 4)[0], _fedaudio(longer), atol=ULP)


@pytest.mark.parametrize("length", [400, 16_000, 80_000])
def test_silence_is_zero(length: int) -> None:
    assert (features([np.zeros(length, np.float32)], 101) == 0).all()


def test_partly_silent_and_loudest_clips_stay_finite() -> None:
    clip = _noise(16_000)
    clip[4_000:] = 0
    square = np.sign(np.sin(np.arange(16_000))).astype(np.float32)
    assert np.isfinite(features([clip, square, 2.0**31 * square], 101)).all()


def test_generated_sound_is_stored_as_recorded_sound_is() -> None:
    clips = [_noise(16_000, 1), _noise(9_000, 2), np.zeros(0, np.float32)]
    media = np.stack([np.pad(clip, (0, 16_000 - len(clip))) for clip in clips])
    stored = AudioForm(101).from_media(media)
    assert stored.dtype == torch.float16
    # 16 bits hold such noise to within a hundredth of a decibel.
    np.testing.assert_allclose(stored, features(clips, 101), atol=0.01)
    # The zeros that fill the second clip up would have changed its means.
    assert np.abs(stored[1].numpy() - features([media[1]], 101)[0]).max() > 0.1
    assert torch.equal(AudioForm(101).from_media(media.astype(np.float64)), stored)
    form = AudioForm(101)
    assert pickle.loads(pickle.dumps(form)) == form  # noqa: S301 - bytes of its own


def test_generated_sound_is_stored_as_its_file_would_be() -> None:
    """A tone that fades into less than 16 bits hold, from memory and from what ``generate`` writes.

    Unrounded, its end has features of its own.
    """
    tone = np.sin(np.arange(16_000) / 7) * 0.5 ** np.linspace(0, 30, 16_000)
    media = tone.astype(np.float32)[None]
    read = decode(encoded(media[0]), "the sound", seconds=1)
    stored = AudioForm(101).from_media(media)
    assert torch.equal(stored, AudioForm(101).from_media(read[None]))
    assert np.abs(stored[0].numpy() - features([media[0]], 101)[0]).max() > 0.1


@pytest.mark.parametrize(
    ("media", "named"),
    [
        (np.zeros((2, 100), np.int16), "int16"),
        (np.zeros(100, np.float32), r"\(100,\)"),
        (np.full((1, 100), np.nan, np.float32), "not finite"),
    ],
)
def test_generated_sound_of_another_form_is_refused(media: np.ndarray, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        AudioForm(101).from_media(media)
