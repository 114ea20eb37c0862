"""How clients share a task's training samples.

Letters in shapes: N samples, C classes, K clients.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gptfl_bench.core.registry import Registry
from gptfl_reports.records.schema import describe


@dataclass(frozen=True)
class Partition:
    """Which client holds which training samples; the same object serves all methods of a run.

    Attributes:
        clients: For each client its sample indices, ascending.
        recipe: How it was made, by name.
        settings: The recipe's arguments, seed included.
    """

    clients: tuple[tuple[int, ...], ...]
    recipe: str
    settings: dict[str, str | int | float | None] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Return recipe, number of clients and sizes in a line."""
        sizes = self.sizes
        held = f", {min(sizes):,} to {max(sizes):,} samples each" if sizes else ""
        return f"Partition: {self.describe()}, {len(sizes):,} clients{held}"

    @property
    def sizes(self) -> list[int]:
        """Number of samples of each client."""
        return [len(indices) for indices in self.clients]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the client-to-indices table as hex; the recipe's name does not enter."""
        digest = hashlib.sha256()
        for indices in self.clients:
            digest.update(np.asarray([len(indices), *indices], dtype="<i8").tobytes())
        return digest.hexdigest()

    def describe(self) -> str:
        """Return recipe, settings and fingerprint in a line for tables."""
        return describe(self.recipe, self.settings, fingerprint=self.fingerprint, seed=True)

    def counts(self, labels: NDArray[np.int64], num_classes: int) -> NDArray[np.int64]:
        """Return how many samples of each class each client holds, (K, C), int64.

        Args:
            labels: Class of each training sample, (N,), in [0, C).
            num_classes: C.
        """
        held = [labels[np.asarray(indices, dtype=np.int64)] for indices in self.clients]
        return np.stack([np.bincount(own, minlength=num_classes) for own in held])

    def to_json(self, labels: NDArray[np.int64], label_names: Sequence[str]) -> str:
        """Return the partition, and what it gives each client, as JSON text.

        Args:
            labels: Class of each training sample, (N,), in [0, C).
            label_names: Name of each class, (C,).
        """
        return json.dumps(
            {
                "recipe": self.recipe,
                "settings": self.settings,
                "sha256": self.fingerprint,
                "classes": list(label_names),
                "counts": self.counts(labels, len(label_names)).tolist(),
                "clients": [list(indices) for indices in self.clients],
            }
        )


Recipe = Callable[..., Partition]
"""``recipe(labels, groups, *, num_clients, seed, alpha, min_size) -> Partition``."""

partitions: Registry[Recipe] = Registry(
    "partition", "gptfl_datasets.partitions", "gptfl_bench.partitions"
)
