"""Prompts and samples in the cache: nothing is asked for twice, and nothing made is lost."""

import itertools
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gptfl_bench.cells.spec import CellSpec
from gptfl_bench.core.cache import Artifacts
from gptfl_bench.core.errors import UsageError
from gptfl_bench.data.access import Access
from gptfl_bench.data.task import Task
from gptfl_bench.engine.method import methods
from gptfl_bench.synthesis import shards
from gptfl_bench.synthesis.generator import Generator, Prompt, Sample
from gptfl_bench.synthesis.source import SyntheticSettings, SyntheticSource

MakeSpec = Callable[..., CellSpec]


@dataclass
class Moody:
    """A prompt writer that never says the same again."""

    fingerprint: str = "moody"
    words: Iterator[int] = field(default_factory=itertools.count)
    asked: list[tuple[str, int, tuple[str, ...]]] = field(default_factory=list)

    def write(
        self, label: str, count: int, *, modality: str, seed: int, labels: Sequence[str]
    ) -> list[str]:
        self.asked.append((label, count, tuple(labels)))
        return [f"{label} {next(self.words)}" for _ in range(count)]


class Failing:
    """Makes so many samples of a generator, then fails."""

    def __init__(self, whole: Generator, count: int) -> None:
        self.whole, self.count = whole, count
        self.fingerprint, self.modalities = whole.fingerprint, whole.modalities

    def generate(self, prompts: Sequence[Prompt]) -> Iterator[Sample]:
        for sample in self.whole.generate(prompts):
            if not self.count:
                raise UsageError("the service fails.")
            self.count -= 1
            yield sample


@pytest.fixture
def source(tiny_task: Task, make_spec: MakeSpec, tmp_path: Path) -> Callable[..., SyntheticSource]:
    """Return a maker of sources that share a cache; 1x is 60 samples of three labels."""
    spec = make_spec(methods.get("gptfl")())

    def make(writer: Any, multiplier: float = 0.1, **values: Any) -> SyntheticSource:
        settings = SyntheticSettings("fake", "fake", multiplier)
        cache = Artifacts(tmp_path / "cache")
        made = SyntheticSource(settings, tiny_task, 60, cache, spec.generator, lambda: writer)
        return replace(made, **values)

    return make


LABELS = ("cat", "dog", "eel")


def test_texts_are_asked_for_once_and_grow_behind_those_that_are_there(
    source: Callable[..., SyntheticSource],
) -> None:
    writer = Moody()
    first = source(writer).write_prompts(LABELS)
    assert [(p.label, p.number) for p in first[:4]] == [
        *(("cat", 0), ("dog", 0), ("eel", 0)),
        ("cat", 1),
    ]
    assert source(writer).write_prompts(LABELS) == first
    assert writer.asked == [("cat", 2, LABELS), ("dog", 2, LABELS), ("eel", 2, LABELS)]
    grown = source(writer, 0.3).write_prompts(LABELS)
    assert len(grown) == 18
    assert grown[:6] == first
    assert len({prompt.text for prompt in grown}) == 18
    # And less is the start of it again, whoever reads it.
    assert source(Moody()).write_prompts(LABELS) == first
    assert len(writer.asked) == 6
    other = Moody("other")
    source(other).write_prompts(LABELS)
    assert len(other.asked) == 3


def test_other_labels_are_another_question(source: Callable[..., SyntheticSource]) -> None:
    writer = Moody()
    source(writer, 0.01).write_prompts(["cat"])
    source(writer, 0.01).write_prompts(["cat", "dog"])
    assert writer.asked == [
        ("cat", 1, ("cat",)),
        ("cat", 1, ("cat", "dog")),
        ("dog", 1, ("cat", "dog")),
    ]


@pytest.mark.parametrize(
    "data", [b"{", b"[" * 100_000, b"{}", b'{"texts": [7]}', b'{"texts": ["%s"]}' % (b"x" * 10_001)]
)
def test_damaged_texts_are_one_sentence(
    source: Callable[..., SyntheticSource], tmp_path: Path, data: bytes
) -> None:
    source(Moody()).write_prompts(LABELS)
    for path in tmp_path.glob("cache/prompts/*/texts.json"):
        path.write_bytes(data)
    with pytest.raises(UsageError, match=r"texts.json', which keeps prompts, is damaged; remove"):
        source(Moody()).write_prompts(LABELS)


def test_a_writer_that_gives_too_few_is_one_sentence(
    source: Callable[..., SyntheticSource],
) -> None:
    class Short(Moody):
        def write(self, label: str, count: int, **more: Any) -> list[str]:
            return super().write(label, count - 1, **more)

    with pytest.raises(UsageError, match=r"'Short' gave 1 texts for the label 'cat', not 2"):
        source(Short()).write_prompts(LABELS)


