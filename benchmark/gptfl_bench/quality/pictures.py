"""Images that a method trained itself, kept with its cell to look at (GPT-FL, Figure 6)."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from gptfl_bench.core.groups import Tree
from gptfl_bench.quality.sheets import picture_sheet
from gptfl_reports.records import checksums
from gptfl_reports.records.quality import NAMES, PICTURES, SHOWN


def write_pictures(folder: Path, trained: Tree, class_names: Sequence[str]) -> None:
    """Write a strip of the first images of each class into a cell's folder.

    Trained pixels have no range of their own: each image is stretched from its darkest to its
    brightest value.

    Args:
        folder: The cell's folder.
        trained: ``x`` (N, 1 or 3, H, W) and ``labels`` (N,); nothing is written for other shapes.
        class_names: Name of each class, (C,).
    """
    x, labels = trained["x"].detach().cpu().float(), trained["labels"].cpu()
    if x.ndim != 4 or x.shape[1] not in (1, 3) or not bool(torch.isfinite(x).all()):
        return
    pictures = _stretched(x)
    rows = [(labels == number).nonzero()[:SHOWN, 0] for number in range(len(class_names))]
    strips = picture_sheet([[pictures[row].numpy() for row in own] for own in rows])
    for name, content in strips.items():
        checksums.write(folder / PICTURES / name, content)
    checksums.write(folder / PICTURES / NAMES, json.dumps(list(class_names)).encode())


def _stretched(x: Tensor) -> Tensor:
    """Return images as uint8 (N, H, W, channels)."""
    flat = x.flatten(1)
    low, high = (side.view(-1, 1, 1, 1) for side in (flat.amin(1), flat.amax(1)))
    shares = (x - low) / (high - low).clamp_min(1e-12)
    return (255 * shares).round().to(torch.uint8).permute(0, 2, 3, 1)
