"""Invertible Bloom lookup table: a sketch of label names that can be summed and then listed.

Goodrich and Mitzenmacher 2011; laid out as in TensorFlow Federated's analytics (paper section
3.2). Sketches add entry by entry in a prime field, so a server that learns only their sum can list
all names and how many clients hold each.
"""

import hashlib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

FIELD = 2**31 - 1
"""Prime modulus of all entries."""

CHUNK_BYTES = 3
"""Bytes of a name in one entry: the most that stay below the modulus."""

_SPACE = {3: 1.222, 4: 1.295, 5: 1.425, 6: 1.570}
"""Cells an entry needs on average, by number of repetitions."""


@dataclass(frozen=True)
class Shape:
    """Size of a sketch and its hash functions; the same for all clients.

    Attributes:
        capacity: Distinct names it is made for.
        max_bytes: Longest name in UTF-8 bytes; longer ones are refused, never cut.
        repetitions: Cells each name is written to, at least 3.
        seed: Seed of the hash functions.
    """

    capacity: int = 50
    max_bytes: int = 10
    repetitions: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse sizes that can't work.

        Raises:
            ValueError: Naming the field, its value and what is allowed.
        """
        if self.capacity < 1 or self.max_bytes < 1:
            raise ValueError(f"capacity={self.capacity} and max_bytes={self.max_bytes} must be > 0")
        if self.repetitions not in _SPACE:
            raise ValueError(f"repetitions={self.repetitions} must be one of {sorted(_SPACE)}")

    @property
    def cells(self) -> int:
        """Cells in each repetition."""
        space = _SPACE[self.repetitions]
        return int(1.1 * space * self.capacity / self.repetitions + 10)

    @property
    def chunks(self) -> int:
        """Entries that spell a name."""
        return math.ceil(self.max_bytes / CHUNK_BYTES)

    def positions(self, name: bytes) -> list[int]:
        """Return the cell of each repetition that ``name`` is written to."""
        return [
            _hash(f"{self.seed + repetition};".encode() + name) % self.cells
            for repetition in range(self.repetitions)
        ]

    def check(self, name: bytes) -> int:
        """Return the check sum of ``name``, in the field."""
        return _hash(f"hash_check_{self.seed}".encode() + name) % FIELD

    def spell(self, name: bytes) -> list[int]:
        """Return ``name`` as one integer for each chunk, little-endian."""
        padded = name.ljust(self.chunks * CHUNK_BYTES, b"\0")
        return [
            int.from_bytes(padded[start : start + CHUNK_BYTES], "little")
            for start in range(0, len(padded), CHUNK_BYTES)
        ]


@dataclass(frozen=True)
class Sketch:
    """Sums in a field: name chunks, count and check sum of each cell, and a value of each cell.

    Attributes:
        shape: Size and hash functions.
        table: (repetitions, cells, chunks + 2), int64 in [0, FIELD).
        values: (repetitions, cells, 1), int64: number of clients behind each cell.
    """

    shape: Shape
    table: NDArray[np.int64]
    values: NDArray[np.int64]

    @classmethod
    def of(
        cls, names: Iterable[str], shape: Shape, factor: Callable[[], int] = lambda: 1
    ) -> "Sketch":
        """Return the sketch of a client's distinct names, each counted once.

        Args:
            names: The names.
            shape: Size and hash functions.
            factor: How often a name enters the table, in [1, FIELD); drawn at random, it hides
                from the sum how many clients hold a name, which can be listed all the same.

        Raises:
            ValueError: If a name is empty, holds a NUL or is longer than the shape allows.
        """
        table = np.zeros((shape.repetitions, shape.cells, shape.chunks + 2), np.int64)
        values = np.zeros((shape.repetitions, shape.cells, 1), np.int64)
        for text in sorted(set(names)):
            name = text.encode()
            if not name or b"\0" in name or len(name) > shape.max_bytes:
                raise ValueError(
                    f"the label {text!r} takes {len(name)} bytes; 1 to {shape.max_bytes} without "
                    "NUL are allowed"
                )
            entry = np.array([*shape.spell(name), 1, shape.check(name)], np.int64)
            # Below 2**62.
            entry = entry * factor() % FIELD
            for repetition, cell in enumerate(shape.positions(name)):
                table[repetition, cell] = (table[repetition, cell] + entry) % FIELD
                values[repetition, cell] += 1
        return cls(shape, table, values)

    def decode(self) -> "Decoded":
        """Return the names and their counts by peeling off cells that hold a single name."""
        table, found = self.table % FIELD, dict[str, int]()
        queue = [(r, c) for r, c in np.ndindex(table.shape[:2]) if _single(self.shape, table[r, c])]
        while queue:
            row, cell = queue.pop()
            # It may have been emptied or changed since it was queued.
            name = _single(self.shape, table[row, cell])
            # Honest cells yield a name once; forged ones could be peeled for ever.
            if name is None or name.decode() in found:
                continue
            entry = table[row, cell].copy()
            found[name.decode()] = int(entry[-2])
            for repetition, position in enumerate(self.shape.positions(name)):
                table[repetition, position] = (table[repetition, position] - entry) % FIELD
                if _single(self.shape, table[repetition, position]) is not None:
                    queue.append((repetition, position))
        left = int(np.count_nonzero(table.any(axis=2), axis=1).max())
        return Decoded(found, left)

    def counted(self, names: Iterable[str]) -> dict[str, int]:
        """Return how many clients hold each of the names that were listed, from the cells' values.

        Noise in the values is spread over the names by least squares.

        Args:
            names: All names in the sketch.
        """
        listed = list(names)
        cells = np.zeros((self.shape.repetitions, self.shape.cells, len(listed)))
        for column, text in enumerate(listed):
            for repetition, cell in enumerate(self.shape.positions(text.encode())):
                cells[repetition, cell, column] = 1
        # What noise made negative wrapped round.
        values = (self.values[:, :, 0] + FIELD // 2) % FIELD - FIELD // 2
        # An overfull table may list no name at all, so that no size can be left open.
        system = cells.reshape(values.size, len(listed))
        counts = np.linalg.lstsq(system, values.reshape(-1).astype(float), rcond=None)[0]
        return dict(zip(listed, np.rint(counts).astype(int).tolist(), strict=True))


@dataclass(frozen=True)
class Decoded:
    """What a sum of sketches listed.

    Attributes:
        counts: Number of clients holding each name.
        not_decoded: Lower bound on names that could not be read; 0 if all were.
    """

    counts: dict[str, int] = field(default_factory=dict)
    not_decoded: int = 0


def _single(shape: Shape, entry: NDArray[np.int64]) -> bytes | None:
    """Return the name of a cell that holds one name only, whatever its count."""
    *chunks, count, check = (int(value) for value in entry)
    if count == 0:
        return None
    inverse = pow(count, -1, FIELD)
    # A field element that is no three-byte chunk can't come from a single name.
    spelled = [value * inverse % FIELD for value in chunks]
    if any(value >= 1 << (8 * CHUNK_BYTES) for value in spelled):
        return None
    name = b"".join(value.to_bytes(CHUNK_BYTES, "little") for value in spelled).rstrip(b"\0")
    if not name or check != count * shape.check(name) % FIELD:
        return None
    try:
        name.decode()
    except UnicodeDecodeError:
        # No client that keeps to the protocol sends such a name.
        return None
    return name


def _hash(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")