def media(place: Path) -> list[tuple[str, bytes]]:
    (folder,) = place.glob("cache/synthetic/*")
    return [(path.name, path.read_bytes()) for path in sorted(folder.glob("media-*"))]


def test_what_was_made_before_a_failure_is_kept(
    source: Callable[..., SyntheticSource],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shards, "SHARD", 10)
    whole = source(None).generator()
    asked: list[int] = []

    class Counting(Failing):
        def generate(self, prompts: Sequence[Prompt]) -> Iterator[Sample]:
            asked.append(len(prompts))
            return super().generate(prompts)

    writer, attempts = Moody(), []
    for count in (7, 5, 100):
        broken = Counting(whole, count)
        try:
            source(writer, 0.4, generator=lambda broken=broken: broken).samples(LABELS)
            attempts.append("made")
        except UsageError:
            attempts.append("failed")
    assert attempts == ["failed", "failed", "made"]
    # 24 samples in shards of 10: seven, three and two, the last eight of the second, and four.
    assert asked == [10, 3, 10, 8, 4]
    resumed = media(tmp_path)
    assert [name for name, _ in resumed] == [f"media-{n:08}.npy" for n in (0, 10, 20)]
    elsewhere = Artifacts(tmp_path / "at once" / "cache")
    source(Moody(), 0.4, generator=lambda: whole, artifacts=elsewhere).samples(LABELS)
    assert media(tmp_path / "at once") == resumed


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", b"\x80\x04N."])
def test_unfinished_work_that_is_damaged_is_made_again(
    source: Callable[..., SyntheticSource], tmp_path: Path, damage: bytes
) -> None:
    writer = Moody()
    whole = source(writer).generator()
    with pytest.raises(UsageError):
        source(writer, generator=lambda: Failing(whole, 2)).samples(LABELS)
    (begun,) = tmp_path.glob("cache/synthetic/*/*.begun")
    assert len(np.load(begun)) == 2
    begun.write_bytes(damage)
    source(writer).samples(LABELS)
    assert not list(tmp_path.glob("cache/synthetic/*/*.begun"))
    assert len(np.load(next(tmp_path.glob("cache/synthetic/*/media-*.npy")))) == 6


def test_a_kill_costs_what_was_made_since_the_last_keeping(
    source: Callable[..., SyntheticSource], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "KEEP_EVERY", 0.0)
    whole = source(None).generator()

    class Stuck(Failing):
        def generate(self, prompts: Sequence[Prompt]) -> Iterator[Sample]:
            yield from itertools.islice(self.whole.generate(prompts), self.count)
            time.sleep(60)

    writer = Moody()
    stuck = source(writer, generator=lambda: Stuck(whole, 4))
    stuck.write_prompts(LABELS)
    process = multiprocessing.get_context("fork").Process(target=stuck.samples, args=(LABELS,))
    process.start()
    deadline = time.monotonic() + 30
    while _begun(tmp_path) < 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    rest = Failing(whole, 2)
    source(writer, generator=lambda: rest).samples(LABELS)
    assert rest.count == 0


def _begun(place: Path) -> int:
    return sum(len(np.load(path)) for path in place.glob("cache/synthetic/*/*.begun"))


def test_nothing_is_fetched_where_downloads_are_forbidden(make_spec: MakeSpec) -> None:
    spec = make_spec(methods.get("fedavg")())
    chosen = replace(
        spec.settings,
        synthetic=SyntheticSettings("diffusion", "llm"),
        generators={"diffusion": {"local_files_only": False}},
        prompts={"llm": {"local_files_only": False}},
    )
    free = replace(spec, settings=chosen)
    closed = replace(free, access=Access(download=False))
    parts: list[tuple[Any, Any]] = [
        (free.generator(), closed.generator()),
        (free.prompt_writer(), closed.prompt_writer()),
    ]
    for fetching, local in parts:
        assert not fetching.local_files_only
        assert local.local_files_only
        assert fetching.fingerprint == local.fingerprint
    # A part without that field is made as it is.
    assert replace(closed, settings=spec.settings).generator().fingerprint == "fake-1"


def test_kept_texts_tell_their_origin(
    source: Callable[..., SyntheticSource], tmp_path: Path
) -> None:
    source(Moody()).write_prompts(LABELS)
    kept = [json.loads(path.read_bytes()) for path in tmp_path.glob("cache/prompts/*/texts.json")]
    assert {about["label"] for about in kept} == set(LABELS)
    assert all(about["prompt_writer_fingerprint"] == "moody" for about in kept)
    assert all(about["texts"][0].startswith(about["label"]) for about in kept)
