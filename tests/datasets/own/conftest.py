"""Trees of tiny pictures and sounds at any paths, and the task that a tree becomes."""

import hashlib
import io
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gptfl_bench.core.errors import UsageError
from gptfl_bench.data import loaders
from gptfl_bench.data.access import Access
from gptfl_bench.data.task import Task

KINDS = {"jpg": "JPEG", "jpeg": "JPEG", "pgm": "PPM", "jfif": "JPEG"}


def content(name: str) -> bytes:
    """Return a picture or a sound of its own for each name; junk where neither is asked for."""
    rng = np.random.default_rng(list(hashlib.sha256(name.encode()).digest()))
    ending = Path(name).suffix[1:].lower()
    file = io.BytesIO()
    if ending == "wav":
        import soundfile

        wave = rng.uniform(-0.5, 0.5, 1600).astype(np.float32)
        soundfile.write(file, wave, 16_000, format="WAV")
    elif ending in ("heic", "m4a", "aiff", "avif", "txt", "md", "db", ""):
        return b"neither"
    else:
        grey = ending == "pgm"
        pixels = rng.integers(0, 256, (8, 8) if grey else (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file, KINDS.get(ending, ending.upper()))
    return file.getvalue()


@pytest.fixture
def grow(tmp_path: Path) -> Callable[..., Path]:
    """Return what writes files at the given paths, and others with given text, into a folder."""

    def make(names: Iterable[str], texts: dict[str, str] | None = None) -> Path:
        root = tmp_path / "mine"
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content(name))
        for name, text in (texts or {}).items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text, encoding="utf-8")
        return root

    return make


@pytest.fixture
def own(tmp_path: Path) -> Callable[..., Task]:
    """Return what loads a tree; sounds if told so."""

    def load(root: Path, dataset: str = "image_folder", **options: object) -> Task:
        form: dict[str, object] = (
            {"size": 8} if dataset == "image_folder" else {"seconds": 0.1, "kind": "sound"}
        )
        access = Access(tmp_path / "data", tmp_path / "cache", download=False)
        return loaders.load(dataset, {"path": str(root), **form, **options}, access)

    return load


@pytest.fixture
def refused(own: Callable[..., Task]) -> Callable[..., str]:
    """Return what gives the sentence that refuses a tree."""

    def load(root: Path, dataset: str = "image_folder", **options: object) -> str:
        with pytest.raises(UsageError) as error:
            own(root, dataset, **options)
        sentence = str(error.value)
        assert sentence.endswith(".")
        assert "\n" not in sentence
        return sentence

    return load
