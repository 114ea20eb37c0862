"""``generate`` with a service on loopback: what it costs is said first, bounded, and paid once."""

import base64
import io
import itertools
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gptfl_bench.cli import main
from gptfl_bench.core.errors import UsageError
from gptfl_bench.synthesis import prompts as prompt_files
from gptfl_bench.synthesis.costs import BudgetSpent
from gptfl_bench.synthesis.generator import Prompt, Sample, generators
from gptfl_datasets.generators.renderer import Renderer

Answer = tuple[int, str, str]
Generate = Callable[..., Answer]


def drawn(asked: dict[str, Any]) -> dict[str, Any]:
    rng = np.random.default_rng(zlib.crc32(asked["prompt"].encode()))
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(file, "PNG")
    return {"body": {"data": [{"b64_json": base64.b64encode(file.getvalue()).decode()}]}}


@pytest.fixture
def moody(service: Any) -> Any:
    """The service, drawing what it is told and never saying the same again."""
    count = itertools.count()

    def answer(asked: dict[str, Any]) -> dict[str, Any]:
        if "prompt" in asked:
            return drawn(asked)
        label = asked["messages"][0]["content"].split("_ ")[4].split()[0]
        return {"body": {"choices": [{"message": {"content": f"{label} {next(count)}"}}]}}

    service.usual = answer
    return service


@pytest.fixture
def generate(moody: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Generate:
    """Return a function that makes ten digits with the service, and more with other words."""

    def run(*words: object, out: Path = tmp_path / "out", cache: str = "cache") -> Answer:
        capfd.readouterr()
        ours = ["generate", "--generator", "http_image", "--multiplier", "0.005", "--out", out]
        ours += ["--cache", tmp_path / cache, *words]
        for part in ("generators.http_image", "prompts.chat"):
            ours += [f"{part}.base_url={moody.url}", f"{part}.model=m", f"{part}.first_wait=0.01"]
        code = main([str(word) for word in [*ours, "generators.http_image.size=8"]])
        out_text, err = capfd.readouterr()
        assert moody.key not in out_text + err
        return code, out_text, err

    return run


PRICE = "generators.http_image.price=0.04"
CHAT = "synthetic.prompts=chat"


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def asked_for(service: Any, field: str) -> list[str]:
    return [str(request.body[field]) for request in service.requests if field in request.body]


def test_the_plan_says_what_it_costs_and_asks_nobody(
    generate: Generate, moody: Any, tmp_path: Path
) -> None:
    words = ["--plan", PRICE, CHAT, "prompts.chat.price=0.001", "prompts.chat.distinct=2"]
    code, out, _ = generate(*words, "--multiplier", "0.02")
    assert code == 0
    assert out.splitlines() == [
        "30 samples wanted, 0 there, 30 to make now",
        "20 requests or more to 'chat', for 0.02 or more at 0.001 each",
        "30 requests or more to 'http_image', for 1.2 or more at 0.04 each",
        "time: not known yet",
    ]
    _, out, _ = generate(*words, "--money", "0.9", "--rank", "1/2")
    assert out.splitlines() == [
        "10 samples wanted, 0 there, 5 to make now",
        "10 requests or more to 'chat', for 0.01 or more at 0.001 each; the budget of 0.9 pays "
        "for 900",
        "5 requests or more to 'http_image', for 0.2 or more at 0.04 each; the budget of 0.89 "
        "pays for 22",
        "time: not known yet",
    ]
    _, out, _ = generate("--plan")
    assert "10 requests or more to 'http_image', at a price that is not known" in out
    assert not moody.requests
    assert not list(tmp_path.iterdir())


def test_a_budget_ends_it_and_the_same_command_goes_on(
    generate: Generate, moody: Any, tmp_path: Path
) -> None:
    bounded = [PRICE, "generators.http_image.workers=4", "--money", "0.17"]
    code, out, err = generate(*bounded)
    assert (code, err.count("can't")) == (0, 0)
    assert "the budget of 0.17 pays for 4" in out
    assert "money spent: 0.16" in out
    assert "stopped early: 'http_image' has spent 0.16 of its budget of 0.17" in out
    assert "4 of 10 are in" in out
    assert len(moody.requests) == len(list((tmp_path / "out").rglob("*.png"))) == 4
    _, out, _ = generate(*bounded, "--plan")
    assert "10 samples wanted, 4 there, 6 to make now" in out
    assert "time: about" in out
    _, out, _ = generate(*bounded[:2], "--money", "5")
    assert "money spent: 0.24" in out
    assert "stopped" not in out
    assert len(asked_for(moody, "prompt")) == len(set(asked_for(moody, "prompt"))) == 10
    _, out, _ = generate(*bounded)
    assert "0 samples made" in out
    assert "money spent: 0\n" in out
    generate(PRICE, out=tmp_path / "at once")
    assert content(tmp_path / "out") == content(tmp_path / "at once")


def test_a_budget_for_prompts_and_samples_is_one(
    generate: Generate, moody: Any, tmp_path: Path
) -> None:
    both = [CHAT, PRICE, "prompts.chat.price=0.01"]
    _, out, _ = generate(*both, "--money", "0.055")
    assert "stopped early: 'chat' has spent 0.05 of its budget of 0.055" in out
    assert "0 of 10 are in" in out
    assert not (tmp_path / "out").exists()
    _, out, _ = generate(*both, "--money", "0.05")
    assert "stopped early: 'http_image' has spent 0 of its budget of 0," in out
    assert not (tmp_path / "out").exists()
    _, out, _ = generate(*both, "--money", "0.08")
    assert "money spent: 0.08" in out
    assert "2 of 10 are in" in out
    # Five texts each time, and none twice.
    assert len(asked_for(moody, "messages")) == 10


@dataclass(frozen=True)
class Paid(Renderer):
    """Somebody's own generator that states a price."""

    price: float | None = 2.5
    budget: float | None = None
    spent = 7.0

    def requests(self, count: int, modality: str) -> int:
        return -(-count // 4)

    def within(self, money: float) -> "Paid":
        return replace(self, budget=money)

    def generate(self, prompts: Sequence[Prompt]) -> Iterator[Sample]:
        yield from super().generate(prompts[:4])
        raise BudgetSpent(f"no more than {self.budget}.")


def test_anybodys_generator_may_state_a_price(
    generate: Generate, monkeypatch: pytest.MonkeyPatch
) -> None:
    generators.names()
    monkeypatch.setitem(generators._parts, "paid", Paid)
    _, out, _ = generate("--plan", "--generator", "paid", "generators.paid.budget=17")
    assert "3 requests or more to 'paid', for 7.5 or more at 2.5 each" in out
    assert "the budget of 10 pays for 4" in out
    code, out, _ = generate("--generator", "paid", "--money", "5")
    assert code == 0
    assert "the budget of 5 pays for 2" in out
    assert "stopped early: no more than 5.0." in out
    assert "4 of 10 are in" in out


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--money", "1"], "--money needs the price of a request to 'http_image'; set generators"),
        (["--money", "1", "--generator", "renderer"], "'renderer' and 'grammar' have no price"),
        (["--money", "1", PRICE, CHAT], "the price of a request to 'chat'; set prompts.chat.price"),
        (["--money", "0", PRICE], "money=0.0 must be above 0"),
        (["--money", "nan", PRICE], "money=nan must be above 0"),
    ],
)
def test_money_without_a_price(
    generate: Generate, moody: Any, tmp_path: Path, words: list[str], part: str
) -> None:
    code, _, err = generate(*words)
    assert code == 2
    assert part in err
    assert not moody.requests
    assert not (tmp_path / "out").exists()


