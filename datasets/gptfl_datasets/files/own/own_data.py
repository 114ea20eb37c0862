"""A user's own data: what is for training and for testing, with classes and client groups."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gptfl_bench.core.errors import UsageError
from gptfl_bench.data.class_names import check_class_names
from gptfl_datasets.files.made_by import makers
from gptfl_datasets.files.own.classes import Classes, matched
from gptfl_datasets.files.own.metadata import Metadata, metadata_of
from gptfl_datasets.files.own.parts import Part, parts_of
from gptfl_datasets.files.own.unread import in_words
from gptfl_datasets.files.tree import Tree, open_tree

READING = 2
"""Changes when a tree is read in another way, so that what was decoded before is not taken."""


@dataclass(frozen=True)
class OwnData:
    """Which files are for training and for testing.

    Attributes:
        tree: The files.
        classes: Class names, (C,).
        train: Class index of each training file, by its path in the tree.
        test: Class index of each test file.
        groups: Client group of each training file; empty if nothing tells.
        note: What every table must say about the split, about what was not read, and about data
            that were not recorded.
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
        path: Folder or archive with a folder for each class, or with parts such as ``train`` and
            ``test`` that have them, or with a ``metadata.csv`` or ``metadata.jsonl``.
        classes: Regular expression that finds a file's class in its path; null for the folder it
            lies in, or what the metadata say.
        clients: Regular expression that finds a file's client group, such as its speaker, in its
            path, for partition ``group``; null for what the metadata say.
        valid: What becomes of a validation part: added to ``train``, added to ``test`` or ``none``,
            which leaves it out; null for ``none``, or ``test`` where there is no test part.
        test_share: Share held out where no part is for testing.
    """

    path: str | None = None
    classes: str | None = None
    clients: str | None = None
    valid: Literal["train", "test", "none"] | None = None
    test_share: float = 0.2

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        if not 0 < self.test_share < 1:
            raise ValueError(f"test_share={self.test_share} must be between 0 and 1")

    def key(self, tree: Tree) -> dict[str, object]:
        """Return what determines which samples of a tree are read, and as what."""
        own = (self.classes, self.clients, self.valid, self.test_share)
        return {"source": tree.stamp(), "reading": READING, "own": own}


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


def own_data(tree: Tree, suffixes: tuple[str, ...], options: OwnOptions) -> OwnData:
    """Return the split of a tree: its folders for training and testing, or a part held out.

    A part that is held out is chosen by a hash of names, so it never changes: whole client groups
    where they are known, else files, the same share of each class.

    Args:
        tree: The files.
        suffixes: Of the files that count.
        options: How classes and clients are found, and what is for testing.

    Raises:
        UsageError: If classes, files or client groups are missing, or could be read in two ways.
    """
    made_by = makers(tree)
    parts = parts_of(tree, suffixes)
    metadata = metadata_of(tree, parts.values())
    classes = Classes(tree, suffixes, options.classes, metadata.labels)
    use = _use(tree, parts, classes, options.valid)
    train, test = (
        {name: label for part in use[which] for name, label in classes.of(part).items()}
        for which in ("train", "test")
    )
    names = _checked(tree, {**train, **test})
    groups = _groups(list(train), metadata, options)
    held_out = ""
    if not test:
        train, test = _held_out(train, groups, options.test_share)
        of_what = "of the client groups" if groups else "of each class"
        held_out = f"a share of {options.test_share:g} {of_what} held out for testing"
        if unseen := sorted(set(names) - set(train.values())):
            held_out += f", and with it every sample of {', '.join(unseen)}"
    elif odd := sorted(set(train.values()) ^ set(test.values())):
        what = "class" if options.classes or metadata.labels else "class folder"
        both = " and ".join(folder for which in ("train", "test") for folder in use[which])
        raise UsageError(
            f"{str(tree.path)!r} has the {what} {odd[0]!r} in only one of {both}; training and "
            "testing need the same classes."
        )
    index = {name: number for number, name in enumerate(names)}
    read = {*train, *test}
    left_out = {n for part in use["none"] for n in tree.names() if n.startswith(f"{part}/")}
    notes = (
        f"not recorded but made by {', '.join(made_by)}" if made_by else "",
        _served(use, len([n for n in left_out if n.lower().endswith(suffixes)])),
        held_out,
        "" if options.classes else metadata.classes_from if metadata.labels else "",
        "" if options.clients else metadata.clients_from if metadata.clients else "",
        in_words((name for name in tree.names() if name not in read), left_out, suffixes),
    )
    return OwnData(
        tree,
        names,
        {name: index[label] for name, label in train.items()},
        {name: index[label] for name, label in test.items()},
        tuple(groups[name] for name in train) if groups else (),
        "; ".join(filter(None, notes)),
        made_by,
    )


def _use(
    tree: Tree, parts: dict[Part, str], classes: Classes, valid: str | None
) -> dict[str, list[str]]:
    """Return the folders for training and testing and those left out; "" is the whole tree."""
    use: dict[str, list[str]] = {"train": [parts.get("train", "")], "test": [], "none": []}
    if "test" in parts:
        use["test"].append(parts["test"])
    if "valid" not in parts:
        if valid is not None:
            raise UsageError(
                f"data.valid={valid} is set, and {str(tree.path)!r} has no folder for validation "
                "beside one for training; leave data.valid out."
            )
        return use
    if use["test"] and not classes.known(parts["test"]) and classes.known(parts["valid"]):
        # As ImageNet's, whose test images come without their classes.
        use["test"] = []
    use[valid or ("none" if use["test"] else "test")].append(parts["valid"])
    return use


def _served(use: dict[str, list[str]], left_out: int) -> str:
    """Return which folders served as what, where they are called otherwise or some is left out."""
    if use in (
        {"train": [""], "test": [], "none": []},
        {"train": ["train"], "test": ["test"], "none": []},
    ):
        return ""
    words = [
        f"{' and '.join(use[part])} served for {purpose}"
        for part, purpose in (("train", "training"), ("test", "testing"))
        if use[part]
    ]
    if use["none"]:
        words.append(f"{use['none'][0]} with {left_out:,} files was left out")
    return ", ".join(words)


def _checked(tree: Tree, labels: dict[str, str]) -> tuple[str, ...]:
    """Return the class names, sorted, after refusing names that are no two classes.

    Raises:
        UsageError: Naming them.
    """
    names = tuple(sorted(set(labels.values())))
    check_class_names(names, repr(str(tree.path)))
    if len(names) < 2:
        raise UsageError(
            f"{str(tree.path)!r} has one class alone, {names[0]!r}, which leaves nothing to learn; "
            "name the folder that holds the class folders with data.path=, or say where the class "
            "is in a path with data.classes=PATTERN."
        )
    return names


def _groups(names: Sequence[str], metadata: Metadata, options: OwnOptions) -> dict[str, str]:
    """Return the client group of each file; empty if nothing tells.

    Raises:
        UsageError: If the pattern or the metadata leave a file without.
    """
    if options.clients:
        found = matched("data.clients", options.clients, names)
        return dict(zip(names, found, strict=True))
    if metadata.clients is None:
        return {}
    for name in names:
        if name not in metadata.clients:
            raise UsageError(
                f"{name!r} has no client in the metadata, and other files have; add its line, or "
                "set data.clients=PATTERN."
            )
    return {name: metadata.clients[name] for name in names}


def _held_out(
    labels: dict[str, str], groups: dict[str, str], share: float
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the files that stay for training and those for testing.

    Raises:
        UsageError: If either would be none.
    """
    chosen = _groups_held_out(groups, share) if groups else _files_held_out(labels, share)
    train = {name: label for name, label in labels.items() if name not in chosen}
    test = {name: label for name, label in labels.items() if name in chosen}
    if not train or not test:
        raise UsageError(
            f"a test share of {share} leaves {len(train)} files for training and {len(test)} "
            "for testing; change data.test_share or make folders train and test."
        )
    return train, test


def _groups_held_out(groups: dict[str, str], share: float) -> set[str]:
    kinds = sorted(set(groups.values()), key=_hash)
    chosen = set(kinds[: round(share * len(kinds))])
    return {name for name, group in groups.items() if group in chosen}


def _files_held_out(labels: dict[str, str], share: float) -> set[str]:
    by_class: dict[str, list[str]] = {}
    for name, label in labels.items():
        by_class.setdefault(label, []).append(name)
    ordered = (sorted(names, key=_hash) for names in by_class.values())
    return {name for names in ordered for name in names[: round(share * len(names))]}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
