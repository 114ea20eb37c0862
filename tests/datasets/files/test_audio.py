"""Sound files become samples at 16 kHz; damaged and endless ones become a sentence."""

import io
from contextlib import suppress

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchaudio.functional import resample

from gptfl_bench.core.errors import UsageError
from gptfl_datasets.files.audio import decode

NOISE = np.random.default_rng(0).uniform(-0.9, 0.9, 4000).astype(np.float32)


def _encoded(
    wave: np.ndarray, rate: int = 16_000, kind: str = "WAV", subtype: str = "FLOAT"
) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def _refused(data: bytes, *parts: str) -> None:
    with pytest.raises(UsageError) as caught:
        decode(data, "yes/7.wav")
    sentence = str(caught.value)
    assert sentence.startswith("yes/7.wav ")
    assert sentence.endswith(".")
    assert "\n" not in sentence
    for part in parts:
        assert part in sentence


def test_samples_come_back_exactly() -> None:
    found = decode(_encoded(NOISE), "a file")
    assert found.dtype == np.float32
    assert np.array_equal(found, NOISE)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "AIFF"])
def test_sixteen_bits_are_scaled_to_one(kind: str) -> None:
    levels = np.array([0, 1, -32768, 32767, 16384], np.int16)
    found = decode(_encoded(levels, kind=kind, subtype="PCM_16"), "a file")
    assert found.tolist() == [0, 1 / 32768, -1, 32767 / 32768, 0.5]


def test_the_first_channel_is_taken() -> None:
    assert np.array_equal(decode(_encoded(np.stack([NOISE, -NOISE], 1)), "a file"), NOISE)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_another_rate_is_resampled_as_torchaudio_does(rate: int) -> None:
    found = decode(_encoded(NOISE, rate), "a file")
    assert np.array_equal(found, resample(torch.from_numpy(NOISE), rate, 16_000).numpy())
    assert len(found) == -(-len(NOISE) * 16_000 // rate)


def test_a_tone_keeps_its_pitch() -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(44_100) / 44_100).astype(np.float32)
    spectrum = np.abs(np.fft.rfft(decode(_encoded(tone, 44_100), "a file")))
    assert len(spectrum) == 8001
    assert spectrum.argmax() == 440


def test_another_rate_can_be_asked_for() -> None:
    assert len(decode(_encoded(NOISE), "a file", rate=8_000)) == 2000


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_a_beginning_is_that_of_the_whole(rate: int) -> None:
    data = _encoded(np.tile(NOISE, 12), rate)
    whole, beginning = decode(data, "a file"), decode(data, "a file", seconds=0.5)
    assert len(beginning) == 8000
    np.testing.assert_allclose(beginning, whole[:8000], atol=1e-6)
    assert len(decode(_encoded(NOISE), "a file", seconds=9)) == 4000


@pytest.mark.parametrize(
    "data", [b"", b"yes, this is a text file\n" * 40, bytes(range(256)) * 20, b"RIFF\0\0\0\0WAVE"]
)
def test_what_is_no_sound_is_refused(data: bytes) -> None:
    _refused(data, "no sound file")


def test_a_flac_file_that_was_cut_short_is_refused() -> None:
    data = _encoded(NOISE, kind="FLAC", subtype="PCM_16")
    _refused(data[: len(data) // 2], "damaged")


def test_a_file_without_samples_is_refused() -> None:
    _refused(_encoded(NOISE[:0]), "no samples")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e10])
def test_samples_that_are_not_finite_are_refused(value: float) -> None:
    wave = NOISE.copy()
    wave[17] = value
    _refused(_encoded(wave), "not finite")


def test_ten_minutes_are_the_most() -> None:
    silence = np.zeros(600 * 1000, np.int16)
    data = _encoded(silence, 1000, "FLAC", "PCM_16")
    assert len(decode(data, "a file", rate=1000)) == len(silence)
    data = _encoded(np.zeros(len(silence) + 1, np.int16), 1000, "FLAC", "PCM_16")
    _refused(data, "10 minutes")


@pytest.mark.parametrize("rate", [999, 15_991, 191_999])
def test_rates_that_cannot_be_resampled_are_refused(rate: int) -> None:
    _refused(_encoded(NOISE, rate), f"{rate:,} samples a second", "resample it to 16,000")


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_damaged_headers_print_no_traceback() -> None:
    rng = np.random.default_rng(1)
    for kind, subtype in (("WAV", "FLOAT"), ("AIFF", "PCM_16")) * 200:
        encoded = np.frombuffer(_encoded(NOISE[:99], kind=kind, subtype=subtype), np.uint8).copy()
        encoded[rng.integers(0, 60, 3)] = rng.integers(0, 256, 3)
        with suppress(UsageError):
            decode(encoded.tobytes(), "a file")


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_damaged_bytes_give_sound_or_a_sentence(data: st.DataObject) -> None:
    kind, subtype = data.draw(st.sampled_from([("WAV", "PCM_16"), ("FLAC", "PCM_16")]))
    encoded = bytearray(_encoded(NOISE[:900], kind=kind, subtype=subtype))
    for _ in range(data.draw(st.integers(1, 4))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = decode(bytes(encoded), "a file")
    except UsageError:
        return
    assert len(found)
    assert np.isfinite(found).all()
