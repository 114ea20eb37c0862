"""CIFAR's binary version: rows of label and pixels, in the order of the Python version.

A row of CIFAR-10 is one byte of label and 3,072 of pixels, all red, all green, all blue; CIFAR-100
has a coarse label before the fine one. Its pixels and labels are those of the Python version.
"""

import hashlib
from collections.abc import Mapping

import numpy as np

from gptfl_bench.core.errors import UsageError
from gptfl_datasets.files.download import Remote
from gptfl_datasets.files.find import Found, Layout
from gptfl_datasets.files.prepared import Workspace
from gptfl_datasets.tasks.layouts.decoded import CLASSES, SIDE, Decoded, Labelled, check_labels

_SITE = "https://www.cs.toronto.edu/~kriz/"
_TEN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
LAYOUTS = {
    "cifar10": (
        Layout(
            "cifar10",
            {
                "cifar-10-binary.tar.gz": Remote(
                    f"{_SITE}cifar-10-binary.tar.gz",
                    170_052_171,
                    md5="c32a1d4ab5d03f1284b67883e8d87530",
                )
            },
            ("cifar-10-batches-bin",),
            (*_TEN, "test_batch.bin", "batches.meta.txt"),
        ),
    ),
    "cifar100": (
        Layout(
            "cifar100",
            {
                "cifar-100-binary.tar.gz": Remote(
                    f"{_SITE}cifar-100-binary.tar.gz",
                    168_513_733,
                    md5="03b5dce01913d631647c71ecec9e9cb8",
                )
            },
            ("cifar-100-binary",),
            ("train.bin", "test.bin", "fine_label_names.txt"),
        ),
    ),
}
OFFICIAL = {
    "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
    "train.bin": "f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29",
    "test.bin": "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a",
}
"""SHA-256 of the owner's files."""


def read(workspace: Workspace, found: Found, dataset: str) -> Decoded:
    """Return what the binary version holds.

    Raises:
        UsageError: If a file is damaged or another.
    """
    found.check()
    *train, test, names = LAYOUTS[dataset][0].marks
    held = dict(workspace.stream(found.tree, (*train, test, names)))
    pairs = [_rows(held[name], name, dataset) for name in train]
    x, y = (np.concatenate(both) for both in zip(*pairs, strict=True))
    official = all(
        hashlib.sha256(held[name]).hexdigest() == OFFICIAL[name] for name in (*train, test)
    )
    return Decoded(
        _names(held, names, dataset),
        (x, y),
        _rows(held[test], test, dataset),
        "" if official else "binary batches that are not the official files",
        f"binary version, {found.read}",
    )


def _rows(data: bytes, name: str, dataset: str) -> Labelled:
    labels = 1 if dataset == "cifar10" else 2
    width = labels + 3 * SIDE * SIDE
    if len(data) % width:
        raise UsageError(
            f"{name!r} has {len(data):,} bytes, which are no whole rows of {width:,} as in "
            f"{dataset}'s binary version; fetch {next(iter(LAYOUTS[dataset][0].files))} anew."
        )
    rows = np.frombuffer(data, np.uint8).reshape(-1, width)
    y = rows[:, labels - 1].astype(np.int64)
    check_labels(y, dataset, repr(name))
    return rows[:, labels:].reshape(-1, 3, SIDE, SIDE), y


def _names(held: Mapping[str, bytes], name: str, dataset: str) -> tuple[str, ...]:
    found = tuple(held[name].decode("utf-8", "replace").split())
    if len(found) != CLASSES[dataset]:
        raise UsageError(
            f"{name!r} names {len(found)} classes, and {dataset} has {CLASSES[dataset]}; fetch "
            f"{next(iter(LAYOUTS[dataset][0].files))} anew."
        )
    return found
