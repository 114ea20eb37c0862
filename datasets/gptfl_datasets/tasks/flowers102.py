"""Task ``flowers102``: photographs of 102 kinds of flowers, with the official split.

The paper trains on the part called ``train`` (1,020 images, ten a class) and tests on ``test``
(6,149); ``valid`` (1,020) stays unused unless asked for. The shorter side is scaled to 8/7 of what
the network sees, as in the released code (256 for 224), and the central square is stored, so that
batches are cut from bytes of one shape. Differs from the released code: random crops in training
never reach outside the central square.
"""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.ranges import at_least
from gptfl_bench.data.access import Access
from gptfl_bench.data.task import Modality, Task, tasks
from gptfl_datasets.files.download import Remote
from gptfl_datasets.files.find import Found, Layout, find
from gptfl_datasets.files.pictures import decode, fitted
from gptfl_datasets.files.prepared import About, Workspace, prepare
from gptfl_datasets.files.tree import Tree, open_tree
from gptfl_datasets.preprocess.image_pipeline import flowers_pipelines
from gptfl_datasets.preprocess.images import PictureForm
from gptfl_datasets.tasks.layouts import flowers_by_class

_SITE = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"
_MATS = {
    "imagelabels.mat": "e0620be6f572b9609742df49c70aed4d",
    "setid.mat": "a5357ecc9cb78c4bef273ce3793fc85c",
}
_ARCHIVE = "102flowers.tgz"
LAYOUT = Layout(
    "flowers102",
    {
        _ARCHIVE: Remote(_SITE + _ARCHIVE, 344_862_509, md5="52808999861908f626f3c1f4e79d11fa"),
        **{name: Remote(_SITE + name, 0, md5=md5, about=15_000) for name, md5 in _MATS.items()},
    },
    ("flowers-102",),
    ("imagelabels.mat", "setid.mat"),
)


@dataclass(frozen=True)
class FlowersOptions:
    """What of Flowers102 is read, and how.

    Attributes:
        path: Folder with ``jpg`` or the archive, and both .mat files, or with ``train``, ``valid``
            and ``test`` by class number; null looks into the data folder.
        size: Height and width of an image as the network sees it.
        valid: Whether the official validation images are added to the training images.
        augmentation: ``paper``: random resized crop and flip; ``light`` with crops of half the
            image or more; ``none``.
    """

    modality: ClassVar[Modality] = "image"

    path: str | None = None
    size: int = 224
    valid: Literal["unused", "train"] = "unused"
    augmentation: Literal["paper", "light", "none"] = "paper"

    def __post_init__(self) -> None:
        """Refuse sizes that no network can use."""
        at_least(self, {"size": 8})


@tasks.register(
    "flowers102",
    title="Oxford Flowers102, colour, 8,189 photographs of 102 classes",
    source="Nilsback and Zisserman, ICVGIP 2008",
    year=2008,
    needs="345 MB, downloaded once",
)
def flowers102(access: Access, options: FlowersOptions = FlowersOptions()) -> Task:
    """Return Flowers102; network input is float32 (N, 3, size, size), normalised.

    Raises:
        UsageError: If the files are not there, damaged, or no Flowers102.
    """
    side = round(options.size * 8 / 7)
    key: dict[str, object] = {"side": side, "valid": options.valid}
    found = find(LAYOUT, options.path, access, [flowers_by_class.LAYOUT])
    by_class = found.layout == flowers_by_class.LAYOUT
    images = found.tree if by_class else _images(found)
    key |= {"labels": found.tree.stamp(), "images": images.stamp()}

    def read(workspace: Workspace) -> About:
        if by_class:
            return _read_parts(workspace, images, side, options.valid)
        return _read(workspace, found, images, side, options.valid)

    ready = prepare(access, "flowers102", key, read)
    pipelines = flowers_pipelines(options.size, options.augmentation)
    return ready.task("flowers102", PictureForm(side), train=pipelines.train, test=pipelines.test)


def _images(found: Found) -> Tree:
    """Return the images as a tree, from a folder or the official archive beside the labels."""
    place = found.tree.path
    if (place / "jpg").is_dir():
        return found.tree.below("jpg")
    if (place / _ARCHIVE).is_file():
        return open_tree(place / _ARCHIVE).below("jpg")
    raise UsageError(
        f"{str(place)!r} has labels but no images; put {_ARCHIVE} from {_SITE} or the folder 'jpg' "
        "beside them."
    )


