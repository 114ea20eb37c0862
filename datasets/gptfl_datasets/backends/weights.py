"""What generators that load published weights share: where they run and what identifies them."""

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from gptfl_bench.core.errors import UsageError
from gptfl_bench.synthesis.generator import SAMPLE_RATE

Precision = Literal["auto", "float32", "float16"]
"""What weights are turned into; ``auto`` is half precision on a GPU and single elsewhere."""


def place(device: str, precision: Precision) -> tuple[str, torch.dtype]:
    """Return the device and the type of weights that two settings stand for.

    Raises:
        UsageError: If there is no such device.
    """
    # Imported here: the engine imports the generators when it looks up their names.
    from gptfl_bench.core.device import pick_device

    picked = pick_device(device)
    if precision == "auto":
        precision = "float16" if picked.type == "cuda" else "float32"
    return str(picked), {"float32": torch.float32, "float16": torch.float16}[precision]


def located(model: str) -> str:
    """Return the folder that a setting names, a leading ``~`` resolved, or else its id as it is."""
    folder = Path(model).expanduser()
    return str(folder) if folder.is_dir() else model


def fingerprint(models: Iterable[str], *settings: object) -> str:
    """Return a SHA-256 over settings, versions of the libraries and models.

    A model that is a folder counts with all its files but the model card, another with its id.
    """
    digest = hashlib.sha256(repr(settings).encode())
    for package in ("diffusers", "transformers"):
        digest.update(f"{package} {version(package)}".encode())
    for model in models:
        digest.update(weights_sha256(model).encode())
    return digest.hexdigest()


def weights_sha256(model: str | Path, settings: str = "50 torch.float32") -> str:
    """Return a SHA-256 over settings and, for a folder, over all its files but the model card.

    Args:
        model: A folder of weights, or a model's id, which counts by its name.
        settings: What else counts, in a line; what it is by default is in the names of cells.
    """
    digest = hashlib.sha256(settings.encode())
    folder = Path(model)
    if not folder.is_dir():
        digest.update(str(model).encode())
    for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
        if path.is_file() and path.suffix != ".md":
            digest.update(path.relative_to(folder).as_posix().encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


@contextmanager
def silence() -> Iterator[None]:
    """Hold back the bars and notes that loading a pipeline prints, inside the block only."""
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    libraries = (of_diffusers, of_transformers)
    levels = [library.get_verbosity() for library in libraries]
    shown = [library.is_progress_bar_enabled() for library in libraries]
    try:
        for library in libraries:
            library.set_verbosity(logging.ERROR)
            library.disable_progress_bar()
        yield
    finally:
        for library, level, bar in zip(libraries, levels, shown, strict=True):
            library.set_verbosity(level)
            if bar:
                library.enable_progress_bar()


def reason(error: BaseException) -> str:
    """Return the first sentence of what an error says, without what it has in brackets."""
    said = str(error).strip() or type(error).__name__
    return re.split(r"\n|\. | \(", said)[0].rstrip(".:")


def absent(name: str, field: str, model: str, size: str, error: BaseException) -> UsageError:
    """Return the error for weights that can't be loaded.

    Args:
        name: The generator, as registered.
        field: Its field that names the weights.
        model: The value of that field.
        size: What the weights take, in words.
        error: Why they could not be loaded.
    """
    if Path(model).is_dir():
        return UsageError(
            f"the generator {name!r} can't load the folder {model!r} ({reason(error)}); set "
            f"generators.{name}.{field} to one that diffusers or transformers saved, with weights "
            "in safetensors."
        )
    return UsageError(
        f"the generator {name!r} can't load the weights of {model!r} ({reason(error)}), which take "
        f"{size}, best on a GPU; let this machine reach the hub once, set "
        f"generators.{name}.{field}=FOLDER to a copy in safetensors, or use data that were made "
        "elsewhere (synthetic.generator=folder)."
    )


def lacking(device: str, size: str, there: Mapping[str, bool]) -> str:
    """Return what a generator by published weights lacks on this machine; empty for nothing.

    Args:
        device: Its setting of where it runs; on the processor alone it would take days.
        size: What the weights take, in words.
        there: Models, each with whether all of its files are here.
    """
    # Imported here, as in place().
    from gptfl_bench.core.device import pick_device

    lacks = ["a GPU"] if pick_device(device).type == "cpu" else []
    for model in (model for model, whole in there.items() if not whole):
        name, _, revision = model.partition("@")
        at = f" --revision {revision}" if revision else ""
        lacks.append(f"weights of {size}: hf download {name}{at}")
    return ", ".join(lacks)


def here(model: str, revision: str, *files: str) -> Path | None:
    """Return the folder that holds a model's ``files`` on this machine; None if one is missing.

    Args:
        model: A folder, or an id whose files the hub's cache may have.
        revision: Of an id: a branch or a commit.
        files: Names of files that must be there.
    """
    from huggingface_hub import try_to_load_from_cache

    folder = Path(located(model))
    if folder.is_dir():
        return folder if all((folder / name).is_file() for name in files) else None
    try:
        found = [try_to_load_from_cache(model, name, revision=revision) for name in files]
    except ValueError:
        # No id.
        return None
    paths = [Path(path) for path in found if isinstance(path, str)]
    return paths[0].parent if paths and len(paths) == len(files) else None


def pipeline_here(model: str) -> bool:
    """Return whether all parts of a diffusers pipeline are on this machine."""
    folder = here(model, "main", "model_index.json")
    if folder is None:
        return False
    try:
        index = json.loads((folder / "model_index.json").read_bytes())
        parts = [name for name, kind in index.items() if isinstance(kind, list) and kind[0]]
        return bool(parts) and all(any((folder / name).iterdir()) for name in parts)
    except (OSError, ValueError, AttributeError, LookupError):
        return False


def hub_answers(model: str, revision: str) -> bool:
    """Return whether the hub has a model and can be reached now.

    It is asked once; where there is no network, transformers would ask again for minutes, for each
    file, and say so.
    """
    from huggingface_hub import HfApi

    try:
        HfApi().model_info(model, revision=revision, timeout=10)
    except Exception:  # Of the hub or of its library for HTTP, which is not always the same one.
        return False
    return True


def fitted(wave: np.ndarray, seconds: float) -> np.ndarray:
    """Return sound padded with silence or cut at its end, float32 (seconds x 16,000,) in [-1, 1].

    Args:
        wave: Samples (time,) at 16 kHz.
        seconds: Length to return.
    """
    length = max(round(seconds * SAMPLE_RATE), 1)
    heard = np.clip(wave[:length].astype(np.float32), -1, 1)
    return np.pad(heard, (0, length - len(heard)))


def check_rate(name: str, model: str, rate: int) -> None:
    """Refuse a model that makes sound at another rate than 16 kHz.

    Raises:
        UsageError: Naming the model and its rate.
    """
    if rate != SAMPLE_RATE:
        raise UsageError(
            f"the weights of {model!r} make {rate:,} samples a second, and the generator {name!r} "
            f"needs {SAMPLE_RATE:,}; choose another model."
        )
