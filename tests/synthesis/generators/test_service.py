"""Images from a service on loopback, and all that can go wrong on the way."""

import base64
import io
import logging
import re
import struct
import time
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gptfl_bench.core.errors import UsageError
from gptfl_bench.synthesis.generator import Prompt, generators, make
from gptfl_datasets.generators.service import HttpImage


def answer(body: object, **more: Any) -> dict[str, Any]:
    return {"body": body, **more}


def prompts(*texts: str, label: str = "sea_lion") -> list[Prompt]:
    return [Prompt(label, text, 2.5, 2**40 + n, n) for n, text in enumerate(texts)]


def pixels(text: str, side: int = 16) -> np.ndarray:
    """Noise that is a text's own."""
    rng = np.random.default_rng(zlib.crc32(text.encode()))
    return rng.integers(0, 256, (side, side, 3), dtype=np.uint8)


def png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def drawn(asked: dict[str, Any]) -> dict[str, Any]:
    data = base64.b64encode(png(pixels(asked["prompt"]))).decode()
    return answer({"created": 1, "data": [{"b64_json": data}]})


def failed(status: int, code: str, message: str = "no", **more: Any) -> dict[str, Any]:
    error = {"message": message, "type": "error", "param": None, "code": code}
    return answer({"error": error}, status=status, **more)


def image(service: Any, **values: Any) -> HttpImage:
    quick = HttpImage(service.url, "draw-1", size=16, timeout=5, attempts=3, first_wait=0.01)
    return replace(quick, workers=1, **values)


def refused(generator: HttpImage, *texts: str) -> str:
    with pytest.raises(UsageError) as caught:
        list(generator.generate(prompts(*(texts or ("a seal",)))))
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_images_asked_for_arrive_in_order_and_exactly(service: Any) -> None:
    def slower_first(asked: dict[str, Any]) -> dict[str, Any]:
        return {**drawn(asked), "pause": 0.2 if asked["prompt"] == "text 0" else 0}

    service.usual = slower_first
    asked = prompts(*(f"text {n}" for n in range(6)))
    samples = list(replace(image(service), workers=3).generate(asked))
    assert [sample.prompt for sample in samples] == asked
    for sample, prompt in zip(samples, asked, strict=True):
        np.testing.assert_array_equal(sample.media, pixels(prompt.text))


def test_a_request_for_an_image_is_as_the_api_documents(service: Any) -> None:
    service.usual = drawn
    list(image(service).generate(prompts("a seal")))
    request = service.requests[0]
    assert request.path == "/v1/images/generations"
    assert request.headers["Authorization"] == f"Bearer {service.key}"
    assert request.headers["Content-Type"] == "application/json"
    assert request.body == {
        "model": "draw-1",
        "prompt": "a seal",
        "n": 1,
        "size": "1024x1024",
        "response_format": "b64_json",
    }


def test_parameters_that_some_models_refuse_and_some_servers_add(service: Any) -> None:
    service.usual = drawn
    bare = image(service, resolution=None, response_format=None, key_variable="")
    list(bare.generate(prompts("a seal")))
    list(image(service, extensions=True).generate(prompts("a seal", "a bull")))
    assert service.requests[0].body == {"model": "draw-1", "prompt": "a seal", "n": 1}
    assert "Authorization" not in service.requests[0].headers
    assert [r.body["guidance_scale"] for r in service.requests[1:]] == [2.5, 2.5]
    assert [r.body["seed"] for r in service.requests[1:]] == [0, 1]


def test_images_have_the_size_of_the_settings(service: Any) -> None:
    service.usual = drawn
    sample = next(image(service, size=8).generate(prompts("a seal")))
    assert sample.media.shape == (8, 8, 3)
    assert sample.media.dtype == np.uint8


def test_too_many_requests_are_waited_for_as_long_as_is_asked(service: Any) -> None:
    busy = failed(429, "rate_limit_exceeded", headers={"Retry-After": "0.3"})
    service.acts, service.usual = [busy], drawn
    assert len(list(image(service).generate(prompts("a seal")))) == 1
    first, second = (request.time for request in service.requests)
    assert 0.3 <= second - first < 3


