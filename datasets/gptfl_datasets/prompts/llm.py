"""Prompts by a language model that runs on this machine."""

import itertools
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, cast

from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.randomness import isolated_torch_rng
from gptfl_bench.synthesis.generator import prompt_writers
from gptfl_datasets.backends.weights import fingerprint, located, place, reason, silence
from gptfl_datasets.prompts.blank_filling import BlankFiller

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@prompt_writers.register(
    "llm",
    title="blanks filled by a language model on this machine",
    source="GPT-FL, section 3.1",
    needs="prompts.llm.model",
)
@dataclass(frozen=True)
class LocalWriter(BlankFiller):
    """Lets a transformers model fill the blanks.

    A model with a chat template is asked as a chat, another causal one is given ``Q:`` and ``A:``
    around the question, and an encoder-decoder, such as the T5 of the released code, the question.

    Attributes:
        model: A folder that transformers saved, or a model's id.
        batch_size: Answers drawn at once; part of what determines them.
        new_tokens: Most tokens of an answer.
        temperature: Of sampling.
        device: Where the model runs; ``auto`` takes a GPU if there is one.
        local_files_only: Never look for the model outside this machine; so it is anyway with
            ``--no-download``.
    """

    model: str | None = None
    batch_size: int = 8
    new_tokens: int = 48
    temperature: float = 1.0
    device: str = "auto"
    local_files_only: bool = True

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        super().__post_init__()
        if not 1 <= self.batch_size <= 1024:
            raise ValueError(f"batch_size={self.batch_size} must be from 1 to 1024")
        if not 1 <= self.new_tokens <= 4096:
            raise ValueError(f"new_tokens={self.new_tokens} must be from 1 to 4096")
        if not 0 < self.temperature <= 10:
            raise ValueError(f"temperature={self.temperature} must be above 0 and at most 10")

    @property
    def fingerprint(self) -> str:
        """SHA-256 over settings, rules, the library's version and a folder's files or the id."""
        models = [located(self.model)] if self.model else []
        return self.digest(fingerprint(models, self.batch_size, self.new_tokens, self.temperature))

    @cached_property
    def loaded(self) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
        """The model and its tokenizer, loaded when they are first needed.

        Raises:
            UsageError: If there are none.
        """
        from transformers import (
            AutoConfig,
            AutoModelForCausalLM,
            AutoModelForSeq2SeqLM,
            AutoTokenizer,
        )

        if not self.model:
            raise UsageError(
                "the prompt writer 'llm' needs prompts.llm.model=MODEL with a folder that "
                "transformers saved or a model's id, or set synthetic.prompts=grammar."
            )
        model_id, local = located(self.model), self.local_files_only
        device, dtype = place(self.device, "float32")
        try:
            with silence():
                known = AutoConfig.from_pretrained(model_id, local_files_only=local)
                kind = AutoModelForSeq2SeqLM if known.is_encoder_decoder else AutoModelForCausalLM
                tokenizer = AutoTokenizer.from_pretrained(model_id, local_files_only=local)
                # Weights in pickles are refused: they could run anything.
                model = kind.from_pretrained(
                    model_id,
                    local_files_only=local,
                    use_safetensors=True,
                    dtype=dtype,
                    device_map=device,
                )
        # Damaged files make the loaders raise nearly anything.
        except Exception as error:
            raise UsageError(
                f"the language model {self.model!r} can't be loaded ({reason(error)}); give a "
                "folder that transformers saved, set prompts.llm.local_files_only=false to fetch "
                "a model by its id, or set synthetic.prompts=grammar."
            ) from error
        return model.eval(), tokenizer

    @property
    def model_name(self) -> str:
        """The folder or id."""
        return str(self.model)

    def turns(self, question: str) -> list[dict[str, str]]:
        """Return the conversation that a model with a chat template is to go on with."""
        return [{"role": "user", "content": question}]

    def _answers(
        self, question: str, seed: int, missing: Callable[[], int]
    ) -> Generator[str, None, None]:
        model, tokenizer = self.loaded
        both_ways = model.config.is_encoder_decoder
        text, chat = question if both_ways else f"Q: {question}\nA:", bool(tokenizer.chat_template)
        if chat:
            turns = self.turns(question)
            text = str(
                tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
            )
        # A chat template writes the special tokens itself.
        given = tokenizer(text, add_special_tokens=not chat, return_tensors="pt").to(model.device)
        start = 0 if both_ways else given["input_ids"].shape[1]
        padding = tokenizer.pad_token_id
        # To a type checker every attribute of a module may be a tensor.
        generate = cast("Callable[..., Tensor]", model.generate)
        for batch in itertools.count():
            with isolated_torch_rng(seed, batch):
                tokens = generate(
                    input_ids=given["input_ids"],
                    attention_mask=given["attention_mask"],
                    do_sample=True,
                    temperature=self.temperature,
                    num_return_sequences=self.batch_size,
                    max_new_tokens=self.new_tokens,
                    pad_token_id=tokenizer.eos_token_id if padding is None else padding,
                )
            yield from tokenizer.batch_decode(tokens[:, start:], skip_special_tokens=True)
