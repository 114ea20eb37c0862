"""Task ``audio_folder``: a user's own sounds, one folder a class."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from gptfl_bench.data.access import Access
from gptfl_bench.data.task import Task, tasks
from gptfl_datasets.files.class_folders import SOUNDS
from gptfl_datasets.files.own.own_data import OwnOptions, own_data, own_tree
from gptfl_datasets.files.prepared import About, Workspace, prepare
from gptfl_datasets.preprocess.audio_features import SAMPLE_RATE, AudioForm, frame_count
from gptfl_datasets.preprocess.audio_pipeline import audio_pipeline
from gptfl_datasets.preprocess.clips import Clips


@dataclass(frozen=True)
class AudioFolderOptions(OwnOptions):
    """What of a folder of sounds is read, and how.

    Attributes:
        seconds: Length clips are cut or padded to.
        kind: What the sounds are, which decides what generators can make.
        augmentation: ``paper``: none; ``masks``: shifts and masks over time and frequency.
    """

    seconds: float = 1.0
    kind: Literal["speech", "sound"] = "speech"
    augmentation: Literal["paper", "masks"] = "paper"

    def __post_init__(self) -> None:
        """Refuse values outside their range."""
        super().__post_init__()
        if not 0.1 <= self.seconds <= 60:
            raise ValueError(f"seconds={self.seconds} must be from 0.1 to 60")


@tasks.register(
    "audio_folder",
    title="Your own sounds: data.path=FOLDER with one folder a class",
    needs="data.path",
)
def audio_folder(access: Access, options: AudioFolderOptions = AudioFolderOptions()) -> Task:
    """Return the task; network input is float32 (N, T, 128): time x mel bands, 100 frames a second.

    Raises:
        UsageError: If the folder is not there or not as it should be.
    """
    tree = own_tree("audio_folder", options.path)
    frames = frame_count(round(options.seconds * SAMPLE_RATE))
    key = {**options.key(tree), "frames": frames}

    def make(workspace: Workspace) -> About:
        data = own_data(tree, SOUNDS, options)
        for split, labels in (("train", data.train), ("test", data.test)):
            clips = Clips(workspace, split, len(labels), frames)
            clips.read(tree, {name: row for row, name in enumerate(labels)})
            workspace.empty(f"{split}_y", (len(labels),), np.int64)[:] = list(labels.values())
        read = f"folder {tree.path.name}"
        return About(data.classes, data.groups, data.note, read, data.made_by)

    ready = prepare(access, "audio_folder", key, make)
    return ready.task(
        "audio_folder",
        AudioForm(frames).from_media,
        train=audio_pipeline(options.augmentation),
        test=audio_pipeline(),
        modality=options.kind,
        metric="macro_f1",
    )
