"""Task ``image_folder``: a user's own images, one folder a class."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gptfl_bench.data.access import Access
from gptfl_bench.data.task import Task, tasks
from gptfl_datasets.files.class_folders import IMAGES
from gptfl_datasets.files.own.own_data import OwnData, OwnOptions, own_data, own_tree
from gptfl_datasets.files.pictures import decode, fitted
from gptfl_datasets.files.prepared import About, Workspace, prepare
from gptfl_datasets.preprocess.image_pipeline import folder_pipelines
from gptfl_datasets.preprocess.images import PictureForm


@dataclass(frozen=True)
class ImageFolderOptions(OwnOptions):
    """What of a folder of images is read, and how.

    Attributes:
        size: Height and width of an image as it is stored and the network sees it.
        augmentation: ``paper``: random resized crop and flip; ``light``: crop and flip; ``none``.
    """

    size: int = 32
    augmentation: Literal["paper", "light", "none"] = "light"

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        super().__post_init__()
        if not 8 <= self.size <= 1024:
            raise ValueError(f"size={self.size} must be from 8 to 1024")


@tasks.register(
    "image_folder",
    title="Your own images: data.path=FOLDER with one folder a class",
    needs="data.path",
)
def image_folder(access: Access, options: ImageFolderOptions = ImageFolderOptions()) -> Task:
    """Return the task; network input is float32 (N, 3, size, size), normalised as ImageNet.

    Raises:
        UsageError: If the folder is not there or not as it should be.
    """
    tree = own_tree("image_folder", options.path)
    key = {**options.key(tree), "size": options.size}

    def make(workspace: Workspace) -> About:
        data = own_data(tree, IMAGES, options)
        _fill(workspace, data, options.size)
        read = f"folder {tree.path.name}"
        return About(data.classes, data.groups, data.note, read, data.made_by)

    ready = prepare(access, "image_folder", key, make)
    pipelines = folder_pipelines(options.size, options.augmentation)
    return ready.task(
        "image_folder", PictureForm(options.size), train=pipelines.train, test=pipelines.test
    )


def _fill(workspace: Workspace, data: OwnData, size: int) -> None:
    rows: dict[str, tuple[NDArray[np.generic], int]] = {}
    for split, labels in (("train", data.train), ("test", data.test)):
        x = workspace.empty(f"{split}_x", (len(labels), 3, size, size), np.uint8)
        workspace.empty(f"{split}_y", (len(labels),), np.int64)[:] = list(labels.values())
        rows |= {name: (x, row) for row, name in enumerate(labels)}
    for name, encoded in workspace.stream(data.tree, rows):
        array, row = rows[name]
        array[row] = fitted(decode(encoded, name), size).transpose(2, 0, 1)
