"""Finding the files of a data set in the shapes people have them, or downloading them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.progress import bar
from gptfl_bench.data.access import Access, DataMissing
from gptfl_datasets.files.download import Remote, checksum, fetch
from gptfl_datasets.files.tree import Tree, open_tree

_PACKED = ".7z"


@dataclass(frozen=True)
class Layout:
    """How the files of a data set lie on disk.

    Attributes:
        dataset: The data set's name; also the subfolder of the data folder it is looked for in.
        files: The official files by name, the first of which holds the samples; empty for a layout
            that is no owner's.
        tops: Folders an unpacked tree may have, as its owner or torchvision calls them.
        marks: What must lie in such a folder for it to be one; folders end with a slash.
    """

    dataset: str
    files: dict[str, Remote]
    tops: tuple[str, ...]
    marks: tuple[str, ...]

    @property
    def archive(self) -> str:
        """Name of the official archive."""
        return next(iter(self.files))


@dataclass(frozen=True)
class Found:
    """The files of a data set.

    Attributes:
        tree: The files, with paths as in the unpacked tree.
        layout: How they lie.
        remote: What the official archive must be; None where no official archive was read.
    """

    tree: Tree
    layout: Layout
    remote: Remote | None = None

    @property
    def read(self) -> str:
        """What was read, in words."""
        name = self.tree.path.name
        if self.remote is not None:
            return f"official archive {name}"
        return f"{'unpacked tree' if self.tree.kind == 'folder' else 'archive'} {name}"

    def check(self) -> None:
        """Compare an official archive with its published checksum, where there is one.

        Raises:
            UsageError: If they differ.
        """
        if self.remote is None or not (self.remote.sha256 or self.remote.md5):
            return
        kind: Literal["sha256", "md5"]
        kind, wanted = (
            ("sha256", self.remote.sha256) if self.remote.sha256 else ("md5", self.remote.md5)
        )
        found = checksum(self.tree.path, kind)
        if found != wanted:
            raise UsageError(
                f"{str(self.tree.path)!r} has {kind.upper()} {found}, not {wanted} as its owner's; "
                "it is damaged or another file: delete it to have it downloaded again, or give a "
                "tree that you unpacked yourself with data.path=FOLDER."
            )


def find(layout: Layout, path: str | None, access: Access, others: Sequence[Layout] = ()) -> Found:
    """Return a data set's files: unpacked, in the official archive, or freshly downloaded.

    Args:
        layout: How its owner packs them.
        path: The folder or archive the user names; None to look into the data folder.
        access: Where to look, and whether to download.
        others: How others pack them; taken where no official files are.

    Raises:
        UsageError: If they are nowhere; the sentence says what is looked for and how to bring it.
    """
    places = [Path(path).expanduser()] if path else places_of(layout.dataset, access)
    if places[0].suffix.lower() == _PACKED:
        raise _packed(places[0], layout, places[0].parent)
    for place in places:
        for known in (layout, *others):
            if found := look(known, place):
                return found
    for packed in sorted(places[0].glob(f"*{_PACKED}")):
        raise _packed(packed, layout, places[0])
    if path:
        raise UsageError(
            f"data.path={path!r} holds no {layout.dataset}; {wanted(layout, places[0])}"
        )
    target = places[0]
    if not access.download:
        how = wanted(layout, target).removesuffix(".")
        raise DataMissing(
            f"data set {layout.dataset!r} is neither in {str(target)!r} nor in "
            f"{str(places[1])!r}, and nothing is downloaded here; {how}, or have it downloaded by "
            f"gptfl-bench data {layout.dataset} --prepare."
        )
    lacking = {n: remote for n, remote in layout.files.items() if not (target / n).exists()}
    if access.ahead:
        due = ", ".join(f"{name} ({remote.size})" for name, remote in lacking.items())
        raise DataMissing(f"{layout.dataset}, to be downloaded into {str(target)!r}: {due}.")
    for name, remote in lacking.items():
        with bar(name, of_bytes=True) as move:
            what = f"{layout.dataset}: {name}"
            fetch(remote, target / name, what=what, announce=access.announce, progress=move)
    found = look(layout, target)
    assert found is not None
    return found


def _packed(path: Path, layout: Layout, folder: Path) -> UsageError:
    """Return the error for an archive of 7z, as Kaggle packs its competitions."""
    return UsageError(
        f"{str(path)!r} is packed by 7z, which is not read; unpack it where it is, or "
        f"{wanted(layout, folder)}"
    )


def places_of(dataset: str, access: Access) -> list[Path]:
    """Return the folders a data set is looked for in, the one for downloads first."""
    return [access.data / dataset, access.data]


def look(layout: Layout, place: Path) -> Found | None:
    """Return a data set's files if they are at ``place``, a folder or an archive."""
    if place.is_file():
        tree = open_tree(place)
        top = _top(tree, layout)
        remote = layout.files.get(place.name)
        return None if top is None else Found(tree.below(top) if top else tree, layout, remote)
    for top in ("", *layout.tops):
        if all(_there(place / top, mark) for mark in layout.marks):
            return Found(open_tree(place / top), layout)
    if layout.files and all((place / name).is_file() for name in layout.files):
        return look(layout, place / layout.archive)
    return None


def wanted(layout: Layout, place: Path) -> str:
    """Return the end of a sentence: which files bring a data set, their size and their place."""
    sizes = [f"{name} ({remote.size}) from {remote.url}" for name, remote in layout.files.items()]
    return (
        f"put {', '.join(sizes)} into {str(place)!r}, or the unpacked folder {layout.tops[0]!r}, "
        "or name either with data.path=."
    )


def _there(folder: Path, mark: str) -> bool:
    path = folder / mark
    return path.is_dir() if mark.endswith("/") else path.exists()


def _top(tree: Tree, layout: Layout) -> str | None:
    """Return the folder inside an archive that holds all marks; "" for its root, None for none."""
    names = tree.names()
    folders = {part for name in names for part in _parents(name)}
    known = {f"{folder}/" for folder in folders} | folders | set(names)
    for top in ["", *sorted(folders)]:
        prefix = f"{top}/" if top else ""
        if all(prefix + mark in known for mark in layout.marks):
            return top
    return None


def _parents(name: str) -> list[str]:
    parts = name.split("/")[:-1]
    return ["/".join(parts[: end + 1]) for end in range(len(parts))]
