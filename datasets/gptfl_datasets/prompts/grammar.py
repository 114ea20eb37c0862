"""Prompt writers that need no language model.

The paper asks GPT-3 to fill the blanks around a label (section 3.1); its released code asks a T5
model instead. ``grammar`` fills the blanks from word lists: free, seeded, and the label is always
there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gptfl_bench.core.randomness import numpy_rng
from gptfl_bench.synthesis.generator import prompt_writers
from gptfl_datasets.prompts.writer import Asked, Writer
from gptfl_datasets.tasks.handwritten import DIGIT_NAMES

Blank = tuple[str, ...]

TRIES = 50
"""So many repeated sentences are thrown away before one is kept."""


@dataclass(frozen=True)
class Grammar:
    """Blanks around a label, in the order they are spoken; an empty string leaves one out.

    Attributes:
        medium: What kind of picture or recording.
        adjective: How it is; two of them may be drawn.
        noun: What stands right before the label.
        context: What follows the label.
    """

    medium: Blank
    adjective: Blank
    noun: Blank
    context: Blank

    def sentence(self, label: str, rng: np.random.Generator) -> str:
        """Return a sentence around ``label``."""

        def pick(words: Sequence[str]) -> str:
            return words[int(rng.integers(len(words)))]

        medium = pick(self.medium)
        adjectives = dict.fromkeys(pick(self.adjective) for _ in range(2))
        words = [word for word in (*adjectives, pick(self.noun), label) if word]
        if medium.endswith(" a") and words[0][0] in "aeiouAEIOU" and words[0] != "one":
            medium += "n"
        return " ".join(word for word in (medium, *words, pick(self.context)) if word)


WRITING = Grammar(
    medium=(
        "",
        "a photo of a",
        "a picture of a",
        "an image of a",
        "a scan of a",
        "a drawing of a",
        "a close-up of a",
        "a sketch of a",
        "the",
        "one",
    ),
    adjective=(
        "",
        "",
        "",
        "thin",
        "bold",
        "thick",
        "slanted",
        "upright",
        "tilted",
        "large",
        "small",
        "wide",
        "narrow",
        "messy",
        "neat",
        "blurry",
        "crisp",
        "faint",
        "handwritten",
        "handwritten",
        "scribbled",
        "clean",
    ),
    noun=("", "digit", "number", "numeral", "figure"),
    context=(
        "",
        "on paper",
        "in pencil",
        "in black ink",
        "on a form",
        "on a white page",
        "in a notebook",
        "on an envelope",
        "on a cheque",
        "written by hand",
        "written in a hurry",
        "written by a child",
        "with a felt pen",
        "on a blackboard",
    ),
)
"""For labels that are written signs."""

PICTURES = Grammar(
    medium=(
        "a photo of a",
        "a picture of a",
        "an image of a",
        "a close-up of a",
        "a painting of a",
        "a drawing of a",
        "a detailed view of a",
        "a snapshot of a",
    ),
    adjective=(
        "",
        "",
        "",
        "large",
        "small",
        "bright",
        "dark",
        "colourful",
        "plain",
        "typical",
        "beautiful",
        "old",
        "young",
        "single",
        "lone",
        "strange",
    ),
    noun=("",),
    context=(
        "",
        "in the morning",
        "at night",
        "in the open",
        "in the distance",
        "on a plain background",
        "in front of a blue sky",
        "on a rainy day",
        "in summer",
        "in winter",
        "seen from the side",
        "seen from above",
        "seen from the front",
        "in soft light",
        "in a city",
        "in the countryside",
    ),
)
SOUNDS = Grammar(
    medium=("", "a sound of", "the sound of", "a recording of", "a clip of", "the noise of"),
    adjective=("", "", "", "loud", "soft", "distant", "close", "short", "long", "clear", "muffled"),
    noun=("",),
    context=(
        "",
        "in a studio",
        "in the field",
        "at home",
        "in an office",
        "outdoors",
        "in a large hall",
        "in a quiet room",
        "in the street",
        "with some background noise",
    ),
)


@prompt_writers.register("grammar", title="sentences filled from word lists", source="offline")
class GrammarWriter(Writer):
    """Fills the blanks around a label from word lists.

    Attributes:
        VERSION: Names the word lists and rules in cells' names; new whenever a sentence changes.
    """

    VERSION: ClassVar[str] = "6b4128b622bcf735b6108a014eb2e93173957d3fce07bdfcf8e331d3f1121595"

    @property
    def fingerprint(self) -> str:
        """The version of word lists and rules."""
        return self.VERSION

    def texts(self, asked: Asked) -> list[str]:
        """Return ``count`` sentences that hold ``label``, its underscores turned into blanks.

        They are distinct as long as the grammar has enough; the first n of a longer list are the
        list of n. For speech each is the bare word, since a speaker would read out any other.
        """
        name = asked.label.replace("_", " ")
        if asked.modality == "speech":
            return [name] * asked.count
        pictures = WRITING if asked.label in DIGIT_NAMES else PICTURES
        grammar = SOUNDS if asked.modality == "sound" else pictures
        rng = numpy_rng(asked.seed, "prompts", asked.modality, asked.label)
        texts: list[str] = []
        seen: set[str] = set()
        repeats = 0
        while len(texts) < asked.count:
            sentence = grammar.sentence(name, rng)
            repeats = repeats + 1 if sentence in seen else 0
            # After many repeats in a row the grammar is as good as used up.
            if sentence not in seen or repeats > TRIES:
                seen.add(sentence)
                texts.append(sentence)
        return texts
