"""Flower's partitioner as an oracle for the plain Dirichlet recipe, where it is installed."""

import numpy as np
import pytest

from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.randomness import address_seed
from gptfl_datasets.partitions.dirichlet import dirichlet_uncapped


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("num_clients", "alpha"), [(10, 0.1), (25, 0.5), (4, 10.0)])
def test_uncapped_recipe_gives_the_counts_of_flowers_partitioner(
    num_clients: int, alpha: float, seed: int
) -> None:
    flwr_datasets = pytest.importorskip("flwr_datasets", reason="pip install flwr-datasets")
    from datasets import Dataset
    from flwr_datasets.partitioner import DirichletPartitioner

    labels = np.random.default_rng(5).integers(0, 6, 1500)
    rng = np.random.RandomState(address_seed(seed, "partition", "dirichlet_uncapped") % 2**32)
    for label in range(6):
        rng.permutation(int((labels == label).sum()))  # ours shuffles classes first
    flower = DirichletPartitioner(
        num_clients, "label", alpha, min_partition_size=1, self_balancing=False, shuffle=False
    )
    flower._rng = rng  # the same draws
    flower.dataset = Dataset.from_dict({"label": labels})
    ours = dirichlet_uncapped(labels, None, num_clients=num_clients, seed=seed, alpha=alpha)
    assert flwr_datasets.__name__
    for client, indices in enumerate(ours.clients):
        theirs = flower.load_partition(client)["label"]
        expected = np.bincount(np.asarray(theirs, dtype=np.int64), minlength=6)
        np.testing.assert_array_equal(np.bincount(labels[list(indices)], minlength=6), expected)


def test_without_a_cap_sizes_are_more_skewed() -> None:
    from gptfl_datasets.partitions.dirichlet import dirichlet

    labels = np.arange(5000) % 10

    def spread(recipe: object) -> float:
        made = [recipe(labels, None, num_clients=20, seed=s, alpha=0.2) for s in range(8)]  # type: ignore[operator]
        return float(np.mean([np.std(partition.sizes) for partition in made]))

    assert spread(dirichlet_uncapped) > 1.3 * spread(dirichlet)


def test_an_impossible_request_is_refused() -> None:
    with pytest.raises(UsageError, match="use a larger alpha"):
        dirichlet_uncapped(np.arange(100) % 10, None, num_clients=50, alpha=0.01, min_size=2)
