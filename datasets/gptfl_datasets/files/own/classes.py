"""The class of each sample: by a pattern, by metadata or by the folder it lies in."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gptfl_bench.core.errors import UsageError
from gptfl_bench.data.class_names import folded
from gptfl_datasets.files.class_folders import class_files
from gptfl_datasets.files.tree import Tree


@dataclass(frozen=True)
class Classes:
    """Tells the classes of a tree's samples.

    Attributes:
        tree: The files.
        suffixes: Of the files that are samples.
        pattern: Regular expression that finds the class in a path; None for none.
        labels: Class of each sample that metadata name, by its path; None without metadata.
    """

    tree: Tree
    suffixes: tuple[str, ...]
    pattern: str | None
    labels: Mapping[str, str] | None

    def known(self, folder: str) -> bool:
        """Return whether anything in a top folder has a class."""
        names = self._samples(folder)
        if self.pattern:
            return bool(names)
        if self.labels is not None:
            return any(name in self.labels for name in names)
        return any("/" in name.removeprefix(f"{folder}/") for name in names)

    def of(self, folder: str) -> dict[str, str]:
        """Return the class of each sample by its path in the tree, in order of the paths.

        Args:
            folder: A top folder; empty for the whole tree.

        Raises:
            UsageError: If there are none, or the tree can be read in two ways.
        """
        names, where = self._samples(folder), str(self.tree.path / folder)
        if self.pattern:
            found = dict(zip(names, matched("data.classes", self.pattern, names), strict=True))
        elif self.labels is not None:
            found = {name: self.labels[name] for name in names if name in self.labels}
        else:
            below = class_files(self.tree.below(folder), self.suffixes)
            _refuse_two_readings(below.labels, where, above=1 if folder else 0)
            prefix = f"{folder}/" if folder else ""
            return {f"{prefix}{n}": below.classes[label] for n, label in below.labels.items()}
        if not found:
            raise UsageError(
                f"{where!r} has no files with a class that end in {', '.join(self.suffixes)}; add "
                "them, and their rows where metadata name the classes."
            )
        return found

    def _samples(self, folder: str) -> list[str]:
        prefix = f"{folder}/" if folder else ""
        names = (name for name in self.tree.names() if name.startswith(prefix))
        return [name for name in names if name.lower().endswith(self.suffixes)]


def matched(setting: str, pattern: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return what a pattern finds in each path: its first group, or all it matches.

    Args:
        setting: Where the pattern was given, for messages.
        pattern: A regular expression.
        names: Paths in the tree.

    Raises:
        UsageError: If it is none, or finds nothing in a path.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"{setting}={pattern!r} is no regular expression: {error}.") from error
    found = []
    for name in names:
        match = expression.search(name)
        text = match.group(1 if expression.groups else 0) if match else None
        if not text:
            raise UsageError(
                f"{setting}={pattern!r} finds nothing in {name!r}; it must match every path."
            )
        found.append(text)
    return tuple(found)


def _refuse_two_readings(names: Iterable[str], where: str, above: int) -> None:
    """Refuse class folders that hold the same folders, which may be the classes as well.

    One folder alone, such as ``images`` in each class, can't be the classes.

    Args:
        names: Paths of the samples.
        where: The folder they lie in.
        above: How many folders of the tree lie above.
    """
    levels: dict[int, dict[str, dict[str, str]]] = {}
    for name in names:
        top, *inner = name.split("/")[:-1]
        for depth, folder in enumerate(inner, 1):
            levels.setdefault(depth, {}).setdefault(folded(folder), {})[top] = folder
    for depth, folders in sorted(levels.items()):
        shared = [tops for tops in folders.values() if len(tops) > 1]
        if shared and len(folders) > 1:
            first, second, *_ = shared[0]
            deep, flat = (f"^{'[^/]+/' * (above + n)}([^/]+)/" for n in (depth, 0))
            raise UsageError(
                f"{where!r} has folders {shared[0][first]!r} in both {first!r} and {second!r}, so "
                f"either may be the classes; say which with data.classes='{deep}' for the inner "
                f"or data.classes='{flat}' for the outer folders (data.clients takes the others), "
                "or call parts of the data train and test."
            )
