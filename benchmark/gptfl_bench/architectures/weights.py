"""Start weights of torchvision's networks, from a file the user has; nothing is downloaded."""

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from gptfl_bench.core.errors import UsageError

TAKE_WEIGHTS = ("resnet18", "resnet50", "vgg19")
"""Networks that have the argument ``weights``."""

_LARGEST = 2**31
"""Bytes; more than three times what the largest of the networks has."""


def architecture(model: str, norm: object) -> str:
    """Return torchvision's name of a network with a normalisation."""
    return "vgg19_bn" if model == "vgg19" and norm == "batch" else model


def weights_sha256(model: str, settings: Mapping[str, object]) -> str:
    """Return the SHA-256 of the file a network starts from, as hex; empty if there is none.

    Args:
        model: Name of a registered network.
        settings: Its further arguments.

    Raises:
        UsageError: If the file is not there.
    """
    weights = settings.get("weights")
    if model not in TAKE_WEIGHTS or weights is None:
        return ""
    path = _file(weights, architecture(model, settings.get("norm")))
    status = path.stat()
    return _sha256(path, status.st_size, status.st_mtime_ns)


def load_encoder(
    encoder: nn.Module, weights: str, architecture: str, without: tuple[str, ...]
) -> None:
    """Give an encoder the weights of a file.

    Args:
        encoder: torchvision's network without its last layer.
        weights: ``imagenet`` or a file: ``.pth`` of ``torch.save`` or ``.safetensors``.
        architecture: torchvision's name of the network.
        without: How names of layers begin that keep their own start.

    Raises:
        UsageError: If the file is not there, damaged, or holds another network.
    """
    path = _file(weights, architecture)
    given = {n: t for n, t in _read(path).items() if not n.startswith(without)}
    own = {n: t for n, t in encoder.state_dict().items() if not n.startswith(without)}
    # Counters of batches, which files of torchvision's first years lack, change nothing.
    missing = [n for n in own.keys() - given.keys() if not n.endswith(".num_batches_tracked")]
    misshapen = [n for n in own.keys() & given.keys() if own[n].shape != given[n].shape]
    strange = [n for n, t in given.items() if n in own and not torch.isfinite(t).all()]
    for names, problem in (
        (missing, "is missing"),
        (given.keys() - own.keys(), "is unknown"),
        (misshapen, "has another shape"),
        (strange, "is not finite"),
    ):
        if names:
            raise UsageError(
                f"the weights {path} do not fit {architecture}, for {min(names)} {problem}; give "
                "a state dict of torchvision's network of that name."
            )
    encoder.load_state_dict(given, strict=False)


def _file(weights: object, architecture: str) -> Path:
    from torchvision.models import get_model_weights

    if weights == "imagenet":
        entry = get_model_weights(architecture).IMAGENET1K_V1
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        path = folder / str(entry.url).rpartition("/")[2]
        if not path.is_file():
            raise UsageError(
                f"weights='imagenet' needs the file {path.name} ({entry.meta['_file_size']:.0f} "
                f"MiB) in {folder}; download it from {entry.url}, or leave weights out."
            )
    else:
        path = Path(str(weights)).expanduser()
        if path.suffix not in (".pth", ".safetensors") or not path.is_file():
            raise UsageError(
                f"weights={weights!r} is no weights file; give 'imagenet' or an existing file "
                "that ends in .pth or .safetensors."
            )
    if (size := path.stat().st_size) > _LARGEST:
        raise UsageError(
            f"the weights {path} have {size} bytes, more than the {_LARGEST} allowed; give the "
            "state dict of one network."
        )
    return path


def _read(path: Path) -> Mapping[str, Tensor]:
    import safetensors.torch

    try:
        held: object = (
            safetensors.torch.load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    # What damaged bytes raise is not documented: a dozen types were seen.
    except Exception as error:
        raise UsageError(
            f"the weights {path} can't be read ({type(error).__name__}); download them again, or "
            "save them with torch.save(network.state_dict(), path)."
        ) from error
    if not isinstance(held, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in held.items()
    ):
        raise UsageError(
            f"the weights {path} are no state dict; save them with "
            "torch.save(network.state_dict(), path)."
        )
    return held


@cache
def _sha256(path: Path, size: int, modified: int) -> str:
    """Return a file's hash; size and time of change stand for its content while we run."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
