"""Tasks ``cifar10`` and ``cifar100``: 60,000 colour images of 32x32 with the official split.

Read from the official archive of Python batches, its unpacked tree, a tree of image files
``train/<class>/...`` and ``test/<class>/...``, or another layout that people have: ``layouts/``.
The batches are pickles and are read without running what a pickle may ask for.
"""

import hashlib
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from gptfl_bench.core.errors import UsageError
from gptfl_bench.data.access import Access
from gptfl_bench.data.task import Modality, Task, tasks
from gptfl_datasets.files.class_folders import IMAGES, class_files
from gptfl_datasets.files.download import Remote
from gptfl_datasets.files.find import Found, Layout, find
from gptfl_datasets.files.pictures import decode
from gptfl_datasets.files.prepared import About, Workspace, prepare
from gptfl_datasets.files.tree import Tree
from gptfl_datasets.files.unpickle import read_batch
from gptfl_datasets.preprocess.image_pipeline import cifar_pipelines
from gptfl_datasets.preprocess.images import PictureForm
from gptfl_datasets.tasks.layouts import cifar_binary, cifar_kaggle, cifar_parquet
from gptfl_datasets.tasks.layouts.decoded import SIDE, Decoded, Labelled


@dataclass(frozen=True)
class CifarOptions:
    """What of CIFAR is read, and how.

    Attributes:
        path: Archive, unpacked folder or image folder, or another layout that people have; null
            looks into the data folder.
        augmentation: ``paper``: random crop and flip, for CIFAR-10 also Cutout, and random resized
            crops of synthetic images (released code); ``light``: crop and flip; ``none``.
        normalisation: ``one`` for real and synthetic images, or the ``paper``'s, which differ for
            CIFAR-10.
    """

    modality: ClassVar[Modality] = "image"

    path: str | None = None
    augmentation: Literal["paper", "light", "none"] = "paper"
    normalisation: Literal["one", "paper"] = "one"


@dataclass(frozen=True)
class Batches:
    """Which official files hold what.

    Attributes:
        layout: How they lie on disk.
        train: Files of training images, in order.
        test: File of test images.
        meta: File of class names.
        labels: Key of the labels.
        names: Key of the class names.
        md5: Published MD5 of each file of the unpacked tree.
        classes: Number of classes.
    """

    layout: Layout
    train: tuple[str, ...]
    test: str
    meta: str
    labels: str
    names: str
    md5: dict[str, str]
    classes: int


CIFAR10 = Batches(
    Layout(
        "cifar10",
        {
            "cifar-10-python.tar.gz": Remote(
                "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
                170_498_071,
                md5="c58f30108f718f92721af3b95e74349a",
            )
        },
        ("cifar-10-batches-py",),
        ("data_batch_1", "test_batch", "batches.meta"),
    ),
    tuple(f"data_batch_{number}" for number in range(1, 6)),
    "test_batch",
    "batches.meta",
    "labels",
    "label_names",
    {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
        "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
    },
    10,
)
CIFAR100 = Batches(
    Layout(
        "cifar100",
        {
            "cifar-100-python.tar.gz": Remote(
                "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
                169_001_437,
                md5="eb9058c3a382ffc7106e4002c42a8d85",
            )
        },
        ("cifar-100-python",),
        ("train", "test", "meta"),
    ),
    ("train",),
    "test",
    "meta",
    "fine_labels",
    "fine_label_names",
    {
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        "meta": "7973b15100ade9c7d40fb424638fde48",
    },
    100,
)


_KINDS = (cifar_binary, cifar_parquet, cifar_kaggle)
_IMAGE_FOLDER = Layout("cifar", {}, (), ("train/", "test/"))


@tasks.register(
    "cifar10",
    title="CIFAR-10, 32x32 colour, 60,000 images of 10 classes",
    source="Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
    year=2009,
    needs="170 MB, downloaded once",
)
def cifar10(access: Access, options: CifarOptions = CifarOptions()) -> Task:
    """Return CIFAR-10; network input is float32 (N, 3, 32, 32), normalised.

    Raises:
        UsageError: If the files are not there, damaged, or no CIFAR-10.
    """
    return _task(CIFAR10, access, options)


@tasks.register(
    "cifar100",
    title="CIFAR-100, 32x32 colour, 60,000 images of 100 classes",
    source="Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
    year=2009,
    needs="169 MB, downloaded once",
)
def cifar100(access: Access, options: CifarOptions = CifarOptions()) -> Task:
    """Return CIFAR-100 with its fine labels; network input is float32 (N, 3, 32, 32), normalised.

    Raises:
        UsageError: If the files are not there, damaged, or no CIFAR-100.
    """
    return _task(CIFAR100, access, options)


