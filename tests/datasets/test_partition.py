from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.randomness import address_seed
from gptfl_bench.data.partition import Partition, partitions
from gptfl_bench.data.task import tasks
from gptfl_datasets.partitions.dirichlet import (
    dirichlet,
    dirichlet_balanced,
    dirichlet_prior,
    dirichlet_uncapped,
)
from gptfl_datasets.partitions.natural import group, iid

Labels = NDArray[np.int64]
MakePartition = Callable[..., Partition]

DRAWN = [iid, dirichlet, dirichlet_uncapped, dirichlet_balanced, dirichlet_prior]
SKEWED = [dirichlet, dirichlet_uncapped, dirichlet_balanced, dirichlet_prior]


def balanced_labels(num_samples: int = 1000, num_classes: int = 10) -> Labels:
    return np.arange(num_samples) % num_classes


def recipe_rng(seed: int, recipe: str) -> np.random.RandomState:
    return np.random.RandomState(address_seed(seed, "partition", recipe) % 2**32)


def holds_each_once(partition: Partition, num_samples: int) -> bool:
    return sorted(i for indices in partition.clients for i in indices) == list(range(num_samples))


def mean_max_class_share(partition: Partition, labels: Labels) -> float:
    shares = [np.bincount(labels[list(c)]).max() / len(c) for c in partition.clients if c]
    return float(np.mean(shares))


def test_all_recipes_are_registered() -> None:
    for recipe in [*DRAWN, group]:
        assert partitions.get(recipe.__name__) is recipe


requests = st.fixed_dictionaries(
    {
        "num_clients": st.integers(1, 7),
        "seed": st.integers(0, 2**40),
        "alpha": st.floats(0.2, 100.0),
        "min_size": st.integers(1, 4),
    }
)
label_lists = st.lists(st.sampled_from([0, 1, 2, 5]), min_size=40, max_size=120)


@pytest.mark.parametrize("recipe", DRAWN)
@given(label_list=label_lists, request_=requests)
@settings(max_examples=40, deadline=None)
def test_drawn_recipes_deal_each_sample_once(
    recipe: MakePartition, label_list: list[int], request_: dict[str, float]
) -> None:
    labels = np.array(label_list)
    before = labels.copy()
    try:
        made = recipe(labels, None, **request_)
    except UsageError:  # skewed draws may leave a client too small; its own test is below
        assume(False)
    assert holds_each_once(made, len(labels))
    assert len(made.clients) == request_["num_clients"]
    assert min(made.sizes) >= request_["min_size"]
    assert all(list(indices) == sorted(indices) for indices in made.clients)
    assert made == recipe(labels, None, **request_)
    assert made.recipe == recipe.__name__
    np.testing.assert_array_equal(labels, before)
    if recipe in (iid, dirichlet_prior):
        assert max(made.sizes) - min(made.sizes) <= 1


