"""Prompt writers that need no network: templates, lists, and a language model on this machine."""

import json
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest
import torch

from gptfl_bench.core.errors import UsageError
from gptfl_bench.synthesis.generator import make, prompt_writers
from gptfl_datasets.prompts.blank_filling import BlankFiller, first_line
from gptfl_datasets.prompts.from_files import ListWriter
from gptfl_datasets.prompts.llm import LocalWriter
from gptfl_datasets.prompts.templates import TemplateWriter


@pytest.mark.parametrize(
    ("label", "modality", "subject", "text"),
    [
        ("pink_primrose", "image", "flower", "a flower photo of pink primrose"),
        ("crying_baby", "sound", None, "a sound of crying baby"),
        ("seven", "speech", None, "seven"),
        ("airplane", "image", None, "a photo of an airplane"),
        ("aquarium_fish", "image", None, "a photo of an aquarium fish"),
        ("deer", "image", None, "a photo of a deer"),
        ("one", "image", None, "a photo of a one"),
    ],
)
def test_templates_are_those_of_the_released_code(
    label: str, modality: Any, subject: str | None, text: str
) -> None:
    assert TemplateWriter(subject).write(label, 3, modality=modality, seed=5) == [text] * 3


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    (tmp_path / "Sea_Lion.txt").write_text("one sea lion\n\ntwo  sea lions \n", encoding="utf-8")
    lines = [json.dumps("a dog"), json.dumps({"text": "dogs"}), json.dumps({"text": "dög\u2028s"})]
    (tmp_path / "dog.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "notes.md").write_text("nothing", encoding="utf-8")
    return tmp_path


def written(path: Path, label: str, count: int, seed: int = 0) -> list[str]:
    return ListWriter(str(path)).write(label, count, modality="image", seed=seed)


def test_lists_are_handed_out_in_order_and_then_repeated(lists: Path) -> None:
    assert written(lists, "sea lion", 2) == ["one sea lion", "two sea lions"]
    assert written(lists, "dog", 3) == ["a dog", "dogs", "dög s"]
    many = written(lists, "dog", 60)
    assert many[:3] == ["a dog", "dogs", "dög s"]
    assert set(many[3:]) == {"a dog", "dogs", "dög s"}
    assert many[:30] == written(lists, "dog", 30)
    assert many != written(lists, "dog", 60, seed=1)


def test_one_file_may_hold_all_labels(tmp_path: Path, lists: Path) -> None:
    path = tmp_path / "all.json"
    rows = [{"label": "dog", "text": "a dog", "seed": 1}, {"label": "Cat", "text": "a cat"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert written(path, "cat", 1) == ["a cat"]
    assert ListWriter(str(path)).fingerprint != ListWriter(str(lists)).fingerprint


def test_prompts_and_not_their_place_make_the_fingerprint(lists: Path, tmp_path: Path) -> None:
    first = ListWriter(str(lists)).fingerprint
    assert ListWriter(str(lists.rename(tmp_path.parent / "moved"))).fingerprint == first


@pytest.mark.parametrize(
    ("name", "data", "part"),
    [
        ("dog.jsonl", b'"fine"\n{"text": 7}\n', r"line 2 of .*dog.jsonl' is no prompt"),
        ("dog.jsonl", b"[" * 100_000, "line 1 of"),
        ("dog.txt", b"x" * 2_001, "1 to 2,000 letters"),
        ("dog.txt", b"\xff", "is no UTF-8 text"),
    ],
)
def test_damaged_lists_are_one_sentence(tmp_path: Path, name: str, data: bytes, part: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UsageError, match=part):
        written(tmp_path, "dog", 1)


def test_a_list_that_is_not_there(lists: Path) -> None:
    with pytest.raises(UsageError, match=r"no prompts for the label 'eel'.*prompts=grammar"):
        written(lists, "eel", 1)
    # A label is never a path.
    (lists.parent / "eel.txt").write_text("an eel", encoding="utf-8")
    with pytest.raises(UsageError, match="no prompts for the label"):
        written(lists, "../eel", 1)
    with pytest.raises(UsageError, match="can't be read"):
        written(lists / "none", "eel", 1)
    with pytest.raises(UsageError, match=r"needs prompts\.list\.path=PATH"):
        make(prompt_writers, "list", {}).write("eel", 1, modality="image", seed=0, labels=())


@dataclass(frozen=True)
class Scripted(BlankFiller):
    """Answers as it is told, and then the last again and again."""

    answers: tuple[str, ...] = ("a cat",)
    model_name = "scripted"

    def _answers(
        self, question: str, seed: int, missing: Callable[[], int]
    ) -> Generator[str, None, None]:
        yield from chain(self.answers, repeat(self.answers[-1]))


def test_answers_are_filtered_and_counted() -> None:
    writer = Scripted(
        tries=11,
        distinct=11,
        longest=12,
        answers=(
            "1. A cat, asleep.",
            "   ",
            "a category of its own",
            "a cat and two dogs",
            "one cat on a very red mat that is as flat as mats are",
            "a cat and a cat and a cat and a cat and a cat",
            "very very very very old cat",
            "a CAT, asleep.",
            "Cats at night",
        ),
    )
    labels = ["cat", "dog", "pine_tree", "tree"]
    texts = writer.write("cat", 20, modality="image", seed=0, labels=labels)
    assert texts[:3] == ["A cat, asleep.", "very very very very old cat", "Cats at night"]
    assert len(texts) == 20
    assert writer.tallies == {
        "cat": Counter(
            {
                "kept": 3,
                "empty": 1,
                "without label": 1,
                "other label": 1,
                "too long": 1,
                "loop": 1,
                "repeated": 3,
            }
        )
    }


def test_a_label_inside_another_is_told_apart() -> None:
    labels = ["pine_tree", "tree"]
    assert Scripted().fault("a pine-tree in snow", "pine tree", {}, labels) == ""
    assert Scripted().fault("a pine tree in snow", "tree", {}, labels) == "other label"
    assert Scripted().fault("_ _ a tree _ _", "tree", {}) == "blanks left"


def test_no_more_is_asked_than_is_wanted() -> None:
    writer = Scripted(answers=("a cat", "two cats", "three cats"))
    assert writer.write("cat", 2, modality="image", seed=0) == ["a cat", "two cats"]
    assert writer.tallies["cat"].total() == 2
    assert writer.write("cat", 0, modality="image", seed=0) == []
    assert writer.write("big_cat", 2, modality="speech", seed=0) == ["big cat"] * 2


def test_no_usable_answer_is_one_sentence() -> None:
    with pytest.raises(UsageError, match=r"'scripted' gave no usable .*\(without label 250\)"):
        Scripted().write("dog", 3, modality="image", seed=0)


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        ("Sure! Here is a prompt:\n\n**A cat.**", "A cat."),
        ('A: "A cat"\nQ: next', "A cat"),
        ("Prompt: - a  cat", "- a cat"),
        ("A cat", "A cat"),
        ("\n", ""),
    ],
)
def test_of_an_answer_its_first_line_counts(answer: str, line: str) -> None:
    assert first_line(answer) == line


def test_fields_are_checked() -> None:
    for values, part in (
        ({"query": "say something"}, "must contain {label}"),
        ({"distinct": 300}, "distinct=300 must be from 1 to tries=250"),
        ({"temperature": 0.0}, "temperature=0.0 must be above 0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"new_tokens": 0}, "new_tokens=0"),
    ):
        with pytest.raises(UsageError, match=part):
            make(prompt_writers, "llm", values)


@pytest.fixture(scope="module")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal model of random weights over letters that answers in some few of them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate([*letters, "<end>"])}
    letter_wise = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    letter_wise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    letter_wise.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=letter_wise, eos_token="<end>"
    )
    torch.manual_seed(0)
    end = vocabulary["<end>"]
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(vocabulary),
            n_positions=256,
            n_embd=8,
            n_layer=1,
            n_head=1,
            bos_token_id=end,
            eos_token_id=end,
            tie_word_embeddings=False,
        )
    )
    # Random weights write noise; these prefer what the words "a cat" are made of.
    with torch.no_grad():
        model.transformer.ln_f.weight.zero_()
        model.transformer.ln_f.bias.fill_(1.0)
        model.lm_head.weight.zero_()
        for letter in "catĠ":
            model.lm_head.weight[vocabulary[letter]] = 1.5
    folder = tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def local(folder: Path, **values: Any) -> LocalWriter:
    return LocalWriter(model=str(folder), device="cpu", new_tokens=16, **values)


