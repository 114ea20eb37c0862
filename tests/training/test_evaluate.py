"""Metrics against scikit-learn."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, log_loss

from gptfl_bench.data.samples import Samples
from gptfl_bench.training.evaluate import Score, evaluate


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    size=st.integers(1, 40),
    held=st.sets(st.integers(0, 4), min_size=1),
    said=st.sets(st.integers(0, 4), min_size=1),
)
def test_metrics_are_scikit_learns(seed: int, size: int, held: set[int], said: set[int]) -> None:
    """With classes that never occur, are never predicted, or neither."""
    rng = np.random.default_rng(seed)
    y = rng.choice(sorted(held), size)
    logits = rng.normal(size=(size, 5))
    logits[:, sorted(set(range(5)) - said)] -= 50
    score = Score.of(torch.tensor(logits), torch.tensor(y))
    guess = logits.argmax(1)
    assert score.examples == size
    assert score.accuracy == pytest.approx(accuracy_score(y, guess))
    # Classes that occur or are predicted: scikit-learn's default.
    assert score.macro_f1 == pytest.approx(f1_score(y, guess, average="macro", zero_division=0))
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    if p[np.arange(size), y].min() > 1e-12:
        assert score.loss == pytest.approx(log_loss(y, p, labels=range(5)), rel=1e-6)
    assert score.confusion.tolist() == confusion_matrix(y, guess, labels=range(5)).tolist()


def test_macro_f1_by_hand() -> None:
    """Class 0: 2 of 3 found, 1 wrong, 2 * 2 / (3 + 3). Class 1: 1 of 2, 1 wrong. Class 2: none."""
    logits = torch.nn.functional.one_hot(torch.tensor([0, 0, 1, 1, 0]), 3).float()
    score = Score.of(logits, torch.tensor([0, 0, 0, 1, 1]))
    assert score.macro_f1 == pytest.approx((4 / 6 + 2 / 4) / 2)
    assert score.accuracy == pytest.approx(3 / 5)


def test_batch_size_does_not_matter_and_every_sample_counts() -> None:
    rng = torch.Generator().manual_seed(0)
    data = Samples(torch.randn(23, 4, generator=rng), torch.randint(4, (23,), generator=rng))
    scores = [evaluate(lambda x: x, data, batch_size) for batch_size in (1, 7, 22, 23, 1000)]
    assert {score.examples for score in scores} == {23}
    assert len({str(score.confusion.tolist()) for score in scores}) == 1
    for score in scores:
        assert score.loss == pytest.approx(scores[0].loss, rel=1e-12)


@given(cuts=st.lists(st.integers(0, 23), max_size=4))
@settings(max_examples=25, deadline=None)
def test_merging_parts_is_scoring_the_whole(cuts: list[int]) -> None:
    rng = torch.Generator().manual_seed(0)
    logits, y = torch.randn(23, 4, generator=rng), torch.randint(4, (23,), generator=rng)
    whole = Score.of(logits, y)
    edges = [0, *sorted(cuts), 23]
    parts = [Score.of(logits[a:b], y[a:b]) for a, b in itertools.pairwise(edges)]
    merged = parts[0]
    for part in parts[1:]:
        merged = merged.merge(part)
    assert torch.equal(merged.confusion, whole.confusion)
    assert merged.loss == pytest.approx(whole.loss, rel=1e-12)


def test_nothing_to_evaluate_on_is_an_error() -> None:
    with pytest.raises(ValueError, match="no samples"):
        evaluate(lambda x: x, Samples(torch.zeros(0, 2), torch.zeros(0).long()))
