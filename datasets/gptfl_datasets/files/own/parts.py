"""Which top folders of a tree are its parts for training, validation and testing."""

import re
from collections.abc import Mapping
from typing import Literal

from gptfl_bench.core.errors import UsageError
from gptfl_datasets.files.tree import Tree

Part = Literal["train", "valid", "test"]

_WORDS: Mapping[str, Part] = {
    "train": "train",
    "training": "train",
    "trn": "train",
    "val": "valid",
    "valid": "valid",
    "validate": "valid",
    "validation": "valid",
    "dev": "valid",
    "development": "valid",
    "test": "test",
    "testing": "test",
    "tst": "test",
    # As Hugging Face's loaders understand them.
    "eval": "test",
    "evaluation": "test",
}
_FILLERS = {"set", "split", "data", "dataset", "images", "audio"}


def part_of(folder: str) -> Part | None:
    """Return the part that a folder is by its name, in any case; None if it is none.

    >>> part_of("Training_Set"), part_of("val2017"), part_of("trains")
    ('train', 'valid', None)
    """
    words = [word for word in re.split(r"[\W_]+", folder.casefold()) if word]
    telling = [word for word in words if word not in _FILLERS and not word.isdecimal()]
    if len(telling) != 1:
        return None
    return _WORDS.get(telling[0].rstrip("0123456789").removesuffix("set"))


def parts_of(tree: Tree, suffixes: tuple[str, ...]) -> dict[Part, str]:
    """Return the folder of each part; empty for a tree that is not in parts.

    A tree is in parts if one folder is for training, and another part or nothing else is beside it:
    among other folders a single one called ``train`` is a class.

    Args:
        tree: The files.
        suffixes: Of the files that count.

    Raises:
        UsageError: If two folders are the same part.
    """
    inside = [name for name in tree.names() if "/" in name]
    found: dict[Part, list[str]] = {}
    for top in sorted({name.partition("/")[0] for name in inside}):
        if part := part_of(top):
            found.setdefault(part, []).append(top)
    samples = {n.partition("/")[0] for n in inside if n.lower().endswith(suffixes)}
    others = samples.difference(*found.values())
    if "train" not in found or (len(found) == 1 and others):
        return {}
    for folders in found.values():
        if len(folders) > 1:
            raise UsageError(
                f"{str(tree.path)!r} has the folders {folders[0]!r} and {folders[1]!r} for the "
                "same part; join them or rename one."
            )
    return {part: folders[0] for part, folders in found.items()}
