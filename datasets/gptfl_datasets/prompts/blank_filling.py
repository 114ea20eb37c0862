"""Prompts by a language model that fills the blanks around a label, as in the paper (section 3.1).

Differs from the paper: an answer must hold its label, name no other, be short and not repeat
itself, where the released prompts are noisy; each answer is used once before any is used again,
where the released code draws all.
"""

import hashlib
import itertools
import json
import logging
import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.randomness import address_seed
from gptfl_bench.synthesis.generator import Plain
from gptfl_datasets.backends.words import spoken
from gptfl_datasets.prompts.from_files import spread
from gptfl_datasets.prompts.writer import Asked, Writer

RULES = "e6396c67a9b779fd5f0ed808ba49b752ef7777fcce3fd3c72d306b08a2bb577b"
"""Names the rules of this file in cells' names; new whenever they let other texts pass."""

QUERY = (
    '" _ _ _ _ {label} _ _ _ _ "\n'
    "Please fill in the blank and make it as a prompt to generate the {medium}."
)
"""The paper's question; ``{label}`` and ``{medium}`` (image or sound) are put in."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BlankFiller(Writer):
    """Asks until there are enough usable answers.

    Attributes:
        query: The question, with ``{label}`` and perhaps ``{medium}`` in it.
        distinct: Different prompts wanted for a label; the released code keeps 200.
        tries: Answers asked for at most to get them; the released code asks for 250.
        longest: Most words of a prompt.
        tallies: What became of the answers for each label, filled by :meth:`write`.
    """

    query: str = QUERY
    distinct: int = 200
    tries: int = 250
    longest: int = 30
    tallies: dict[str, Counter[str]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        if "{label}" not in self.query:
            raise ValueError(f"query={self.query!r} must contain {{label}}")
        if not 1 <= self.distinct <= self.tries <= 100_000:
            raise ValueError(
                f"distinct={self.distinct} must be from 1 to tries={self.tries}, "
                "and tries at most 100000"
            )
        if not 1 <= self.longest <= 1000:
            raise ValueError(f"longest={self.longest} must be from 1 to 1000 words")

    def texts(self, asked: Asked) -> list[str]:
        """Return ``count`` prompts; for speech the bare word, which no model is asked for.

        Raises:
            UsageError: If the model can't be used or no answer is usable.
        """
        name = spoken(asked.label)
        if asked.modality == "speech":
            return [name] * asked.count
        question = self.query.replace("{label}", name).replace("{medium}", asked.modality)
        tally: Counter[str] = Counter()
        kept: dict[str, str] = {}
        wanted = min(asked.count, self.distinct)
        begun = self._answers(
            question, address_seed(asked.seed, "answers", asked.label), lambda: wanted - len(kept)
        )
        with closing(begun) as answers:
            for answer in itertools.islice(answers, self.tries if wanted else 0):
                text = first_line(answer)
                fault = self.fault(text, name, kept, asked.labels)
                tally[fault or "kept"] += 1
                if not fault:
                    kept[text.lower()] = text
                if len(kept) == wanted:
                    break
        self.tallies[asked.label] = tally
        counts = ", ".join(f"{fault} {number}" for fault, number in sorted(tally.items()))
        if len(kept) < wanted:
            _log.warning("%d of %d prompts for %r (%s)", len(kept), wanted, asked.label, counts)
        if wanted and not kept:
            raise UsageError(
                f"the language model {self.model_name!r} gave no usable prompt for the label "
                f"{asked.label!r} in {self.tries} answers ({counts}); choose another model, or set "
                "synthetic.prompts=grammar."
            )
        return spread(list(kept.values()), asked.count, asked.label, asked.seed)

    def fault(
        self, text: str, name: str, kept: Mapping[str, str], labels: Sequence[str] = ()
    ) -> str:
        """Return what is wrong with an answer, empty if nothing.

        Args:
            text: The answer, in one line.
            name: The label as it is said.
            kept: Earlier answers by their lower case.
            labels: All class names.
        """
        if not text:
            return "empty"
        if not _names(text, name):
            return "without label"
        others = map(spoken, labels)
        # A pine tree is a tree, too.
        if any(not _names(name, other) and _names(text, other) for other in others):
            return "other label"
        if re.search(r"_\s*_", text):
            return "blanks left"
        if _loops(text):
            return "loop"
        if len(text.split()) > self.longest:
            return "too long"
        return "repeated" if text.lower() in kept else ""

    @abstractmethod
    def _answers(
        self, question: str, seed: int, missing: Callable[[], int]
    ) -> Generator[str, None, None]:
        """Yield answers; the n-th depends on question, seed and n alone.

        Args:
            question: What is asked.
            seed: Of the answers.
            missing: Tells how many texts are still wanted; what was asked beyond them is for
                nothing.
        """

    @property
    @abstractmethod
    def model_name(self) -> str:
        """What to call the model in an error."""
        ...

    def digest(self, *settings: Plain) -> str:
        """Return a SHA-256 over ``settings``, the fields here and the version of the rules."""
        own = [self.query, self.distinct, self.tries, self.longest]
        return hashlib.sha256(json.dumps([RULES, own, settings]).encode()).hexdigest()


def first_line(answer: str) -> str:
    r"""Return the first line of an answer that says something, bare of quotes and of "A:".

    >>> first_line('Here is a prompt:\n\n1. "A large airplane in the sky."\nIt shows')
    'A large airplane in the sky.'
    """
    for line in answer.splitlines():
        text = re.sub(r"^\s*(?:(?:A|Answer|Prompt)\s*:|[-*]|\d+[.)])\s*", "", line, flags=re.I)
        text = " ".join(text.strip(" \t\"'“”*`").split())
        if text and not text.endswith(":"):
            return text
    return ""


def _names(text: str, name: str) -> bool:
    """Return whether a text names a class, perhaps in the plural; hyphens are blanks."""
    plain, wanted = (words.replace("-", " ").lower() for words in (text, name))
    return re.search(rf"(?<!\w){re.escape(wanted)}(?:e?s)?(?!\w)", plain) is not None


def _loops(text: str) -> bool:
    """Return whether four words in a row come twice, as small models repeat themselves."""
    words = text.lower().split()
    runs = [tuple(words[start : start + 4]) for start in range(len(words) - 3)]
    return len(set(runs)) < len(runs)
