"""What a priced service may cost: no budget is passed, and nothing paid is asked for twice."""

import base64
import io
import itertools
import threading
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gptfl_bench.core.errors import UsageError
from gptfl_bench.synthesis.costs import BudgetSpent, Ledger, Priced
from gptfl_bench.synthesis.generator import Prompt, generators, make
from gptfl_datasets.generators.renderer import Renderer
from gptfl_datasets.generators.service import HttpImage
from gptfl_datasets.prompts.chat import ChatWriter


def drawn(**more: Any) -> dict[str, Any]:
    file = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(file, "PNG")
    return {"body": {"data": [{"b64_json": base64.b64encode(file.getvalue()).decode()}]}, **more}


def failed(status: int, code: str = "") -> dict[str, Any]:
    return {"body": {"error": {"message": "no", "code": code}}, "status": status}


def said(content: str, **more: Any) -> dict[str, Any]:
    return {"body": {"choices": [{"message": {"content": content}}]}, **more}


def prompts(count: int) -> list[Prompt]:
    return [Prompt("seal", f"seal {n}", 1.0, n, n) for n in range(count)]


def image(service: Any, **values: Any) -> HttpImage:
    quick = HttpImage(service.url, "draw-1", size=8, timeout=5, attempts=3, first_wait=0.01)
    return replace(quick, **({"price": 0.1, "workers": 1} | values))


def test_four_workers_never_pass_the_budget(service: Any) -> None:
    service.usual = drawn(pause=0.02)
    generator = image(service, workers=4, budget=1.0)
    samples = generator.generate(prompts(30))
    # Ten at 0.1, exactly, and every one that was paid is handed out.
    assert len(list(itertools.islice(samples, 10))) == 10
    with pytest.raises(BudgetSpent, match=r"has spent 1 of its budget of 1, .*http_image\.budget"):
        next(samples)
    assert len(service.requests) == 10
    assert generator.spent == 1.0


def test_one_process_has_one_budget(service: Any) -> None:
    service.usual = drawn()
    for _ in range(2):
        with pytest.raises(BudgetSpent):
            list(image(service, budget=0.3).generate(prompts(9)))
    assert len(service.requests) == 3
    more = image(service, budget=0.3).within(0.2)
    with pytest.raises(BudgetSpent):
        list(more.generate(prompts(9)))
    assert len(service.requests) == 5


def test_what_is_charged(service: Any) -> None:
    generator = image(service)
    service.acts = [failed(429), failed(503), drawn()]
    list(generator.generate(prompts(1)))
    assert generator.spent == 0.1
    # A refusal of the prompt, then its label alone.
    service.acts = [failed(400, "moderation_blocked"), drawn()]
    list(generator.generate(prompts(1)))
    assert generator.spent == 0.3
    service.acts = [{"body": b"no picture", "media_type": "application/json"}]
    with pytest.raises(UsageError):
        list(generator.generate(prompts(1)))
    assert generator.spent == 0.4
    for status in (400, 401):
        service.acts = [failed(status)]
        with pytest.raises(UsageError):
            list(generator.generate(prompts(1)))
    assert generator.spent == 0.4
    # Nobody knows what became of it.
    service.acts = [drawn(pause=9), drawn()]
    list(replace(generator, timeout=0.2).generate(prompts(1)))
    assert generator.spent == 0.6


def test_requests_on_their_way_count_until_they_are_answered() -> None:
    ledger = Ledger("generators.paid")
    with (
        ledger.request(0.1, 0.2),
        ledger.request(0.1, 0.2),
        pytest.raises(BudgetSpent),
        ledger.request(0.1, 0.2),
    ):
        pass
    assert ledger.spent == 0
    with ledger.request(0.1, 0.2) as charge:
        charge()
    assert ledger.spent == 0.1
    assert ledger.covers(1, 0.1, 0.2)
    assert not ledger.covers(2, 0.1, 0.2)


def test_no_more_than_the_workers_are_ahead_of_the_consumer(service: Any) -> None:
    service.usual = drawn()
    samples = image(service, workers=3).generate(prompts(20))
    next(samples)
    time.sleep(0.3)
    assert len(service.requests) <= 3
    assert len(list(samples)) == 19


def test_several_are_on_their_way_at_once(service: Any) -> None:
    # Each answer waits until three requests are there.
    together = threading.Barrier(3, timeout=5)

    def meet(asked: dict[str, Any]) -> dict[str, Any]:
        together.wait()
        return drawn()

    service.usual = meet
    assert len(list(image(service, workers=3).generate(prompts(3)))) == 3


def test_no_text_is_asked_for_that_nobody_wants_or_can_pay(service: Any) -> None:
    service.usual = lambda asked: said(f"seal {asked['seed']}", pause=0.02)
    writer = ChatWriter(base_url=service.url, model="talk", workers=4, price=0.1, budget=0.5)
    assert len(writer.write("seal", 3, modality="image", seed=0)) == 3
    assert len(service.requests) == 3
    with pytest.raises(BudgetSpent):
        writer.write("seal", 3, modality="image", seed=0)
    # Two could be paid, but not what they are for.
    assert len(service.requests) == 3
    assert writer.requests(1000, "image") == 200
    assert writer.requests(1000, "speech") == 0


def test_price_and_budget_determine_nothing(service: Any) -> None:
    assert image(service, budget=1.0).fingerprint == image(service, price=None).fingerprint
    priced, free = (ChatWriter(base_url=service.url, price=price) for price in (0.1, None))
    assert priced.fingerprint == free.fingerprint


def test_who_has_a_price() -> None:
    assert isinstance(HttpImage(), Priced)
    assert isinstance(ChatWriter(), Priced)
    assert not isinstance(Renderer(), Priced)


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({"price": 0.0}, "price=0.0 must be above 0"),
        ({"price": 1.0, "budget": -1.0}, "budget=-1.0 must be from 0"),
        ({"budget": 1.0}, "budget=1.0 needs a price"),
    ],
)
def test_prices_and_budgets_are_checked(values: dict[str, Any], part: str) -> None:
    with pytest.raises(UsageError, match=part):
        make(generators, "http_image", values)