def _read(workspace: Workspace, found: Found, images: Tree, side: int, valid: str) -> About:
    mats = dict(found.tree.stream(_MATS.__contains__))
    labels, ids = _labels(mats), _ids(mats, ["trnid", "tstid", "valid"])
    if images.kind == "archive":
        Found(images, LAYOUT, LAYOUT.files[_ARCHIVE]).check()
    train = [*ids["trnid"], *(ids["valid"] if valid == "train" else [])]
    label_of = [
        {f"image_{number:05}.jpg": int(labels[number - 1]) for number in members}
        for members in (train, ids["tstid"])
    ]
    smallest = _store(workspace, images, label_of[0], label_of[1], side)
    notes = []
    if any(hashlib.md5(mats[name]).hexdigest() != md5 for name, md5 in _MATS.items()):
        notes.append("label files that are not the official ones")
    notes += _enlarged(smallest, side)
    kind = "official archive" if images.kind == "archive" else "unpacked tree"
    return About(_names(), note="; ".join(notes), read=f"{kind} {found.tree.path.name}")


def _read_parts(workspace: Workspace, tree: Tree, side: int, valid: str) -> About:
    parts = flowers_by_class.parts(tree, valid)
    smallest = _store(workspace, tree, parts.train, parts.test, side)
    note = "; ".join([parts.note, *_enlarged(smallest, side)])
    return About(_names(), note=note, read=f"folders by class number {tree.path.name}")


def _store(
    workspace: Workspace, images: Tree, train: Mapping[str, int], test: Mapping[str, int], side: int
) -> int:
    """Keep images by path, with their classes from 1, and return the shortest side of any.

    Raises:
        UsageError: If one is missing or damaged.
    """
    rows: dict[str, tuple[NDArray[np.generic], int]] = {}
    for split, members in (("train", train), ("test", test)):
        x = workspace.empty(f"{split}_x", (len(members), 3, side, side), np.uint8)
        y = workspace.empty(f"{split}_y", (len(members),), np.int64)
        y[:] = [label - 1 for label in members.values()]
        rows |= {name: (x, row) for row, name in enumerate(members)}
    smallest, seen = side, set()
    for name, data in workspace.stream(images, rows):
        picture = decode(data, name)
        smallest = min(smallest, *picture.shape[:2])
        array, row = rows[name]
        array[row] = fitted(picture, side).transpose(2, 0, 1)
        seen.add(name)
    if missing := sorted(rows.keys() - seen):
        raise UsageError(
            f"{str(images.path)!r} lacks {missing[0]!r} and {len(missing) - 1} other images that "
            "setid.mat names; unpack the official archive again."
        )
    return smallest


def _enlarged(smallest: int, side: int) -> list[str]:
    return [f"images of {smallest} pixels, enlarged to {side}"] if smallest < side else []


def _labels(mats: dict[str, bytes]) -> NDArray[np.int64]:
    """Return the class from 1 to 102 of each image by its number from 1, (N,)."""
    labels = _matrix(mats, "imagelabels.mat", "labels")
    if labels.min() < 1 or labels.max() > len(_names()):
        raise UsageError("'imagelabels.mat' has labels outside of 1 to 102; it is damaged.")
    return labels


def _ids(mats: dict[str, bytes], keys: list[str]) -> dict[str, list[int]]:
    """Return the image numbers of each part."""
    count = len(_matrix(mats, "imagelabels.mat", "labels"))
    ids = {key: _matrix(mats, "setid.mat", key).tolist() for key in keys}
    every = [number for part in ids.values() for number in part]
    if min(every) < 1 or max(every) > count or len(set(every)) < len(every):
        raise UsageError(
            f"'setid.mat' names images twice or outside of 1 to {count}; it does not belong to "
            "'imagelabels.mat'."
        )
    return ids


def _matrix(mats: dict[str, bytes], name: str, key: str) -> NDArray[np.int64]:
    """Return whole numbers (N,) from a MATLAB file."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        values = np.asarray(loadmat(io.BytesIO(mats[name]), variable_names=[key])[key])
        numbers: NDArray[np.int64] = values.ravel().astype(np.int64)
    except (
        KeyError,
        MatReadError,
        ValueError,
        TypeError,
        NotImplementedError,
        EOFError,
        OSError,
    ) as error:
        raise UsageError(
            f"{name!r} can't be read as a MATLAB file with {key!r} "
            f"({' '.join(str(error).split())}); download it again."
        ) from error
    if not len(numbers):
        raise UsageError(f"{key!r} in {name!r} is empty; download it again.")
    return numbers


def _names() -> tuple[str, ...]:
    from torchvision.datasets import Flowers102

    return tuple(Flowers102.classes)