@given(
    ids=st.lists(st.sampled_from("abcdef"), min_size=1, max_size=60),
    seed=st.integers(0, 2**40),
    min_size=st.integers(1, 5),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_group_gives_each_client_one_whole_group(
    ids: list[str], seed: int, min_size: int, data: st.DataObject
) -> None:
    kept = sorted(name for name in set(ids) if ids.count(name) >= min_size)
    assume(kept)
    num_clients = data.draw(st.integers(0, len(kept)))
    labels = np.zeros(len(ids), dtype=np.int64)
    made = group(labels, ids, num_clients=num_clients, seed=seed, min_size=min_size)
    names = [ids[indices[0]] for indices in made.clients]
    assert len(names) == (num_clients or len(kept))
    assert names == sorted(set(names) & set(kept))
    for name, indices in zip(names, made.clients, strict=True):
        assert list(indices) == [i for i, other in enumerate(ids) if other == name]


def test_group_covers_everything_unless_asked() -> None:
    ids = ["b", "a", "b", "c", "b"]
    labels = np.zeros(5, dtype=np.int64)
    assert group(labels, ids, num_clients=0).clients == ((1,), (0, 2, 4), (3,))
    assert group(labels, ids, num_clients=3) == group(labels, ids, num_clients=0)
    assert group(labels, ids, num_clients=0, min_size=2).clients == ((0, 2, 4),)


def test_group_draws_other_groups_with_another_seed() -> None:
    ids = [str(i) for i in range(50)]
    labels = np.zeros(50, dtype=np.int64)
    drawn = {group(labels, ids, num_clients=5, seed=seed).clients for seed in range(5)}
    assert len(drawn) == 5


@pytest.mark.parametrize("recipe", DRAWN)
def test_seed_alone_decides(recipe: MakePartition) -> None:
    labels = balanced_labels()
    made = [
        recipe(labels, None, num_clients=5, seed=seed, alpha=0.5, min_size=2).fingerprint
        for seed in (0, 1, 0)
    ]
    np.random.seed(1)  # noqa: NPY002 - a shared stream must not matter
    made.append(recipe(labels, None, num_clients=5, seed=1, alpha=0.5, min_size=2).fingerprint)
    assert made[0] == made[2] != made[1] == made[3]


def capped_by_the_book(
    labels: Labels, num_clients: int, seed: int, alpha: float, min_size: int
) -> list[list[int]]:
    """The capped recipe as NIID-Bench words it, one plain step after the other."""
    rng = recipe_rng(seed, "dirichlet")
    shuffled = [rng.permutation(np.where(labels == c)[0]) for c in sorted(set(labels.tolist()))]
    while True:
        clients: list[list[int]] = [[] for _ in range(num_clients)]
        for members in shuffled:
            p = rng.dirichlet([alpha] * num_clients)
            for k in range(num_clients):
                if len(clients[k]) >= len(labels) / num_clients:
                    p[k] = 0.0
            p = p / np.sum(p)
            start, total = 0, 0.0
            for k in range(num_clients):
                total += p[k]
                end = int(total * len(members)) if k < num_clients - 1 else len(members)
                clients[k] += members[start:end].tolist()
                start = end
        if min(len(c) for c in clients) >= min_size:
            return [sorted(c) for c in clients]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("num_clients", "alpha", "min_size"), [(10, 0.1, 10), (20, 0.1, 3), (7, 0.5, 30), (3, 10.0, 1)]
)
def test_dirichlet_equals_its_plain_reference(
    num_clients: int, alpha: float, min_size: int, seed: int
) -> None:
    labels = np.random.default_rng(9).integers(0, 8, 900)
    made = dirichlet(
        labels, None, num_clients=num_clients, seed=seed, alpha=alpha, min_size=min_size
    )
    by_the_book = capped_by_the_book(labels, num_clients, seed, alpha, min_size)
    assert [list(indices) for indices in made.clients] == by_the_book


def test_cap_keeps_clients_from_growing_in_every_class() -> None:
    """A client stops once it holds N/K, so none can hold that plus more than one class."""
    labels = balanced_labels(1000, 10)
    for seed in range(20):
        made = dirichlet(labels, None, num_clients=10, seed=seed, alpha=0.05, min_size=1)
        # The last client also gets what rounding down leaves over, at most one sample a class.
        assert max(made.sizes) < 100 + 100 + 10


@pytest.mark.parametrize("alpha", [0.1, 1.0])
def test_balanced_equals_dynafeds_matrix_for_equal_classes(alpha: float) -> None:
    """Double normalisation as the released code does it, always for 1,000 passes."""
    labels, num_clients = balanced_labels(5000, 10), 25
    rng = recipe_rng(3, "dirichlet_balanced")
    for _ in range(10):
        rng.permutation(500)  # classes are shuffled first
    matrix = rng.dirichlet([alpha] * num_clients, size=10)
    for _ in range(1000):
        matrix = matrix / matrix.sum(axis=0)
        matrix = matrix / matrix.sum(axis=1)[:, None]
    made = dirichlet_balanced(labels, None, num_clients=num_clients, seed=3, alpha=alpha)
    for client, indices in enumerate(made.clients):
        counts = np.bincount(labels[list(indices)], minlength=10)
        assert np.abs(counts - matrix[:, client] * 500).max() <= 1


@pytest.mark.parametrize("seed", range(5))
def test_balanced_clients_are_of_about_equal_size_even_for_unequal_classes(seed: int) -> None:
    labels = np.repeat(np.arange(10), np.arange(1, 11) * 40)  # 40 to 400 a class, 2,200 in all
    made = dirichlet_balanced(labels, None, num_clients=20, seed=seed, alpha=0.3)
    assert max(abs(size - 110) for size in made.sizes) <= 5


