"""A user's own data: class folders, a test part, and clients from a regular expression."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from gptfl_bench.core.errors import UsageError
from gptfl_datasets.files.class_folders import class_files
from gptfl_datasets.files.made_by import makers
from gptfl_datasets.files.tree import Tree, open_tree

_SPLITS = ("train", "test")


@dataclass(frozen=True)
class OwnData:
    """Which files are for training and for testing.

    Attributes:
        tree: The files.
        classes: Class names, (C,).
        train: Class index of each training file, by its path in the tree.
        test: Class index of each test file.
        groups: Client group of each training file; empty without a pattern.
        note: What every table must say about the split, and about data that were not recorded.
        made_by: Generators that made the data; empty for recorded ones.
    """

    tree: Tree
    classes: tuple[str, ...]
    train: dict[str, int]
    test: dict[str, int]
    groups: tuple[str, ...]
    note: str
    made_by: tuple[str, ...]


@dataclass(frozen=True)
class OwnOptions:
    """Options of all data that are a folder of the user's own.

    Attributes:
        path: Folder or archive with a folder for each class, or with ``train`` and ``test``.
        clients: Regular expression that finds a file's client group, such as its speaker, in its
            path, for partition ``group``.
        test_share: Share held out where there are no ``train`` and ``test``.
    """

    path: str | None = None
    clients: str | None = None
    test_share: float = 0.2

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        if not 0 < self.test_share < 1:
            raise ValueError(f"test_share={self.test_share} must be between 0 and 1")


def own_tree(dataset: str, path: str | None) -> Tree:
    """Return the folder or archive a user names.

    Raises:
        UsageError: If none is named or it can't be read.
    """
    if path is None:
        raise UsageError(
            f"data set {dataset!r} needs data.path=FOLDER with a folder for each class, or with "
            "train and test that have them."
        )
    return open_tree(Path(path).expanduser())


def own_data(
    tree: Tree, suffixes: tuple[str, ...], clients: str | None, test_share: float
) -> OwnData:
    """Return the split of a tree: its folders ``train`` and ``test``, or a part held out.

    A part that is held out is chosen by a hash of names, so it never changes: whole client groups
    where there is a pattern, else files, the same share of each class.

    Args:
        tree: The files.
        suffixes: Of the files that count.
        clients: Regular expression that finds a file's client group in its path: its first group,
            or all it matches.
        test_share: Share held out where there are no folders ``train`` and ``test``.

    Raises:
        UsageError: If classes, files or client groups are missing.
    """
    made_by = makers(tree)
    tops = {name.partition("/")[0] for name in tree.names()}
    if tops >= set(_SPLITS):
        parts = {split: class_files(tree.below(split), suffixes) for split in _SPLITS}
        classes = parts["train"].classes
        if parts["test"].classes != classes:
            odd = sorted(set(classes) ^ set(parts["test"].classes))
            raise UsageError(
                f"{str(tree.path)!r} has the class folder {odd[0]!r} in only one of train and "
                "test; both need the same classes."
            )
        train, test = (
            {f"{split}/{name}": label for name, label in parts[split].labels.items()}
            for split in _SPLITS
        )
        groups = _groups(list(train), clients)
        return OwnData(tree, classes, train, test, groups, _note("", made_by), made_by)
    files = class_files(tree, suffixes)
    names = list(files.labels)
    held_out = (
        _groups_held_out(names, _groups(names, clients), test_share)
        if clients
        else _files_held_out(files.labels, test_share)
    )
    train = {name: label for name, label in files.labels.items() if name not in held_out}
    test = {name: label for name, label in files.labels.items() if name in held_out}
    if not train or not test:
        raise UsageError(
            f"a test share of {test_share} leaves {len(train)} files for training and {len(test)} "
            "for testing; change data.test_share or make folders train and test."
        )
    of_what = "of the client groups" if clients else "of each class"
    note = _note(f"a share of {test_share:g} {of_what} held out for testing", made_by)
    groups = _groups(list(train), clients)
    return OwnData(tree, files.classes, train, test, groups, note, made_by)


def _note(split: str, made_by: tuple[str, ...]) -> str:
    origin = f"not recorded but made by {', '.join(made_by)}" if made_by else ""
    return "; ".join(filter(None, (origin, split)))


def _groups(names: list[str], pattern: str | None) -> tuple[str, ...]:
    if not pattern:
        return ()
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"data.clients={pattern!r} is no regular expression: {error}.") from error
    found = []
    for name in names:
        match = expression.search(name)
        if match is None:
            raise UsageError(
                f"data.clients={pattern!r} finds nothing in {name!r}; it must match every path."
            )
        found.append((match.group(1) if expression.groups else match.group()) or "")
    return tuple(found)


def _groups_held_out(names: list[str], groups: tuple[str, ...], share: float) -> set[str]:
    kinds = sorted(set(groups), key=_hash)
    chosen = set(kinds[: round(share * len(kinds))])
    return {name for name, group in zip(names, groups, strict=True) if group in chosen}


def _files_held_out(labels: dict[str, int], share: float) -> set[str]:
    by_class: dict[int, list[str]] = {}
    for name, label in labels.items():
        by_class.setdefault(label, []).append(name)
    ordered = (sorted(names, key=_hash) for names in by_class.values())
    return {name for names in ordered for name in names[: round(share * len(names))]}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
