"""Flowers102 as Udacity and Kaggle pack it: ``train``, ``valid`` and ``test`` by class number.

The folders' numbers are the official classes, from 1, and the files keep their official names, but
the parts are not the official ones: 6,552, 818 and 819 images. Where ``test`` has no class folders,
as in Kaggle's competition, ``valid`` is for testing.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from gptfl_bench.core.errors import UsageError
from gptfl_datasets.files.find import Layout
from gptfl_datasets.files.tree import Tree

LAYOUT = Layout("flowers102", {}, ("flower_data", "dataset"), ("train/1", "train/102", "valid/1"))


@dataclass(frozen=True)
class Parts:
    """Which images are for what.

    Attributes:
        train: Class from 1 to 102 of each training image, by path.
        test: Of each test image.
        note: What every table must say about them.
    """

    train: Mapping[str, int]
    test: Mapping[str, int]
    note: str


def parts(tree: Tree, valid: str) -> Parts:
    """Return the parts of a tree.

    Args:
        tree: The tree.
        valid: ``train`` adds ``valid`` to the training images, ``unused`` leaves it out.

    Raises:
        UsageError: If a part is empty, or the validation images are for training and testing.
    """
    found: dict[str, dict[str, int]] = {"train": {}, "valid": {}, "test": {}}
    for name in tree.names():
        inside = re.fullmatch(r"(train|valid|test)/(\d{1,3})/[^/]+\.jpe?g", name, re.IGNORECASE)
        if inside and 1 <= int(inside[2]) <= 102:
            found[inside[1].lower()][name] = int(inside[2])
    train, test = found["train"], found["test"]
    note = "parts train, valid and test of Udacity's archive, not the official split"
    if not test:
        if valid == "train":
            raise UsageError(
                f"{str(tree.path)!r} has no class folders in 'test', so 'valid' is for testing; "
                "leave data.valid=train out."
            )
        test = found["valid"]
        note += "; valid for testing, as its test images have no classes"
    elif valid == "train":
        train = train | found["valid"]
    if not train or not test:
        raise UsageError(
            f"{str(tree.path)!r} has {len(train)} images for training and {len(test)} for testing "
            "in folders called 1 to 102; unpack the archive again, or put the official "
            "102flowers.tgz, imagelabels.mat and setid.mat there."
        )
    return Parts(train, test, note)