def test_a_wait_beyond_reason_is_not_waited_for(
    service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gptfl_datasets.backends.openai._LONGEST_WAIT", 0.5)
    service.usual = failed(429, "busy", headers={"Retry-After": "1"})
    assert "asks to wait 1 seconds" in refused(image(service))
    assert len(service.requests) == 1


def test_no_money_is_not_waited_for(service: Any) -> None:
    service.usual = failed(429, "insufficient_quota", "You exceeded your current quota.")
    assert "429: You exceeded your current quota" in refused(image(service))
    assert len(service.requests) == 1


def test_failures_pass_after_growing_waits(service: Any) -> None:
    service.acts, service.usual = [answer(b"", status=500), answer(b"", status=503)], drawn
    samples = list(image(service, first_wait=0.1).generate(prompts("a seal")))
    np.testing.assert_array_equal(samples[0].media, pixels("a seal"))
    first, second, third = (request.time for request in service.requests)
    assert second - first >= 0.1
    assert third - second >= 0.2


def test_failures_that_stay_are_one_sentence(service: Any) -> None:
    service.usual = failed(502, "", "bad gateway")
    sentence = refused(image(service))
    assert "it fails (502: bad gateway) (tried 3 times)" in sentence
    assert "synthetic.generator=folder" in sentence
    assert len(service.requests) == 3


def test_an_answer_that_comes_too_late_is_given_up(service: Any) -> None:
    service.usual = answer(b"", pause=10)
    started = time.monotonic()
    assert "no whole answer came in 0.2 seconds" in refused(image(service, timeout=0.2, attempts=1))
    # Never silent for long, and never done.
    service.usual = answer(bytes(100), pieces=100)
    assert "no whole answer came in 0.3 seconds" in refused(image(service, timeout=0.3, attempts=1))
    assert time.monotonic() - started < 5


def test_no_service_there(service: Any) -> None:
    free = type(service)()
    free.server_close()
    assert "there is no connection" in refused(image(service, base_url=free.url, attempts=2))


def test_an_answer_that_breaks_off_is_asked_for_again(service: Any) -> None:
    service.acts, service.usual = [{**drawn({"prompt": "x"}), "missing": 7}], drawn
    samples = list(image(service).generate(prompts("a seal")))
    np.testing.assert_array_equal(samples[0].media, pixels("a seal"))
    service.usual = {**drawn({"prompt": "x"}), "missing": 7}
    assert "the answer ended 7 bytes too early (tried 3 times)" in refused(image(service))


def bomb() -> bytes:
    """A PNG of 100 million pixels in some bytes."""
    header = struct.pack(">IIBBBBB", 10_000, 10_000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


@pytest.mark.parametrize(
    ("act", "part"),
    [
        (answer(b"<html>", media_type="text/html"), "its answer is text/html"),
        (answer(b"{"), "its answer is no JSON"),
        (answer(b"[" * 100_000), "its answer is no JSON"),
        (answer({"data": [{"url": "http://127.0.0.1/x.png"}]}), "no image in data"),
        (answer({"data": "oops"}), "no image in data"),
        (answer({"data": [{"b64_json": "*"}]}), "no base64"),
        (answer({"data": [{"b64_json": "ü"}]}), "no base64"),
        (answer({"data": [{"b64_json": "iVBORw=="}]}), "damaged or no picture"),
        (
            answer({"data": [{"b64_json": base64.b64encode(bomb()).decode()}]}),
            "100,000,000 pixels",
        ),
        (failed(400, "invalid_size", "Invalid\nsize \x1b[31m."), r"400: Invalid size \[31m;"),
    ],
    ids=["html", "half", "deep", "link", "form", "signs", "letters", "damaged", "bomb", "wrong"],
)
def test_answers_that_are_no_use_are_not_asked_for_again(
    service: Any, act: dict[str, Any], part: str
) -> None:
    service.usual = act
    assert re.search(part, refused(image(service)))
    assert len(service.requests) == 1


def test_an_answer_is_bounded(service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gptfl_datasets.generators.service._MOST_OF_IMAGE", 1000)
    service.usual = answer(b" " * 1001)
    assert "sends more than 1,000 bytes" in refused(image(service))


def test_a_redirect_is_not_followed_and_takes_no_key_along(service: Any) -> None:
    place = {"Location": f"{service.url}/elsewhere"}
    for status in (301, 302, 307, 308):
        service.usual = answer(b"", status=status, headers=place)
        assert f"redirects elsewhere ({status})" in refused(image(service))
    assert {request.path for request in service.requests} == {"/v1/images/generations"}


@pytest.mark.parametrize("code", ["content_policy_violation", "moderation_blocked"])
def test_a_prompt_the_moderation_refuses_is_counted_and_replaced(
    service: Any, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    def strict(asked: dict[str, Any]) -> dict[str, Any]:
        return failed(400, code) if "rude" in asked["prompt"] else drawn(asked)

    service.usual = strict
    generator = image(service)
    samples = list(generator.generate(prompts("a rude seal", "a seal")))
    np.testing.assert_array_equal(samples[0].media, pixels("sea lion"))
    assert [sample.prompt.text for sample in samples] == ["sea lion", "a seal"]
    assert generator.refusals == {"sea_lion": 1}
    assert "refused 1 of 2 prompts" in caplog.text


def test_a_label_the_moderation_refuses_ends_it(service: Any) -> None:
    service.usual = failed(400, "moderation_blocked")
    assert "refuses even the label 'sea_lion' alone" in refused(image(service))
    assert [request.body["prompt"] for request in service.requests] == ["a seal", "sea lion"]


def test_a_key_that_expired(service: Any) -> None:
    service.usual = failed(
        401, "invalid_api_key", f"Incorrect API key provided: {service.key[:9]}***."
    )
    sentence = refused(image(service))
    assert "does not accept the key in the variable OPENAI_API_KEY (401)" in sentence
    assert service.key[:9] not in sentence
    assert len(service.requests) == 1


def test_the_key_is_shown_nowhere(service: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    # A careless service repeats it.
    busy = failed(500, "", f"failed for {service.key}")
    service.acts, service.usual = [busy], failed(400, "bad", f"bad request of {service.key}")
    generator = image(service)
    with pytest.raises(UsageError) as caught:
        list(generator.generate(prompts("a seal")))
    assert "failed for ***" in caplog.text
    assert "bad request of ***" in str(caught.value)
    seen = [caplog.text, repr(generator), str(generator), repr(vars(generator))]
    error: BaseException | None = caught.value
    while error:
        seen += [repr(error), repr(vars(error))]
        error = error.__cause__ or error.__context__
    assert not [text for text in seen if service.key in text]


def test_the_key_and_patience_do_not_matter_to_the_fingerprint(
    service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = image(service).fingerprint
    monkeypatch.setenv("OTHER_KEY", "another")
    monkeypatch.delenv("OPENAI_API_KEY")
    other = image(service, key_variable="OTHER_KEY")
    assert replace(other, timeout=9, attempts=1, workers=2).fingerprint == first
    changed: list[dict[str, Any]] = [
        {"model": "draw-2"},
        {"base_url": "http://localhost/v1"},
        {"size": 8},
        {"resolution": None},
        {"extensions": True},
    ]
    assert len({first, *(image(service, **values).fingerprint for values in changed)}) == 6


def test_what_is_missing_is_said_before_anything_is_sent(
    service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for values, part in (
        ({"base_url": None}, "set generators.http_image.base_url=https://api.openai.com/v1"),
        ({"model": None}, "set generators.http_image.model=NAME"),
        ({"key_variable": "NO_SUCH_KEY"}, "environment variable NO_SUCH_KEY holds no key"),
        ({"base_url": "http://example.invalid/v1"}, "would travel unencrypted"),
    ):
        with pytest.raises(UsageError, match=re.escape(part)):
            image(service, **values).generate(prompts("a seal"))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-two\nlines")
    with pytest.raises(UsageError, match="holds characters that no key has") as caught:
        image(service).generate(prompts("a seal"))
    assert "sk-two" not in str(caught.value)
    assert not service.requests


@pytest.mark.parametrize(
    ("field", "value", "part"),
    [
        ("key_variable", "sk-pasted-by-mistake", "must be the name of an environment variable"),
        ("base_url", "https://me:secret@host/v1", "without user, password"),
        ("base_url", "https://host/v1?key=secret", "without user, password"),
        ("base_url", "ftp://host/v1", "must be http:// or https://"),
        ("base_url", "https://host/v 1", "must be http:// or https://"),
        ("timeout", 0.0, "timeout=0.0"),
        ("attempts", 0, "attempts=0"),
        ("first_wait", -1.0, "first_wait=-1.0"),
        ("workers", 0, "workers=0"),
        ("response_format", "url", "b64_json"),
        ("size", 4, "size=4"),
    ],
)
def test_fields_are_checked_and_secrets_not_shown(field: str, value: Any, part: str) -> None:
    with pytest.raises(UsageError, match=part) as caught:
        make(generators, "http_image", {field: value})
    assert "secret" not in str(caught.value)
    assert "sk-pasted" not in str(caught.value)
