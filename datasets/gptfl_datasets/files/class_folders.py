"""Trees whose class is a folder: ``<class>/.../<file>``."""

from dataclasses import dataclass

from gptfl_bench.core.errors import UsageError
from gptfl_datasets.files.tree import Tree

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff")
SOUNDS = (".wav", ".flac", ".ogg", ".mp3")


@dataclass(frozen=True)
class ClassFiles:
    """The files of a tree with their classes.

    Attributes:
        classes: Class names in alphabetical order, (C,).
        labels: Class index of each file, by its path in the tree, in alphabetical order.
    """

    classes: tuple[str, ...]
    labels: dict[str, int]

    def in_number_order(self) -> dict[str, int]:
        """Return labels in the order of the numbers that are the files' names.

        Exports of CIFAR often number the files by their place in the official order. Where names
        are no numbers, or one comes twice, the alphabetical order stays.
        """
        stems = {name: name.rpartition("/")[2].partition(".")[0] for name in self.labels}
        if not all(stem.isdecimal() for stem in stems.values()):
            return self.labels
        numbers = {name: int(stem) for name, stem in stems.items()}
        if len(set(numbers.values())) < len(numbers):
            return self.labels
        return {name: self.labels[name] for name in sorted(numbers, key=numbers.__getitem__)}


def class_files(tree: Tree, suffixes: tuple[str, ...], what: str = "") -> ClassFiles:
    """Return the files with one of ``suffixes`` below class folders.

    Args:
        tree: A folder or archive.
        suffixes: In lower case, with the dot.
        what: Path of the tree inside a larger one, for messages.

    Raises:
        UsageError: If there is no class folder, or one without such files.
    """
    names = [name for name in tree.names() if "/" in name and name.lower().endswith(suffixes)]
    classes = tuple(sorted({name.partition("/")[0] for name in names}))
    where = str(tree.path)
    if not classes:
        raise UsageError(
            f"{where!r} has no class folders with files ending in {', '.join(suffixes)}; put each "
            "sample into the folder of its class."
        )
    if tree.kind == "folder":
        folders = (path for path in sorted(tree.path.iterdir()) if path.is_dir())
        for folder in folders:
            if folder.name not in classes and not folder.name.startswith((".", "_")):
                raise UsageError(
                    f"the class folder {str(folder)!r} has no files ending in "
                    f"{', '.join(suffixes)}; fill it or remove it."
                )
    index = {name: number for number, name in enumerate(classes)}
    return ClassFiles(classes, {name: index[name.partition("/")[0]] for name in names})