def test_prompts_of_a_folder_count_for_others_with_caches_of_their_own(
    generate: Generate, moody: Any, tmp_path: Path
) -> None:
    generate(CHAT, "--rank", "0/2")
    before = rows(tmp_path / "out" / "prompts.jsonl")
    assert [sorted(row) for row in before] == [["guidance", "label", "number", "seed", "text"]] * 10
    generate(CHAT, "--rank", "1/2", cache="another machine")
    assert len(asked_for(moody, "messages")) == 10
    assert rows(tmp_path / "out" / "prompts.jsonl") == before
    made = rows(tmp_path / "out" / "metadata.jsonl")
    assert [row["prompt"] for row in made] == [row["text"] for row in before]
    assert sorted(asked_for(moody, "prompt")) == sorted(row["text"] for row in before)
    # Three times as many, from a third machine: none of those that are there changes.
    generate(CHAT, "--multiplier", "0.02", cache="a third")
    after = rows(tmp_path / "out" / "prompts.jsonl")
    assert after[:10] == before
    assert rows(tmp_path / "out" / "metadata.jsonl")[:10] == made
    assert len(after) == 30 == len(asked_for(moody, "prompt"))
    # Less again: no prompt is lost.
    generate(CHAT, cache="a fourth")
    assert rows(tmp_path / "out" / "prompts.jsonl") == after


def test_of_two_that_begin_at_once_the_first_ones_prompts_count(
    generate: Generate, moody: Any, tmp_path: Path
) -> None:
    usual, others = moody.usual, list[bool]()

    def answer(asked: dict[str, Any]) -> dict[str, Any]:
        if "prompt" in asked and not others:
            # While the first sample is being made, somebody else is faster.
            others.append(True)
            place = tmp_path / "out" / "prompts.jsonl"
            place.parent.mkdir()
            kept = [
                json.loads(path.read_bytes()) for path in tmp_path.glob("cache/prompts/*/t*.json")
            ]
            place.write_text(
                "".join(
                    json.dumps(
                        {
                            "label": about["label"],
                            "number": 0,
                            "text": f"{about['label']} of theirs",
                            "guidance": 2.0,
                            "seed": 1,
                        }
                    )
                    + "\n"
                    for about in kept
                )
            )
        made: dict[str, Any] = usual(asked)
        return made

    moody.usual = answer
    assert generate(CHAT, "generators.http_image.workers=1")[0] == 0
    made = rows(tmp_path / "out" / "metadata.jsonl")
    assert {row["prompt"] for row in made} == {f"{row['label']} of theirs" for row in made}
    assert asked_for(moody, "prompt")[1:] == [row["prompt"] for row in made]