def test_a_language_model_on_this_machine_fills_the_blanks(language_model: Path) -> None:
    writer = local(language_model, tries=120, distinct=3)
    texts = writer.write("a", 5, modality="image", seed=1)
    tally = writer.tallies["a"]
    assert tally["kept"] == 3
    assert tally["without label"] > 0
    assert tally.total() <= 120
    assert len(set(texts[:3])) == 3
    assert all("a" in text.lower().replace("-", " ").split() for text in texts)
    # Not the question itself.
    assert not any("Please" in text for text in texts)


def overheard(writer: LocalWriter, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of what a writer's model is given from now on."""
    model, tokenizer = writer.loaded
    asked: list[str] = []
    generate: Any = model.generate

    def spy(**given: Any) -> Any:
        asked.append(str(tokenizer.decode(given["input_ids"][0])))
        return generate(**given)

    monkeypatch.setattr(model, "generate", spy)
    return asked


def test_a_chat_model_is_asked_by_its_template(
    language_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = local(language_model, query="Fill {label} for the {medium}", tries=60, distinct=1)
    asked = overheard(writer, monkeypatch)
    tokenizer = writer.loaded[1]
    writer.write("a", 1, modality="sound", seed=0)
    tokenizer.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<me>"
    writer.write("a", 1, modality="sound", seed=0)
    question = "Fill a for the sound"
    assert set(asked) == {f"Q: {question}\nA:", f"<user>{question}<me>"}


def test_a_model_that_encodes_first_is_given_the_bare_question(
    language_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration

    tokenizer = AutoTokenizer.from_pretrained(language_model)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=8,
        d_kv=4,
        d_ff=8,
        num_layers=1,
        num_heads=1,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
    )
    config.decoder_start_token_id = tokenizer.eos_token_id
    torch.manual_seed(0)
    T5ForConditionalGeneration(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    writer = local(tmp_path, query="an {label}", tries=9, distinct=9)
    asked = overheard(writer, monkeypatch)
    with pytest.raises(UsageError, match="in 9 answers"):
        writer.write("Airplane", 9, modality="image", seed=0)
    # Two batches of eight.
    assert asked == ["an Airplane"] * 2


def test_seed_and_label_alone_determine_the_answers(language_model: Path) -> None:
    def answers(seed: int, count: int, label: str = "a") -> list[str]:
        writer = local(language_model, tries=60, distinct=5)
        return writer.write(label, count, modality="image", seed=seed)

    torch.manual_seed(1)
    first = answers(0, 4)
    state = torch.get_rng_state()
    assert answers(0, 2) == first[:2]
    assert torch.equal(torch.get_rng_state(), state)
    assert answers(1, 4) != first


def test_no_usable_answer_of_a_model_counts_them(language_model: Path) -> None:
    writer = local(language_model, tries=11, distinct=1)
    with pytest.raises(UsageError, match=r"label 'zebra' in 11 answers \(.*without label"):
        writer.write("zebra", 1, modality="image", seed=0)
    assert writer.tallies["zebra"].total() == 11


def test_weights_and_settings_make_the_fingerprint(language_model: Path) -> None:
    first = local(language_model).fingerprint
    assert local(language_model).fingerprint == first
    assert local(language_model, temperature=0.5).fingerprint != first
    assert local(language_model, query="{label}").fingerprint != first
    assert LocalWriter().fingerprint != first


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"needs prompts\.llm\.model=MODEL"):
        make(prompt_writers, "llm", {}).write("cat", 1, modality="image", seed=0, labels=())
    for model in (str(tmp_path), "nobody/nothing"):
        with pytest.raises(UsageError, match=r"can't be loaded .*synthetic\.prompts=grammar"):
            LocalWriter(model=model).write("cat", 1, modality="image", seed=0)


def test_weights_in_pickles_are_refused(language_model: Path, tmp_path: Path) -> None:
    for path in language_model.iterdir():
        if path.suffix == ".json":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UsageError, match="can't be loaded"):
        LocalWriter(model=str(tmp_path)).write("cat", 1, modality="image", seed=0)
