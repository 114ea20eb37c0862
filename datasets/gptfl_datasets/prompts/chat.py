"""Prompts by a language model behind an OpenAI-compatible service, as the paper asked GPT-3."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import ClassVar

from gptfl_bench.core.randomness import address_seed
from gptfl_bench.data.task import Modality
from gptfl_bench.synthesis.generator import Plain, prompt_writers
from gptfl_datasets.backends.answers import found_at
from gptfl_datasets.backends.openai import Body, Moderated, Service
from gptfl_datasets.prompts.blank_filling import BlankFiller

_MOST_OF_ANSWER = 1 << 20
_SEEDS = 1 << 31


@prompt_writers.register(
    "chat",
    title="blanks filled by a language model behind an OpenAI-compatible service",
    source="GPT-FL, section 3.1; POST {base_url}/chat/completions",
    needs="base_url, model and an API key in the environment",
)
@dataclass(frozen=True)
class ChatWriter(BlankFiller, Service):
    """Asks a chat service to fill the blanks.

    Attributes:
        temperature: Of sampling; None for the service's default.
    """

    temperature: float | None = None

    setting: ClassVar[str] = "prompts.chat"
    instead: ClassVar[str] = "set synthetic.prompts=grammar for prompts from word lists"

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        super().__post_init__()
        Service.__post_init__(self)
        if self.temperature is not None and not 0 <= self.temperature <= 10:
            raise ValueError(f"temperature={self.temperature} must be from 0 to 10")

    @property
    def fingerprint(self) -> str:
        """SHA-256 over settings and rules; not over the key or the name of its variable."""
        return self.digest(self.base_url, self.model, self.temperature)

    @property
    def model_name(self) -> str:
        """The name the service knows it by."""
        return str(self.model)

    def requests(self, count: int, modality: Modality) -> int:
        """Return how many requests the texts of a label take at least; for speech none is asked."""
        return 0 if modality == "speech" else min(count, self.distinct)

    def _answers(
        self, question: str, seed: int, missing: Callable[[], int]
    ) -> Generator[str, None, None]:
        self.check(missing())

        def ask(number: int) -> str:
            asked: dict[str, Plain | list[dict[str, str]]] = {
                "model": self.model,
                "messages": [{"role": "user", "content": question}],
                "seed": address_seed(seed, number) % _SEEDS,
            }
            if self.temperature is not None:
                asked["temperature"] = self.temperature
            return self._ask(asked)

        return self.each(ask, range(self.tries), missing)

    def _ask(self, asked: Body) -> str:
        """Return an answer, empty if the model or the service refuses to give one."""
        try:
            answer = self.post_for_json("chat/completions", asked, most=_MOST_OF_ANSWER)
        except Moderated:
            return ""
        message = found_at(answer, "choices", 0, "message")
        if not isinstance(message, dict):
            raise self.refusal("its answer has no text in choices[0].message.content")
        content = message.get("content")
        return content if isinstance(content, str) else ""
