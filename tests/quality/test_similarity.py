"""Distances, diversity and duplicates: by hand, against slow references, and on real digits."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gptfl_bench.data import loaders
from gptfl_bench.data.access import Access
from gptfl_bench.data.samples import Samples
from gptfl_bench.quality.similarity import (
    class_diversity,
    exact_duplicates,
    kernel_distance,
    near_duplicates,
)


def normal(count: int, size: int, seed: int) -> Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed))


def test_kernel_distance_by_hand() -> None:
    """With F = 1 the kernel is (xy + 1)^3.

    x = {0, 1}: one pair, k = 1. y = {2, 2}: k = 125. Across k is 1 and 27, in the mean 14.
    1 + 125 - 2 * 14 = 98.
    """
    assert kernel_distance(torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0], [2.0]])) == 98


def test_kernel_distance_has_no_bias() -> None:
    """Two small samples of one distribution: 0 on average, and so below 0 for some."""
    found = [kernel_distance(normal(8, 3, n), normal(11, 3, n + 1000)) for n in range(400)]
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found)) < 3 * error
    assert min(found) < 0


def test_kernel_distance_grows_with_a_shift() -> None:
    real, synthetic = normal(300, 8, 1), normal(200, 8, 2)
    near, far = kernel_distance(synthetic + 0.2, real), kernel_distance(synthetic + 0.5, real)
    assert abs(kernel_distance(synthetic, real)) < near < far


@pytest.mark.slow  # Loading torchmetrics takes seconds.
def test_kernel_distance_is_that_of_torchmetrics() -> None:
    kid = pytest.importorskip("torchmetrics.image.kid")
    x, y = normal(60, 16, 3).double(), (1.3 * normal(60, 16, 4) + 0.1).double()
    assert kernel_distance(x, y) == pytest.approx(float(kid.poly_mmd(x, y)), rel=1e-9)
    # The metric itself with a network of one's own, on one block of all samples.
    metric = kid.KernelInceptionDistance(torch.nn.Identity(), subsets=1, subset_size=60)
    metric.set_dtype(torch.float64)
    metric.update(x, real=True)
    metric.update(y, real=False)
    assert kernel_distance(x, y) == pytest.approx(float(metric.compute()[0]), rel=1e-9)


def test_diversity_by_hand() -> None:
    """Right angles have distance 1, opposite directions 2, the same one 0; one sample has none."""
    features = torch.tensor([[1.0, 0.0], [0.0, 5.0], [1.0, 1.0], [-2.0, -2.0], [3.0, 3.0]])
    labels = torch.tensor([0, 0, 1, 1, 2])
    assert class_diversity(features, labels, 4) == pytest.approx([1.0, 2.0, None, None])


@given(st.integers(2, 12), st.integers(1, 5), st.integers(0, 99))
def test_diversity_is_the_mean_over_pairs(count: int, size: int, seed: int) -> None:
    features = normal(count, size, seed).double()
    slow = [
        1 - float(torch.nn.functional.cosine_similarity(a, b, dim=0))
        for a, b in itertools.combinations(features, 2)
    ]
    (fast,) = class_diversity(features, torch.zeros(count, dtype=torch.int64), 1)
    assert fast == pytest.approx(np.mean(slow), abs=1e-9)


def test_a_set_with_everything_twice_is_all_duplicates() -> None:
    digits = loaders.load("digits", {}, Access()).train
    rows = torch.arange(0, len(digits), 7)
    assert near_duplicates(digits, torch.arange(len(digits))) == 0
    assert exact_duplicates(digits) == 0
    once = digits.select(rows)
    twice = digits.select(torch.cat([rows, rows]))
    # Asked for one of each, the twins are found in the rest of the set.
    assert near_duplicates(twice, torch.arange(len(rows))) == 1
    assert exact_duplicates(twice) == 1
    one_again = digits.select(torch.cat([rows, rows[:1]]))
    assert exact_duplicates(one_again) == pytest.approx(2 / (len(once) + 1))


def test_a_brighter_or_slightly_noisy_copy_is_a_near_duplicate() -> None:
    pictures = torch.rand(40, 3, 32, 32, generator=torch.Generator().manual_seed(5))
    faint = 0.5 * pictures + 0.2 + 0.01 * torch.randn(pictures.shape)
    both = Samples(torch.cat([pictures, faint]), torch.zeros(80, dtype=torch.int64))
    assert near_duplicates(both, torch.arange(80)) == 1
    assert exact_duplicates(both) == 0
    assert near_duplicates(replace(both, x=torch.rand(80, 3, 32, 32)), torch.arange(80)) == 0


def test_blank_samples_are_duplicates_of_each_other_alone() -> None:
    x = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(6))
    x[0], x[1] = 0.25, 0.75
    samples = Samples(x, torch.zeros(5, dtype=torch.int64))
    assert near_duplicates(samples, torch.arange(5)) == pytest.approx(2 / 5)
