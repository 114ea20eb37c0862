"""From audio files to rows of features, some at a time, whatever order an archive has."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gptfl_bench.core.errors import UsageError
from gptfl_datasets.files.audio import decode
from gptfl_datasets.files.prepared import FORMAT, Workspace
from gptfl_datasets.files.tree import Tree
from gptfl_datasets.preprocess.audio_features import MEL_BINS, features

_TOGETHER = 64


class Clips:
    """The features of a split's clips, to fill; digests of their files say what they are of.

    Args:
        workspace: Where they are put.
        split: ``train`` or ``test``.
        count: N.
        frames: T.
    """

    def __init__(self, workspace: Workspace, split: str, count: int, frames: int) -> None:
        self._workspace = workspace
        self._rows = workspace.empty(f"{split}_x", (count, frames, MEL_BINS), np.float16)
        self._sources = workspace.empty(f"{split}_sources", (count, 32), np.uint8)

    def read(self, tree: Tree, row_of: Mapping[str, int]) -> None:
        """Fill the row of each file of ``row_of`` from ``tree``, in one pass.

        Raises:
            UsageError: If a file is not there or no audio.
        """
        seconds = self._rows.shape[1] / 100
        waves: dict[int, np.ndarray] = {}
        read = 0
        for name, data in self._workspace.stream(tree, row_of):
            row = row_of[name]
            waves[row] = decode(data, name, seconds=seconds)
            self._sources[row] = _digest(data)
            read += 1
            if len(waves) == _TOGETHER:
                self._fill(waves)
        self._fill(waves)
        if read < len(row_of):
            raise UsageError(f"{str(tree.path)!r} changed while it was read; try again.")

    def add(self, waves: Sequence[np.ndarray], first_row: int) -> None:
        """Fill rows from ``first_row`` on with the features of waveforms."""
        for row, wave in enumerate(waves, first_row):
            self._sources[row] = _digest(wave.tobytes())
        self._fill({first_row + number: wave for number, wave in enumerate(waves)})

    def _fill(self, waves: dict[int, np.ndarray]) -> None:
        if waves:
            self._rows[list(waves)] = features(list(waves.values()), self._rows.shape[1])
            waves.clear()


def _digest(data: bytes) -> NDArray[np.uint8]:
    # Features of the same sound may change with the version of decoding.
    return np.frombuffer(hashlib.sha256(str(FORMAT).encode() + data).digest(), np.uint8)