def test_metadata_say_what_a_sample_was_made_from(
    generate: Generate, moody: Any, tmp_path: Path
) -> None:
    usual = moody.usual
    strict = {"error": {"message": "no", "code": "moderation_blocked"}}

    def answer(asked: dict[str, Any]) -> dict[str, Any]:
        if "seven" in asked.get("prompt", "") and asked["prompt"] != "seven":
            return {"body": strict, "status": 400}
        made: dict[str, Any] = usual(asked)
        return made

    moody.usual = answer
    _, out, _ = generate(PRICE, "--rank", "0/2")
    _, out, _ = generate(PRICE, "--rank", "1/2")
    assert "money spent: 0.24" in out
    planned = {row["label"]: row["text"] for row in rows(tmp_path / "out" / "prompts.jsonl")}
    made = {row["label"]: row["prompt"] for row in rows(tmp_path / "out" / "metadata.jsonl")}
    assert planned.pop("seven") != made.pop("seven") == "seven"
    assert planned == made
    # Killed before the sample was there, and not refused the next time.
    (tmp_path / "out" / "seven" / "000000.png").unlink()
    moody.usual = usual
    generate(PRICE)
    for name in ("prompts.jsonl", "metadata.jsonl"):
        (row,) = [row for row in rows(tmp_path / "out" / name) if row["label"] == "seven"]
        assert row.get("text", row.get("prompt")) != "seven"
    assert not (tmp_path / "out" / "replaced.jsonl").exists()


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[" * 100_000,
        "7",
        '{"label": "one", "number": 0, "text": "one", "guidance": 1.0}',
        '{"label": "one", "number": 0, "text": 7, "guidance": 1.0, "seed": 1}',
        '{"label": "one", "number": -1, "text": "one", "guidance": 1.0, "seed": 1}',
        '{"label": "one", "number": 0, "text": "one", "guidance": NaN, "seed": 1}',
        '{"label": "one", "number": 0, "text": "one", "guidance": 1.0, "seed": 1e400}',
        f'{{"label": "one", "number": 0, "text": "{"x" * 10_001}", "guidance": 1.0, "seed": 1}}',
    ],
)
def test_lines_that_are_no_prompts(tmp_path: Path, line: str) -> None:
    good = Prompt("one", "a one", 1.5, 2**62, 3)
    place = tmp_path / "prompts.jsonl"
    prompt_files.write(place, [good])
    assert prompt_files.read(place) == {("one", 3): good}
    place.write_text(f"{place.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"line 3 of .*prompts.jsonl' can't be read as prompts"):
        prompt_files.read(place)


def test_too_many_bytes_are_no_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_files, "_MOST", 9)
    (tmp_path / "prompts.jsonl").write_bytes(b" " * 10)
    with pytest.raises(UsageError, match="can't be read as prompts"):
        prompt_files.read(tmp_path / "prompts.jsonl")


def test_damaged_prompts_are_one_sentence(generate: Generate, tmp_path: Path) -> None:
    generate("--generator", "renderer")
    place = tmp_path / "out" / "prompts.jsonl"
    place.write_bytes(place.read_bytes() + b"{\n")
    before = content(tmp_path / "out")
    code, _, err = generate("--generator", "renderer", "--multiplier", "0.02")
    assert code == 2
    assert f"line 11 of '{place}' can't be read as prompts; bring" in err
    assert len(err.splitlines()) == 1
    assert content(tmp_path / "out") == before


def test_no_key_is_left_anywhere(generate: Generate, moody: Any, tmp_path: Path) -> None:
    generate(CHAT, PRICE)
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert not any(moody.key.encode() in data for data in files)


def test_a_run_over_budget_is_refused_in_one_sentence_and_goes_on_later(
    moody: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "--methods", "gptfl", "--preset", "quick", "--seeds", "0", "rounds=0"]
    words += ["--out", str(tmp_path / "runs"), "--cache", str(tmp_path / "cache")]
    words += ["synthetic.generator=http_image", "synthetic.multiplier=0.005"]
    words += [f"generators.http_image.base_url={moody.url}", "generators.http_image.model=m"]
    words += ["generators.http_image.size=32", PRICE]
    main([*words, "generators.http_image.budget=0.2"])
    said = capfd.readouterr()
    assert "has spent 0.2 of its budget of 0.2" in said.out + said.err
    assert len(moody.requests) == 5
    main([*words, "generators.http_image.budget=5"])
    assert len(asked_for(moody, "prompt")) == len(set(asked_for(moody, "prompt"))) == 10
