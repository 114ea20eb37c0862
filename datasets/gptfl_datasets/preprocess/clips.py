"""From audio files to rows of features, some at a time, whatever order an archive has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gptfl_bench.core.errors import UsageError
from gptfl_datasets.files.audio import decode
from gptfl_datasets.files.prepared import Workspace
from gptfl_datasets.files.tree import Tree
from gptfl_datasets.preprocess.audio_features import features

_TOGETHER = 64


@dataclass(frozen=True)
class Clips:
    """Rows of features to fill.

    Attributes:
        rows: float16 (N, frames, bands).
    """

    rows: NDArray[np.generic]

    def read(self, workspace: Workspace, tree: Tree, row_of: Mapping[str, int]) -> None:
        """Fill the row of each file of ``row_of`` from ``tree``, in one pass.

        Raises:
            UsageError: If a file is not there or no audio.
        """
        seconds = self.rows.shape[1] / 100
        waves: dict[int, np.ndarray] = {}
        read = 0
        for name, data in workspace.stream(tree, row_of):
            waves[row_of[name]] = decode(data, name, seconds=seconds)
            read += 1
            if len(waves) == _TOGETHER:
                self._fill(waves)
        self._fill(waves)
        if read < len(row_of):
            raise UsageError(f"{str(tree.path)!r} changed while it was read; try again.")

    def add(self, waves: Sequence[np.ndarray], first_row: int) -> None:
        """Fill rows from ``first_row`` on with the features of waveforms."""
        self._fill({first_row + number: wave for number, wave in enumerate(waves)})

    def _fill(self, waves: dict[int, np.ndarray]) -> None:
        if waves:
            self.rows[list(waves)] = features(list(waves.values()), self.rows.shape[1])
            waves.clear()
