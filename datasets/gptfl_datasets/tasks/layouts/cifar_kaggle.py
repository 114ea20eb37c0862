"""CIFAR-10 as Kaggle's competition packs it: ``train/<id>.png`` and ``trainLabels.csv``.

Its training images are the official ones in another order; its 300,000 images to test on have no
labels. So every fifth training image by number, from the first, is for testing, as in ``digits``.
"""

import csv
import io

import numpy as np

from gptfl_bench.core.errors import UsageError
from gptfl_datasets.files.find import Found, Layout
from gptfl_datasets.files.pictures import decode
from gptfl_datasets.files.prepared import Workspace
from gptfl_datasets.tasks.layouts.decoded import CLASSES, SIDE, Decoded

_TABLE = "trainLabels.csv"
LAYOUTS = {"cifar10": (Layout("cifar10", {}, ("cifar-10",), ("train", _TABLE)),)}
_EVERY = 5


def read(workspace: Workspace, found: Found, dataset: str) -> Decoded:
    """Return Kaggle's labelled images, shared out between training and testing.

    Raises:
        UsageError: If the table or an image is damaged, missing or another.
    """
    labels = _table(found.tree.read(_TABLE))
    names = tuple(sorted(set(labels.values())))
    if len(names) != CLASSES[dataset]:
        raise UsageError(
            f"{_TABLE!r} of {str(found.tree.path)!r} has {len(names)} classes, and {dataset} has "
            f"{CLASSES[dataset]}; it is another file."
        )
    row_of = {f"train/{number}.png": row for row, number in enumerate(sorted(labels))}
    x = np.empty((len(row_of), 3, SIDE, SIDE), np.uint8)
    seen = set()
    for name, data in workspace.stream(found.tree, row_of):
        x[row_of[name]] = decode(data, name, exact=(SIDE, SIDE)).transpose(2, 0, 1)
        seen.add(name)
    if missing := sorted(row_of.keys() - seen):
        raise UsageError(
            f"{str(found.tree.path)!r} lacks {missing[0]!r} and {len(missing) - 1} other images "
            f"that {_TABLE} names; unpack train.7z again."
        )
    y = np.array([names.index(labels[number]) for number in sorted(labels)], np.int64)
    test = np.arange(len(y)) % _EVERY == 0
    return Decoded(
        names,
        (x[~test], y[~test]),
        (x[test], y[test]),
        "Kaggle's training images as PNG, every fifth by number for testing: this project's split, "
        "not the official one",
        f"Kaggle's {found.tree.path.name}/train with {_TABLE}",
    )


def _table(data: bytes) -> dict[int, str]:
    """Return the label of each image by its number.

    Raises:
        UsageError: If it is not that table.
    """
    try:
        text = io.StringIO(data.decode("utf-8-sig"))
        labels = {int(row["id"]): row["label"] for row in csv.DictReader(text)}
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise UsageError(
            f"{_TABLE} has no columns id and label as Kaggle's ({type(error).__name__}); unpack it "
            "again."
        ) from error
    if not labels or any(number < 0 or not label for number, label in labels.items()):
        raise UsageError(f"{_TABLE} does not name a class for each number; unpack it again.")
    return labels
