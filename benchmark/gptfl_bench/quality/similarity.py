"""How alike samples are: two sets, the samples of a class, and duplicates within a set.

Letters in shapes: N and M samples, F features, C classes, D values of a thumbnail.
"""

import hashlib
from collections import Counter

import torch
from torch import Tensor
from torch.nn import functional

from gptfl_bench.data.samples import Samples

ALIKE = 0.995
"""Correlation of two samples' thumbnails above which they are near-duplicates.

Of the real training samples of ``digits``, ``mnist5k``, ``cifar10`` and ``flowers102`` none has
such a neighbour; of ``speech_commands`` 1 %, nearly all by the same speaker, beside the 6 % that it
holds twice.
"""
_SIDE = 16
_BATCH = 500


def kernel_distance(ours: Tensor, theirs: Tensor) -> float:
    """Return the kernel inception distance of two sets of features; 0 on average if they are alike.

    Bińkowski, Sutherland, Arbel, Gretton, "Demystifying MMD GANs", ICLR 2018, arXiv 1801.01401:
    the unbiased squared maximum mean discrepancy under the kernel (x·y / F + 1)^3. It may be
    slightly negative. Differs: all samples are taken at once, not the mean over drawn blocks.

    Args:
        ours: Features (N, F), N at least 2.
        theirs: Features (M, F), M at least 2.
    """
    x, y = ours.double(), theirs.double()

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def within(a: Tensor) -> Tensor:
        own = kernel(a, a)
        return (own.sum() - own.trace()) / (len(a) * (len(a) - 1))

    return float(within(x) + within(y) - 2 * kernel(x, y).mean())


def class_diversity(features: Tensor, labels: Tensor, num_classes: int) -> list[float | None]:
    """Return the mean cosine distance of two samples of a class, for each class, in [0, 2].

    Args:
        features: Features (N, F); one that is zero has the distance 1 from all others.
        labels: Class indices (N,).
        num_classes: C.

    Returns:
        C distances; None for a class of fewer than two samples.
    """
    directions = functional.normalize(features.double(), dim=1)
    found: list[float | None] = []
    for number in range(num_classes):
        own = directions[labels == number]
        pairs = len(own) * (len(own) - 1)
        # All products of two samples add up to the square of the sum; those with themselves go.
        products = own.sum(0).square().sum() - own.square().sum()
        found.append(max(float(1 - products / pairs), 0.0) if pairs else None)
    return found


def near_duplicates(samples: Samples, rows: Tensor, threshold: float = ALIKE) -> float:
    """Return the share of some samples that another sample of the whole set is nearly equal to.

    Samples are compared as thumbnails of the network input, averaged to at most 16 x 16 places and
    standardised each, by their correlation.

    Args:
        samples: The whole set; augmentations are left out.
        rows: Places of the samples that are asked for, (n,), at least one.
        threshold: Correlation above which two are nearly equal.
    """
    asked = _thumbnails(samples.batch(rows)[0])
    twin = torch.zeros(len(rows), dtype=torch.bool, device=asked.device)
    for block in torch.split(torch.arange(len(samples)), _BATCH):
        alike = _thumbnails(samples.batch(block)[0]) @ asked.T
        itself = block[:, None] == rows[None, :]
        twin |= ((alike > threshold) & ~itself.to(alike.device)).any(0)
    return float(twin.double().mean())


def exact_duplicates(samples: Samples) -> float:
    """Return the share of samples that are stored more than once, to the bit; 0 of none."""
    seen: Counter[bytes] = Counter()
    rows = torch.arange(len(samples)) if samples.indices is None else samples.indices
    for block in torch.split(rows, _BATCH):
        for row in samples.x[block].cpu().contiguous().numpy():
            seen[hashlib.blake2b(row.tobytes(), digest_size=16).digest()] += 1
    return sum(count for count in seen.values() if count > 1) / max(len(samples), 1)


def _thumbnails(x: Tensor) -> Tensor:
    """Return network input (b, ...) as (b, D + 1) whose products are correlations."""
    x = x.float()
    if x.ndim > 2:
        height, width = x.shape[-2:]
        x = functional.adaptive_avg_pool2d(x, (min(height, _SIDE), min(width, _SIDE)))
    x = x.flatten(1)
    centred = x - x.mean(1, keepdim=True)
    norm = centred.norm(dim=1, keepdim=True)
    # What is constant correlates with nothing, but equals all else that is.
    constant = norm <= 1e-6 * x.norm(dim=1, keepdim=True)
    return torch.cat([torch.where(constant, 0, centred / norm), constant.to(x)], 1)
