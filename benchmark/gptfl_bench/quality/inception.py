"""Features of the Inception network that the kernel inception distance is named after."""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from gptfl_bench.core.errors import UsageError

WEIGHTS_SHA256 = "6726825d"
"""How the SHA-256 of the only file of weights begins, as its name says."""
_SOURCE = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    "weights-inception-2015-12-05-6726825d.pth"
)
_LARGEST = 2**27


def inception(weights: str | None, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Return what makes features (b, 2048) of stored pictures (b, 1 or 3, H, W).

    Pictures are bytes, or numbers in [0, 1]. The network is torch-fidelity's port of TensorFlow's
    Inception-v3, with which the distance is reported in papers.

    Args:
        weights: The file of its weights; read as tensors alone.
        device: Where features are computed.

    Raises:
        UsageError: If torch-fidelity or the file is missing, or the file holds something else.
    """
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise UsageError(
            "quality.feature=inception needs torch-fidelity; pip install 'gptfl-bench[quality]', "
            "or set quality.feature=judge."
        ) from error
    state = io.BytesIO()
    try:
        torch.save(torch.load(io.BytesIO(_read(weights)), "cpu", weights_only=True), state)
        state.seek(0)
        # It would unpickle any file; what it gets here are tensors that were checked.
        network = FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048"], feature_extractor_weights_path=state
        ).to(device)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(
            f"quality.weights={weights!r} holds no weights of Inception-v3; download {_SOURCE}."
        ) from error

    def features(stored: Tensor) -> Tensor:
        found: Tensor = network(_as_bytes(stored).to(device))[0]
        return found

    return features


def _read(weights: str | None) -> bytes:
    path = Path(weights).expanduser() if weights else None
    if path is None or not path.is_file():
        raise UsageError(
            f"quality.feature=inception needs its weights, and quality.weights={weights!r} is no "
            f"file; download {_SOURCE}, or set quality.feature=judge."
        )
    with path.open("rb") as file:
        content = file.read(_LARGEST + 1)
    digest = hashlib.sha256(content).hexdigest()
    if not digest.startswith(WEIGHTS_SHA256):
        raise UsageError(
            f"quality.weights={weights!r} has SHA-256 {digest[:12]}, not {WEIGHTS_SHA256}; "
            f"download {_SOURCE}."
        )
    return content


def _as_bytes(stored: Tensor) -> Tensor:
    """Return pictures as uint8 (b, 3, H, W).

    Raises:
        UsageError: If they are no pictures.
    """
    fits = stored.ndim == 4 and stored.shape[1] in (1, 3)
    if fits and stored.dtype != torch.uint8:
        fits = bool(((stored >= 0) & (stored <= 1)).all())
        stored = (stored.float() * 255).round().to(torch.uint8) if fits else stored
    if not fits:
        raise UsageError(
            f"quality.feature=inception takes pictures of bytes or of numbers in [0, 1], not "
            f"samples of shape {tuple(stored.shape[1:])} and type {stored.dtype}; set "
            "quality.feature=judge."
        )
    return stored.expand(-1, 3, -1, -1)
