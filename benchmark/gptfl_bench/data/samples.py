"""Labelled samples, and views of them that copy nothing.

Letters in shapes: N samples, C classes.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gptfl_bench.core.code.identity import describe, of_program
from gptfl_bench.core.device import bring

Transform = Callable[[Tensor, torch.Generator | None], Tensor]
"""Stored samples (N, ...) to network input (N, ...); augments if a generator is given."""

# Samples at a time, and bytes of their inputs on a CPU.
_LEAST, _MOST, _INPUTS = 32, 1000, 2**20


def as_float(x: Tensor, rng: torch.Generator | None = None) -> Tensor:
    """Return stored samples as float32, bytes scaled to [0, 1]; the default transform."""
    return x.float() / 255 if x.dtype == torch.uint8 else x.float()


@dataclass(frozen=True)
class Samples:
    """Labelled samples, or a view of some of them.

    Attributes:
        x: Stored samples, (N, ...); bytes are kept as bytes until a batch is drawn.
        y: Class indices, (N,), int64, in [0, C).
        indices: The rows this view shows, (n,), int64; None for all of them.
        transform: From stored samples to network input.
        known: What :meth:`checksum` gave when all rows were stored; empty if nobody knows.
        sources: Digest of what each row of ``x`` was computed from, (N, 32) bytes; None where rows
            are as they were read. Computed features differ in their last bits between processors.
    """

    x: Tensor
    y: Tensor
    indices: Tensor | None = None
    transform: Transform = as_float
    known: str = ""
    sources: Tensor | None = None

    def __repr__(self) -> str:
        """Return number and form in a line."""
        shape, kind = tuple(self.x.shape[1:]), str(self.x.dtype).removeprefix("torch.")
        return f"Samples: {len(self):,} of shape {shape}, {kind}"

    def __len__(self) -> int:
        """Return the number of samples shown."""
        return len(self.y) if self.indices is None else len(self.indices)

    @property
    def labels(self) -> Tensor:
        """The class indices shown, (n,)."""
        return self.y if self.indices is None else self.y[self.indices]

    @property
    def form(self) -> str:
        """Shape, type and transform in words; the same media can have several forms.

        An own transform's code counts; where it can't be read, the form is never the same again.
        """
        transform = self.transform
        about = describe(transform)
        if about.own or not of_program(transform):
            return f"{tuple(self.x.shape[1:])} {self.x.dtype} {about.key()}"
        words = getattr(transform, "__qualname__", None) or repr(transform)
        return f"{tuple(self.x.shape[1:])} {self.x.dtype} {words}"

    def select(self, indices: Tensor) -> "Samples":
        """Return a view of the samples at ``indices`` of this view; nothing is copied."""
        rows = indices if self.indices is None else self.indices[indices]
        return replace(self, indices=rows, known="")

    def rows(self, indices: Tensor) -> Tensor:
        """Return the stored rows (b,) of positions within this view (b,), where the samples are."""
        if self.indices is not None:
            indices = self.indices.index_select(0, indices.to(self.indices.device))
        return bring(indices, self.x.device)

    @property
    def at_once(self) -> int:
        """How many samples to take at a time where the number changes no result.

        What a network makes of more leaves a CPU's cache: ConvNet takes twice as long for 1,000
        images of CIFAR-10 at a time as for 85.
        """
        if self.x.device.type != "cpu":
            return _MOST
        one = torch.float32.itemsize * max(math.prod(self.x.shape[1:]), 1)
        return min(max(_INPUTS // one, _LEAST), _MOST)

    def in_order(self, batch_size: int | None = None) -> tuple[Tensor, ...]:
        """Return the stored rows of all samples in order, in batches of :attr:`at_once`."""
        return torch.split(self.rows(torch.arange(len(self))), batch_size or self.at_once)

    def stored(self, rows: Tensor, rng: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Return network input (b, ...) and labels (b,) of stored rows, as :meth:`rows` gives them.

        Args:
            rows: Rows of ``x`` and ``y``, (b,).
            rng: Draws augmentations; none are made without it.
        """
        # A selection of whole rows is a copy of memory, several times faster than x[rows].
        return self.transform(self.x.index_select(0, rows), rng), self.y.index_select(0, rows)

    def batch(self, indices: Tensor, rng: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Return network input (b, ...) and labels (b,) of the samples at ``indices``.

        Args:
            indices: Positions within this view, (b,).
            rng: Draws augmentations; none are made without it.
        """
        return self.stored(self.rows(indices), rng)

    def with_labels(self, labels: Tensor) -> "Samples":
        """Return the samples shown, in order, with other labels (N,)."""
        x, y = self._shown(self.x), bring(labels, self.x.device)
        sources = None if self.sources is None else self._shown(self.sources)
        return replace(self, x=x, y=y, indices=None, known="", sources=sources)

    def to(self, device: torch.device) -> "Samples":
        """Return the same samples on a device; nothing is copied if they are there."""
        return replace(self, x=self.x.to(device), y=self.y.to(device))

    def checksum(self) -> str:
        """Return the SHA-256 over shape, stored bytes and labels of the samples shown, as hex.

        Where there are sources, these are taken in place of the stored bytes.
        """
        if self.known and self.indices is None:
            return self.known
        shape = (len(self), *self.x.shape[1:])
        digest = hashlib.sha256(str((shape, str(self.x.dtype))).encode())
        for tensor in (self._shown(self.x if self.sources is None else self.sources), self.labels):
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _shown(self, rows: Tensor) -> Tensor:
        return rows if self.indices is None else rows[self.indices]
