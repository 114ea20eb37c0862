"""CIFAKE: 50,000 images that Stable Diffusion 1.4 made for the classes of CIFAR-10.

Bird and Lotfi, "CIFAKE: Image Classification and Explainable Identification of AI-Generated
Synthetic Images", IEEE Access 2024, arXiv 2303.14126; licence: MIT. The authors' archive holds
CIFAR-10's own images beside them (``REAL``), which are never read: they would make a start on
synthetic data one on real data. 1,336 images are copies of another of their class.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gptfl_bench.synthesis.generator import generators
from gptfl_datasets.files.download import Remote
from gptfl_datasets.files.find import Layout
from gptfl_datasets.files.pictures import decode
from gptfl_datasets.generators.folder import CIFAKE, from_cifake
from gptfl_datasets.generators.published.published import Content, Published

_REPOSITORY = "CIFAKE-Real-and-AI-Generated-Synthetic-Images"
_COMMIT = "e112a942abaecd02b6b1f6f646c807d56be8fb62"
_ARCHIVE = f"{_REPOSITORY}-{_COMMIT}.zip"


@generators.register(
    "cifake",
    title="CIFAKE, 50,000 images for CIFAR-10 by Stable Diffusion 1.4 (MIT)",
    source="Bird and Lotfi, IEEE Access 2024, arXiv 2303.14126",
    year=2024,
    needs="data set cifar10; about 145 MB, downloaded once",
)
@dataclass(frozen=True)
class Cifake(Published):
    """Hands out 32x32x3 images, 5,000 of each class of CIFAR-10."""

    datasets: ClassVar[frozenset[str]] = frozenset({"cifar10"})
    layout: ClassVar[Layout] = Layout(
        "cifake",
        # GitHub packs a commit anew at times, so the archive has no checksum; its content has.
        {
            _ARCHIVE: Remote(
                f"https://github.com/jordan-bird/{_REPOSITORY}/archive/{_COMMIT}.zip",
                0,
                about=145_000_000,
            )
        },
        (f"{_REPOSITORY}-{_COMMIT}/DATASET", f"{_REPOSITORY}-main/DATASET", "DATASET"),
        (CIFAKE,),
    )
    content: ClassVar[Content] = Content(
        CIFAKE,
        50_000,
        46_225_929,
        "4ef0a0694533c84091626a81abc47d25cd7da51e9dcfaa56e37c1e17111da054",
    )

    def labels(self, names: Sequence[str]) -> Mapping[str, str]:
        """Return the class in each file's name: ``<number> (<class from 2>).jpg``."""
        return from_cifake(names)

    def media(self, data: bytes, where: str) -> np.ndarray:
        """Return an image, uint8 (32, 32, 3)."""
        return decode(data, where, exact=(32, 32))
