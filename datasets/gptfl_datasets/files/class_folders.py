"""Trees whose class is a folder: ``<class>/.../<file>``."""

from dataclasses import dataclass

from gptfl_bench.core.errors import UsageError
from gptfl_datasets.files.tree import Tree

# What pictures.py decodes, as it is usually called.
IMAGES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".tif", ".tiff"),
)
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


def class_files(tree: Tree, suffixes: tuple[str, ...]) -> ClassFiles:
    """Return the files with one of ``suffixes`` below class folders.

    Args:
        tree: A folder or archive.
        suffixes: In lower case, with the dot.

    Raises:
        UsageError: If there is no class folder, or one without such files.
    """
    names = [name for name in tree.names() if "/" in name and name.lower().endswith(suffixes)]
    classes = tuple(sorted({name.partition("/")[0] for name in names}))
    where = str(tree.path)
    if not classes:
        raise UsageError(
            f"{where!r} has no class folders with files ending in {', '.join(suffixes)}; put each "
            "sample into the folder of its class, or list files and labels in a metadata.csv."
        )
    folders = {name.partition("/")[0] for name in tree.names() if "/" in name}
    if tree.kind == "folder":
        folders |= {path.name for path in tree.path.iterdir() if path.is_dir()}
    for folder in sorted(folders.difference(classes)):
        if not folder.startswith((".", "_")):
            raise UsageError(
                f"the class folder {str(tree.path / folder)!r} has no files ending in "
                f"{', '.join(suffixes)}; fill it, convert its files, or remove it."
            )
    index = {name: number for number, name in enumerate(classes)}
    return ClassFiles(classes, {name: index[name.partition("/")[0]] for name in names})