def _task(batches: Batches, access: Access, options: CifarOptions) -> Task:
    name: Literal["cifar10", "cifar100"] = "cifar10" if batches is CIFAR10 else "cifar100"
    kinds = {layout.marks: kind.read for kind in _KINDS for layout in kind.LAYOUTS.get(name, ())}
    others = [layout for kind in _KINDS for layout in kind.LAYOUTS.get(name, ())]
    found = find(batches.layout, options.path, access, [*others, _IMAGE_FOLDER])

    def read(workspace: Workspace) -> About:
        if found.layout == batches.layout:
            return _from_batches(workspace, found, batches)
        if found.layout == _IMAGE_FOLDER:
            return _from_images(workspace, found.tree, batches)
        return _from_other(workspace, kinds[found.layout.marks](workspace, found, name))

    ready = prepare(access, name, {"source": found.tree.stamp()}, read)
    pipelines = cifar_pipelines(name, options.augmentation, options.normalisation)
    return ready.task(
        name,
        PictureForm(SIDE),
        train=pipelines.train,
        test=pipelines.test,
        synthetic=pipelines.synthetic,
    )


def _from_other(workspace: Workspace, decoded: Decoded) -> About:
    _keep(workspace, "train", decoded.train)
    _keep(workspace, "test", decoded.test)
    return About(decoded.names, note=decoded.note, read=decoded.read)


def _keep(workspace: Workspace, split: str, labelled: Labelled) -> None:
    x, y = labelled
    workspace.empty(f"{split}_x", x.shape, np.uint8)[:] = x
    workspace.empty(f"{split}_y", y.shape, np.int64)[:] = y


def _from_batches(workspace: Workspace, found: Found, batches: Batches) -> About:
    found.check()
    files = {*batches.train, batches.test, batches.meta}
    contents = dict(found.tree.stream(files.__contains__))
    if missing := sorted(files - contents.keys()):
        raise UsageError(
            f"{str(found.tree.path)!r} lacks {missing[0]!r}; unpack the official archive again."
        )
    meta = read_batch(contents[batches.meta], batches.meta)
    names = _names(meta.get(batches.names), batches)
    for split, parts in (("train", batches.train), ("test", (batches.test,))):
        pairs = [_images(read_batch(contents[part], part), part, batches) for part in parts]
        x, y = (np.concatenate(both) for both in zip(*pairs, strict=True))
        _keep(workspace, split, (x, y))
    official = all(hashlib.md5(contents[name]).hexdigest() == batches.md5[name] for name in files)
    note = "" if official else "Python batches that are not the official files"
    return About(names, note=note, read=found.read)


def _names(names: object, batches: Batches) -> tuple[str, ...]:
    if not isinstance(names, list) or len(names) != batches.classes:
        raise UsageError(
            f"{batches.meta!r} does not name {batches.classes} classes; it is another file."
        )
    return tuple(
        name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in names
    )


def _images(
    batch: dict[str, object], where: str, batches: Batches
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return images (N, 3, 32, 32) and labels (N,) of a batch after checking both."""
    x, labels = batch.get("data"), batch.get(batches.labels)
    if not (
        isinstance(x, np.ndarray) and x.dtype == np.uint8 and x.ndim == 2 and x.shape[1] == 3072
    ):
        raise UsageError(f"{where!r} holds no bytes of images (N, 3072); it is another file.")
    whole = isinstance(labels, list) and all(type(label) is int for label in labels)
    y = np.array(labels if whole else [], dtype=np.int64)
    if y.shape != (len(x),) or not len(y) or y.min() < 0 or y.max() >= batches.classes:
        raise UsageError(
            f"{where!r} does not hold a label from 0 to {batches.classes - 1} for each of its "
            f"{len(x)} images; it is damaged."
        )
    return x.reshape(-1, 3, SIDE, SIDE), y


def _from_images(workspace: Workspace, tree: Tree, batches: Batches) -> About:
    kinds = set()
    splits = {split: class_files(tree.below(split), IMAGES) for split in ("train", "test")}
    names = splits["train"].classes
    if len(names) != batches.classes or splits["test"].classes != names:
        raise UsageError(
            f"{str(tree.path)!r} has {len(names)} class folders in train and "
            f"{len(splits['test'].classes)} in test; {batches.layout.dataset} has the same "
            f"{batches.classes} in both."
        )
    for split, files in splits.items():
        labels = files.in_number_order()
        x = workspace.empty(f"{split}_x", (len(labels), 3, SIDE, SIDE), np.uint8)
        row_of = {name: row for row, name in enumerate(labels)}
        for name, data in workspace.stream(tree.below(split), row_of):
            image = decode(data, f"{split}/{name}", exact=(SIDE, SIDE))
            x[row_of[name]] = image.transpose(2, 0, 1)
            kinds.add(name.rpartition(".")[2].lower().replace("jpg", "jpeg"))
        workspace.empty(f"{split}_y", (len(labels),), np.int64)[:] = list(labels.values())
    kind = " and ".join(sorted(kinds)).upper()
    return About(
        names,
        note=f"{kind} copies, not the official files",
        read=f"{kind} image folder {tree.path.name}",
    )
