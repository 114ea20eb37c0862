"""What is named by a version gives what it gave under that version.

The names of cells hold these versions. If one of these digests changes on purpose, so must the
``VERSION`` it is kept under, or cells with other samples would pass for the same.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest

from gptfl_bench.synthesis.generator import Prompt, generators, make, prompt_writers
from gptfl_datasets.generators import embedded, espeak, hibari, piper, renderer, voices
from gptfl_datasets.prompts import blank_filling, grammar, templates

LABELS = ("seven", "airplane", "crying_baby", "hard-leaved pocket orchid")
ANSWERS = (
    'Here is a prompt:\n\n1. "A large airplane in the sky."',
    "A: **an airplane**",
    "A cat and an airplane.",
    "no such thing",
    "an airplane over an airplane over an airplane over an airplane over",
    "",
)
"""Answers of language models, good and bad."""


def _digest(values: object) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def _texts(name: str, **fields: object) -> list[list[str]]:
    writer = prompt_writers.get(name)(**fields)
    return [
        writer.write(label, 30, modality=modality, seed=seed, labels=LABELS)
        for label in LABELS
        for modality in ("image", "speech", "sound")
        for seed in (0, 1)
    ]


def _drawings() -> list[list[float]]:
    """Ink in each quarter of some drawings, coarse enough for any version of Pillow."""
    prompts = [
        Prompt(label, text, 1.0, seed)
        for label in ("zero", "four", "nine")
        for text in ("a bold digit", "a thin slanted digit", "a messy small digit")
        for seed in (0, 1)
    ]
    found = []
    for sample in renderer.Renderer().generate(prompts):
        ink = sample.media[..., 0].astype(float)
        quarters = [
            half[:, part] for half in (ink[:16], ink[16:]) for part in (slice(16), slice(16, 32))
        ]
        found.append([round(quarter.mean() / 8) for quarter in quarters])
    return found


def _filtered() -> list[object]:
    filler = prompt_writers.get("llm")()
    assert isinstance(filler, blank_filling.BlankFiller)
    kept: dict[str, str] = {}
    found: list[object] = []
    for answer in ANSWERS:
        text = blank_filling.first_line(answer)
        found.append([text, filler.fault(text, "airplane", kept, ["airplane", "cat"])])
        kept[text.lower()] = text
    return found


def _clips() -> list[list[float]]:
    time = np.arange(12_000, dtype=np.float32) / 16_000
    wave = (np.sin(2 * np.pi * 220 * time) * (time > 0.1) * (time < 0.6)).astype(np.float32)
    found = []
    for seed, seconds in ((0, 1.0), (1, 0.3)):
        made = voices.clip(wave, 16_000, seconds, np.random.default_rng(seed))
        loud = np.flatnonzero(np.abs(made) > 1e-4)
        found.append([len(made), int(loud[0]), int(loud[-1]), round(float(np.abs(made).max()), 3)])
    return found


def _rounded(values: Iterable[object]) -> list[object]:
    return [round(value, 4) if isinstance(value, float) else value for value in values]


def _speakers_of_hibari() -> list[object]:
    rng = np.random.default_rng(3)
    drawn = [hibari.Speaker.draw(rng, varied=varied) for varied in (True, True, False)]
    return [_rounded(map(float, vars(speaker).values())) for speaker in drawn]


def _speakers_of_espeak() -> list[object]:
    class Installed(espeak.Espeak):
        variants = ("f1", "m1", "whisper")

    rng = np.random.default_rng(3)
    return [list(vars(Installed().speaker(rng)).values()) for _ in range(4)]


def _manners_of_piper() -> list[object]:
    manners: list[dict[str, float]] = []

    def speak(sounds: list[int], manner: dict[str, float]) -> np.ndarray:
        manners.append(manner)
        return np.ones(len(sounds), np.float32)

    class Installed(piper.Piper):
        _engine = SimpleNamespace(
            config=SimpleNamespace(num_speakers=3, sample_rate=22_050), phoneme_ids_to_audio=speak
        )

        def _session(self, seed: int) -> object:
            return seed

    with patch.dict("sys.modules", {"piper": SimpleNamespace(SynthesisConfig=dict)}):
        for seed in (0, 1):
            Installed()._speak([1] * 9000, Prompt("yes", "yes", 1.0, seed))
    return [_rounded(map(float, manner.values())) for manner in manners]


PINS: dict[str, tuple[Callable[[], str], Callable[[], object], dict[str, str]]] = {
    "grammar": (
        lambda: grammar.GrammarWriter.VERSION,
        lambda: _texts("grammar"),
        {"6b4128b622bcf735b6108a014eb2e93173957d3fce07bdfcf8e331d3f1121595": "8b9f8b1f82be7693"},
    ),
    "templates": (
        lambda: templates.TemplateWriter.VERSION,
        lambda: [_texts("templates"), _texts("templates", subject="flower")],
        {"948d2e4852fbf5a0db1c482c654b7fe48b5fe2043a0b80af53f3ac0db117946b": "3bf3dcf576112851"},
    ),
    "renderer": (
        lambda: renderer.Renderer.VERSION,
        _drawings,
        {"dbaf8efa8cf4a8d778b87b36334a30a742edc44362ecfc4d34fc505b7719224a": "8c86031484a5b91c"},
    ),
    "answers of models": (
        lambda: blank_filling.RULES,
        _filtered,
        {"e6396c67a9b779fd5f0ed808ba49b752ef7777fcce3fd3c72d306b08a2bb577b": "2f24040a13feb8ba"},
    ),
    "voices": (
        lambda: voices.VERSION,
        _clips,
        {"9208fa873296ce953d0b3920dd61072318fee3ca964072a8ff7082ea97286987": "4d4163b68bdd3926"},
    ),
    "hibari": (
        lambda: hibari.Hibari.VERSION,
        _speakers_of_hibari,
        {"a331faba01b7e6c929516e5675234cd75568daa9a9a39caa2c1ff4e4c8056850": "6bb2e61a5489b268"},
    ),
    "espeak": (
        lambda: espeak.Espeak.VERSION,
        _speakers_of_espeak,
        {"3da7efeace73193566b0369d0508ed59c2e53cb6965d50efb66b2b7c53664261": "67fc3371753eb6df"},
    ),
    "piper": (
        lambda: piper.Piper.VERSION,
        _manners_of_piper,
        {"f3bb6cd9f3c8d0a4e9552e92adf58809aab3bd02b5a7bd6c3f2aecec95b85d77": "adb39b98996e43c0"},
    ),
}
"""By part: its version, what it gives, and the digest of that under each version."""


@pytest.mark.parametrize("part", PINS)
def test_what_a_version_gives_stays(part: str) -> None:
    version, gives, pins = PINS[part]
    assert version() in pins, f"{part} has a new version: pin what it gives"
    assert _digest(gives()) == pins[version()], f"{part} gives something else: change its VERSION"


FINGERPRINTS = {
    "grammar": "6b4128b622bcf735b6108a014eb2e93173957d3fce07bdfcf8e331d3f1121595",
    "templates": "fcf3b7517c6c25d2b3554298eda134452cd4e3ce436d93bde38daf0b3df5527d",
    "flower templates": "02e23091488f6fc98d86daa83178ad8d0c2b74237bd49499efa7793b504c0dd3",
    "renderer": "dbaf8efa8cf4a8d778b87b36334a30a742edc44362ecfc4d34fc505b7719224a",
    "embedded": "d9f2127bc9f8bffbe364090cab95748c235c30b0974e6d40bcfb90e40391f533",
}
"""Those of finished cells, from before there were versions."""


def test_finished_cells_keep_their_fingerprints() -> None:
    assert {
        "grammar": grammar.GrammarWriter().fingerprint,
        "templates": templates.TemplateWriter().fingerprint,
        "flower templates": templates.TemplateWriter("flower").fingerprint,
        "renderer": renderer.Renderer().fingerprint,
        "embedded": embedded.Embedded().fingerprint,
    } == FINGERPRINTS
    assert prompt_writers.get("grammar")().fingerprint == FINGERPRINTS["grammar"]
    flower = make(prompt_writers, "templates", {"subject": "flower"})
    assert flower.fingerprint == FINGERPRINTS["flower templates"]
    assert generators.get("embedded")().fingerprint == FINGERPRINTS["embedded"]