def test_balanced_rounding_favours_no_client() -> None:
    """With 102 classes of ten, rounding down would give the last client several times its share.

    Rounding to the nearest sample would give the first and the last too little.
    """
    labels = balanced_labels(1020, 102)
    sizes = [
        dirichlet_balanced(labels, None, num_clients=50, seed=seed, alpha=0.1).sizes
        for seed in range(60)
    ]
    mean = np.mean(sizes, axis=0)
    assert mean[0] == pytest.approx(1020 / 50, abs=1)
    assert mean[-1] == pytest.approx(1020 / 50, abs=1)


def test_prior_hands_out_every_class_by_the_clients_priors() -> None:
    """With far more of each class than is taken from it, counts follow the drawn priors."""
    labels, num_clients = balanced_labels(20000, 4), 2
    rng = recipe_rng(0, "dirichlet_prior")
    for _ in range(4):
        rng.permutation(5000)
    priors = rng.dirichlet([50.0] * 4, size=num_clients)
    made = dirichlet_prior(labels, None, num_clients=num_clients, seed=0, alpha=50.0)
    # What one prior asks for too much, the other must give up; both priors average to about 1/4.
    for prior, indices in zip(priors, made.clients, strict=True):
        counts = np.bincount(labels[list(indices)]) / 10000
        np.testing.assert_allclose(counts - 0.25, (prior - 0.25), atol=0.08)


def test_prior_gives_out_rare_and_unwanted_classes() -> None:
    labels = np.array([0] * 3 + [1] * 97)
    for seed in range(20):
        made = dirichlet_prior(labels, None, num_clients=7, seed=seed, alpha=0.02)
        assert holds_each_once(made, 100)


@pytest.mark.parametrize("recipe", SKEWED)
def test_smaller_alpha_means_more_skew(recipe: MakePartition) -> None:
    labels = balanced_labels(2000)
    means = [
        np.mean(
            [
                mean_max_class_share(
                    recipe(labels, None, num_clients=10, seed=seed, alpha=alpha, min_size=5), labels
                )
                for seed in range(3)
            ]
        )
        for alpha in (0.1, 1.0, 100.0)
    ]
    assert means[0] > means[1] + 0.1 > means[2] + 0.2
    assert means[2] < 0.2  # nearly the 0.1 of equal shares


FROZEN = [
    (iid, "16c053d919eb90f021e459baff46c0d9e43b6d8f0ec66ecd55a87b007f6d2a95"),
    (dirichlet, "4bfa29cb17a6bccba822aa654e32459cf2e9d6198012aaa0059bf188c76784a1"),
    (dirichlet_uncapped, "b8e568b75b73d26756ad974b427660efbb3eb284ad4ed8f8b3d0bf6cdb3484df"),
    (dirichlet_balanced, "b66dcca647d7a243b4090497a403adaa4f15a096dc8418b72304702e381aadb8"),
    (dirichlet_prior, "de3b388a21c3e28456d320e336b40eea3aa5aa4cb8fdd7a3a217fe5aa35bb231"),
]


@pytest.mark.parametrize(("recipe", "fingerprint"), FROZEN)
def test_partitions_of_digits_never_change(recipe: MakePartition, fingerprint: str) -> None:
    labels = tasks.get("digits")().train.labels.numpy()
    made = recipe(labels, None, num_clients=10, seed=0, alpha=0.1, min_size=10)
    assert made.fingerprint == fingerprint


def test_group_partitions_never_change() -> None:
    ids = [f"g{i * i % 13}" for i in range(1437)]
    labels = np.zeros(1437, dtype=np.int64)
    assert group(labels, ids, num_clients=0).fingerprint == (
        "9e3e8c527ebdf3e17f6da0d6ee4a1bf7688f4698904890516a25eff2f0e9f4c5"
    )
    assert group(labels, ids, num_clients=3, seed=0).fingerprint == (
        "1de3b298f6b20d3fb7cc40f2edbde55a948141056935877e31034de842a486eb"
    )


