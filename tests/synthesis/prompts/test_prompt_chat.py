"""Prompts by a chat service on loopback."""

from dataclasses import replace
from typing import Any

import pytest

from gptfl_bench.core.errors import UsageError
from gptfl_bench.synthesis.generator import make, prompt_writers
from gptfl_datasets.prompts.chat import ChatWriter


def answer(body: object, **more: Any) -> dict[str, Any]:
    return {"body": body, **more}


def failed(status: int, code: str, message: str = "no", **more: Any) -> dict[str, Any]:
    error = {"message": message, "type": "error", "param": None, "code": code}
    return answer({"error": error}, status=status, **more)


def said(content: str | None) -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    return answer({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})


def chat(service: Any, **values: Any) -> ChatWriter:
    writer = ChatWriter(base_url=service.url, model="talk-1", attempts=2, first_wait=0.01)
    return replace(writer, workers=1, **values)


def test_a_chat_is_asked_the_papers_question(service: Any) -> None:
    service.usual = said('A: "Large commercial airplane in the blue sky."')
    texts = chat(service).write("airplane", 1, modality="image", seed=3)
    assert texts == ["Large commercial airplane in the blue sky."]
    request = service.requests[0]
    assert request.path == "/v1/chat/completions"
    assert request.headers["Authorization"] == f"Bearer {service.key}"
    seed = request.body.pop("seed")
    assert 0 <= seed < 2**31
    assert request.body == {
        "model": "talk-1",
        "messages": [
            {
                "role": "user",
                "content": '" _ _ _ _ airplane _ _ _ _ "\nPlease fill in the blank and make it '
                "as a prompt to generate the image.",
            }
        ],
    }


def test_answers_of_a_chat_are_filtered_and_counted(service: Any) -> None:
    refusing = failed(400, "content_policy_violation")
    service.acts = [said("a cat on a mat"), said(None), refusing, said("a dog"), said("cats!")]
    service.usual = said("A cat on a mat")
    writer = chat(service, tries=8, distinct=5, temperature=0.5)
    texts = writer.write("cat", 4, modality="image", seed=0)
    assert texts[:2] == ["a cat on a mat", "cats!"]
    assert set(texts) == {"a cat on a mat", "cats!"}
    assert writer.tallies["cat"] == {"kept": 2, "empty": 2, "without label": 1, "repeated": 3}
    assert len(service.requests) == 8
    assert len({request.body["seed"] for request in service.requests}) == 8
    assert {request.body["temperature"] for request in service.requests} == {0.5}


def test_a_chat_that_fails_names_the_way_out(service: Any) -> None:
    service.usual = failed(401, "invalid_api_key")
    with pytest.raises(UsageError, match=r"key in the variable.*synthetic.prompts=grammar"):
        chat(service).write("cat", 1, modality="image", seed=0)
    service.usual = answer({"choices": []})
    with pytest.raises(UsageError, match="no text in choices"):
        chat(service).write("cat", 1, modality="image", seed=0)
    with pytest.raises(UsageError, match=r"set prompts\.chat\.base_url="):
        make(prompt_writers, "chat", {}).write("cat", 1, modality="image", seed=0, labels=())
    assert service.key not in repr(chat(service)) + chat(service).fingerprint
