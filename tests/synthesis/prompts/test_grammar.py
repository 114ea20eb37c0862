from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptfl_bench.data.task import Modality
from gptfl_bench.synthesis.generator import prompt_writers
from gptfl_datasets.prompts.grammar import GrammarWriter

MODALITIES: tuple[Modality, ...] = ("image", "speech", "sound")
labels = st.text("abcdefghijklmnopqrstuvwxyzABC ", min_size=1, max_size=20).filter(str.strip)


@given(label=labels, modality=st.sampled_from(MODALITIES), count=st.integers(0, 40))
@settings(max_examples=60, deadline=None)
def test_every_prompt_holds_its_label(label: str, modality: Modality, count: int) -> None:
    texts = GrammarWriter().write(label, count, modality=modality, seed=0)
    assert len(texts) == count
    assert all(label in text for text in texts)


def test_underscores_of_a_label_are_spoken_as_blanks() -> None:
    texts = GrammarWriter().write("crying_baby", 20, modality="sound", seed=0)
    assert all("crying baby" in text and "_" not in text for text in texts)


def test_speech_is_the_bare_word_because_all_else_would_be_read_out() -> None:
    assert GrammarWriter().write("seven", 3, modality="speech", seed=0) == ["seven"] * 3


@pytest.mark.parametrize(("label", "count"), [("seven", 2_000), ("airplane", 2_000)])
def test_prompts_of_a_class_are_distinct(label: str, count: int) -> None:
    assert len(set(GrammarWriter().write(label, count, modality="image", seed=0))) == count


def test_more_prompts_than_the_grammar_has_are_still_given() -> None:
    # 6 media x 81 adjective pairs x 10 contexts is a bound on what the sound grammar can say.
    texts = GrammarWriter().write("rain", 6_000, modality="sound", seed=0)
    assert len(texts) == 6_000
    assert 2_000 < len(set(texts)) <= 6 * 81 * 10


def test_seed_and_label_alone_determine_the_prompts() -> None:
    def write(label: str, seed: int) -> list[str]:
        return GrammarWriter().write(label, 30, modality="image", seed=seed)

    assert write("six", 1) == write("six", 1)
    assert write("six", 1) != write("six", 2)
    assert write("six", 1) != [text.replace("five", "six") for text in write("five", 1)]


def test_a_shorter_list_is_the_start_of_a_longer_one() -> None:
    for modality in MODALITIES:
        short, long = (GrammarWriter().write("two", n, modality=modality, seed=3) for n in (10, 50))
        assert long[:10] == short


def test_articles_fit_the_word_that_follows() -> None:
    for label, seed in product(("eight", "one", "airplane"), range(3)):
        for text in GrammarWriter().write(label, 300, modality="image", seed=seed):
            assert " a upright" not in text
            assert " a eight" not in text
            assert " an one" not in text
            assert " a airplane" not in text


def test_the_writer_is_found_by_name() -> None:
    assert prompt_writers.get("grammar") is GrammarWriter
    assert len(GrammarWriter().fingerprint) == 64
