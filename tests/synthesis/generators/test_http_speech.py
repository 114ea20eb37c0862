"""Speech from a service on loopback."""

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import soundfile

from gptfl_bench.core.errors import UsageError
from gptfl_bench.synthesis.generator import Prompt, generators, make
from gptfl_datasets.generators.service import HttpSpeech


def answer(body: object, **more: Any) -> dict[str, Any]:
    return {"body": body, **more}


def prompts(*texts: str, label: str = "sea_lion") -> list[Prompt]:
    return [Prompt(label, text, 2.5, 2**40 + n, n) for n, text in enumerate(texts)]


def wav(wave: np.ndarray, rate: int = 16_000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, wave, rate, format="WAV", subtype="FLOAT")
    return file.getvalue()


def speech(service: Any, **values: Any) -> HttpSpeech:
    return replace(
        HttpSpeech(service.url, "say-1", attempts=2, first_wait=0.01, workers=1), **values
    )


def refused(service: Any) -> str:
    with pytest.raises(UsageError) as caught:
        list(speech(service).generate(prompts("yes")))
    return str(caught.value)


@pytest.mark.parametrize("media_type", ["audio/wav", "audio/x-wav", "application/octet-stream"])
def test_the_sound_asked_for_arrives_exactly_and_padded(service: Any, media_type: str) -> None:
    wave = np.linspace(-0.5, 0.5, 4000, dtype=np.float32)
    service.usual = answer(wav(wave), media_type=media_type)
    sample = next(speech(service).generate(prompts("seven", label="seven")))
    assert sample.media.shape == (16_000,)
    assert sample.media.dtype == np.float32
    np.testing.assert_array_equal(sample.media[:4000], wave)
    assert not sample.media[4000:].any()
    assert service.requests[0].path == "/v1/audio/speech"
    assert service.requests[0].body == {
        "model": "say-1",
        "input": "seven",
        "voice": "alloy",
        "response_format": "wav",
    }


def test_sounds_of_any_rate_and_length_become_one_form(service: Any) -> None:
    # As a service that streams: sizes unknown when the header is sent.
    streamed = bytearray(wav(np.full(48_000, 0.25, np.float32), 24_000))
    place = streamed.index(b"data") + 4
    streamed[place : place + 4] = b"\xff" * 4
    service.acts = [answer(bytes(streamed), media_type="audio/wav")]
    service.usual = answer(wav(np.full(100, 1.5, np.float32)), media_type="audio/wav")
    long, loud = speech(service, seconds=0.5).generate(prompts("a", "b"))
    assert long.media.shape == loud.media.shape == (8000,)
    np.testing.assert_allclose(long.media[100:-100], 0.25, atol=1e-3)
    assert loud.media.max() == 1


def test_a_voice_is_drawn_for_each_sample_and_not_for_its_neighbours(service: Any) -> None:
    service.usual = answer(wav(np.zeros(10, np.float32)), media_type="audio/wav")
    asked = prompts(*["yes"] * 40)
    list(speech(service, voices="ash, sage,coral").generate(asked))
    voices = [request.body["voice"] for request in service.requests]
    assert set(voices) == {"ash", "sage", "coral"}
    service.requests.clear()
    list(speech(service, voices="ash, sage,coral").generate(asked[7:9]))
    assert [request.body["voice"] for request in service.requests] == voices[7:9]


def test_sounds_that_are_no_use(service: Any) -> None:
    service.acts = [
        answer({"text": "hi"}),
        answer(b"RIFF", media_type="audio/wav"),
        answer(wav(np.zeros(0, np.float32)), media_type="audio/wav"),
    ]
    assert "its answer is application/json" in refused(service)
    assert "damaged or no sound file" in refused(service)
    assert "has no samples" in refused(service)
    with pytest.raises(UsageError, match="voices='a,,b'"):
        make(generators, "http_speech", {"voices": "a,,b"})
