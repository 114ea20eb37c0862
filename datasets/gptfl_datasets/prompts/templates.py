"""The fixed templates of GPT-FL's released code, for images, sounds and speech."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from gptfl_bench.synthesis.generator import prompt_writers
from gptfl_datasets.backends.words import article, spoken
from gptfl_datasets.prompts.writer import Asked, Writer


@prompt_writers.register(
    "templates", title="one fixed sentence a label", source="GPT-FL's released code"
)
@dataclass(frozen=True)
class TemplateWriter(Writer):
    """Puts a label into one sentence, the same for all samples of the class.

    Attributes:
        subject: What all classes are kinds of, for images: with ``flower``, as the released code
            has it for Flowers102, ``a flower photo of {name}``; without, ``a photo of a {name}``.
        VERSION: Names the sentences in cells' names; new whenever one changes.
    """

    VERSION: ClassVar[str] = "948d2e4852fbf5a0db1c482c654b7fe48b5fe2043a0b80af53f3ac0db117946b"
    FINGERPRINTS: ClassVar[Mapping[str | None, str]] = {
        None: "fcf3b7517c6c25d2b3554298eda134452cd4e3ce436d93bde38daf0b3df5527d",
        "flower": "02e23091488f6fc98d86daa83178ad8d0c2b74237bd49499efa7793b504c0dd3",
    }

    subject: str | None = None

    @property
    def fingerprint(self) -> str:
        """SHA-256 over version and settings; given ones for the subjects of the presets."""
        made = hashlib.sha256((self.VERSION + repr(self)).encode()).hexdigest()
        return self.FINGERPRINTS.get(self.subject, made)

    def texts(self, asked: Asked) -> list[str]:
        """Return the sentence around ``label``, underscores turned into blanks, ``count`` times.

        For speech it is the bare word, since a speaker would read out any other.
        """
        name = spoken(asked.label)
        if asked.modality == "speech":
            return [name] * asked.count
        if asked.modality == "sound":
            return [f"a sound of {name}"] * asked.count
        if self.subject:
            return [f"{article(self.subject)} {self.subject} photo of {name}"] * asked.count
        return [f"a photo of {article(name)} {name}"] * asked.count