def test_settings_say_what_decided() -> None:
    labels, ids = balanced_labels(), [str(i % 4) for i in range(1000)]
    request_ = {"num_clients": 4, "seed": 7, "alpha": 1, "min_size": 2}
    assert iid(labels, None, **request_).settings == {"num_clients": 4, "seed": 7}
    assert dirichlet(labels, None, **request_).settings == request_
    assert dirichlet_uncapped(labels, None, **request_).settings == request_
    assert dirichlet_balanced(labels, None, **request_).settings == request_
    assert dirichlet_prior(labels, None, **request_).settings == {
        "num_clients": 4,
        "seed": 7,
        "alpha": 1.0,
    }
    assert group(labels, ids, **request_).settings == {"num_clients": 4, "min_size": 2}
    request_["num_clients"] = 3
    assert group(labels, ids, **request_).settings == {
        "num_clients": 3,
        "min_size": 2,
        "seed": 7,
    }


IMPOSSIBLE = [
    ({"num_clients": 0}, r"num_clients must be at least 1, not 0"),
    ({"num_clients": -3}, r"num_clients must be at least 1, not -3"),
    ({"num_clients": 1001}, r"num_clients 1001 is more than the 1000.*use at most 1000"),
    ({"min_size": 101}, r"10 clients with min_size 101 need 1010.*there are 1000.*at most 100"),
    ({"min_size": 0}, r"min_size must be at least 1, not 0"),
]


@pytest.mark.parametrize("recipe", DRAWN)
@pytest.mark.parametrize(("change", "sentence"), IMPOSSIBLE)
def test_impossible_requests_are_refused(
    recipe: MakePartition, change: dict[str, int], sentence: str
) -> None:
    request_ = {"num_clients": 10, "seed": 0, "alpha": 1.0, "min_size": 1} | change
    with pytest.raises(UsageError, match=sentence):
        recipe(balanced_labels(), None, **request_)


@pytest.mark.parametrize("recipe", SKEWED)
@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan"), float("inf")])
def test_alpha_must_be_positive_and_finite(recipe: MakePartition, alpha: float) -> None:
    with pytest.raises(UsageError, match=f"alpha must be a finite number above 0, not {alpha}"):
        recipe(balanced_labels(), None, num_clients=10, seed=0, alpha=alpha, min_size=1)


def test_data_without_samples_are_refused() -> None:
    with pytest.raises(UsageError, match="num_clients 1 is more than the 0 training samples"):
        iid(np.zeros(0, dtype=np.int64), None, num_clients=1)


@pytest.mark.parametrize(
    ("ids", "change", "sentence"),
    [
        (None, {}, r"needs group ids.*choose iid, dirichlet"),
        (["a"] * 3, {}, r"3 group ids do not fit 4 samples"),
        (["a", "a", "b", "c"], {"num_clients": -1}, r"or 0 for all groups, not -1"),
        (
            ["a", "a", "b", "c"],
            {"num_clients": 2, "min_size": 2},
            r"num_clients 2 is more than the 1 of 3 groups that have min_size 2.*at most 1",
        ),
        (["a", "a", "b", "c"], {"min_size": 3}, r"min_size 3 samples or more.*largest has 2"),
        (["a", "a", "b", "c"], {"min_size": 0}, r"min_size must be at least 1, not 0"),
    ],
)
def test_impossible_natural_partitions_are_refused(
    ids: list[str] | None, change: dict[str, int], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        group(np.zeros(4, dtype=np.int64), ids, **({"num_clients": 0} | change))


@pytest.mark.parametrize("recipe", [dirichlet, dirichlet_uncapped, dirichlet_balanced])
def test_retries_are_bounded_and_name_the_smallest_client(recipe: MakePartition) -> None:
    with pytest.raises(UsageError) as caught:
        # A client for every tenth sample: no draw gives each exactly ten.
        recipe(balanced_labels(200, 10), None, num_clients=20, alpha=0.1, min_size=10)
    sentence = str(caught.value)
    assert "client " in sentence
    for part in ("min_size 10", "alpha 0.1", "20 clients", "larger alpha", "smaller min_size"):
        assert part in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize("recipe", SKEWED)
@pytest.mark.filterwarnings("error")
def test_alpha_too_small_for_floating_point_is_refused(recipe: MakePartition) -> None:
    with pytest.raises(UsageError, match=r"alpha 1e-12.*larger alpha"):
        recipe(balanced_labels(), None, num_clients=10, seed=0, alpha=1e-12, min_size=1)
