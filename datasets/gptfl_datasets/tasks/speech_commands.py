"""Task ``speech_commands``: one-second clips of spoken words with the ids of their speakers.

The official lists split by speaker: ``testing_list.txt`` is for testing, ``validation_list.txt``
stays unused, the rest is for training. Clients are the training speakers. Features are those of
FedAudio, GPT-FL's code for audio: see :mod:`gptfl_datasets.preprocess.audio_features`.

Differs from FedAudio: its split has 62 clips of silence as one client more, cut from the background
noise ``exercise_bike``; here they are left out unless asked for, because the test split has none.
"""

import hashlib
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from gptfl_bench.core.errors import UsageError
from gptfl_bench.data.access import Access
from gptfl_bench.data.task import Modality, Task, tasks
from gptfl_datasets.files.download import Remote
from gptfl_datasets.files.find import Found, Layout, find, wanted
from gptfl_datasets.files.prepared import About, Workspace, prepare
from gptfl_datasets.files.tree import Tree
from gptfl_datasets.preprocess.audio_features import SAMPLE_RATE, AudioForm, frame_count
from gptfl_datasets.preprocess.audio_pipeline import audio_pipeline
from gptfl_datasets.preprocess.clips import Clips

_SITE = "https://storage.googleapis.com/download.tensorflow.org/data/"
_VERSIONS = {
    "v0.01": Remote(
        _SITE + "speech_commands_v0.01.tar.gz",
        1_489_096_277,
        sha256="743935421bb51cccdb6bdd152e04c5c70274e935c82119ad7faeec31780d811d",
    ),
    "v0.02": Remote(
        _SITE + "speech_commands_v0.02.tar.gz",
        2_428_923_189,
        sha256="af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
    ),
}
COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
"""The ten words of the data set's own paper (Warden 2018, section 5.2)."""
SILENCE = "silence"
_BIKE = "_background_noise_/exercise_bike.wav"
_FRAMES = frame_count(SAMPLE_RATE)


@dataclass(frozen=True)
class SpeechOptions:
    """What of Speech Commands is read, and how.

    Attributes:
        path: Archive or unpacked folder; null looks into the data folder.
        version: ``v0.02`` (35 words, the paper's) or ``v0.01`` (30 words).
        words: All words, or the ten commands.
        split: ``official`` by the lists, ``speakers`` by speaker ids, a quarter for testing;
            ``auto`` takes the lists unless they leave one side empty.
        silence: Whether FedAudio's client of silence takes part.
        augmentation: ``paper``: none; ``masks``: shifts and masks over time and frequency.
    """

    modality: ClassVar[Modality] = "speech"

    path: str | None = None
    version: Literal["v0.01", "v0.02"] = "v0.02"
    words: Literal["all", "commands"] = "all"
    split: Literal["auto", "official", "speakers"] = "auto"
    silence: bool = False
    augmentation: Literal["paper", "masks"] = "paper"


KAGGLE = Layout(
    "speech_commands", {}, ("train",), ("testing_list.txt", "validation_list.txt", "audio/")
)
"""Version 0.01 as Kaggle's competition packs it: the words lie in ``audio`` beside the lists."""


def layout(version: str) -> Layout:
    """Return how the files of a version lie on disk."""
    name = f"speech_commands_{version}"
    return Layout(
        "speech_commands",
        {f"{name}.tar.gz": _VERSIONS[version]},
        (name, f"SpeechCommands/{name}"),
        ("testing_list.txt", "validation_list.txt"),
    )


@tasks.register(
    "speech_commands",
    title="Google Speech Commands, clips of 1 s, 35 words (v0.02) or 30 (v0.01), speaker ids",
    source="Warden, arXiv:1804.03209",
    year=2018,
    needs="2.4 GB (v0.01: 1.5 GB), downloaded once",
)
def speech_commands(access: Access, options: SpeechOptions = SpeechOptions()) -> Task:
    """Return Speech Commands; network input is float32 (N, 101, 128): time x mel bands.

    Raises:
        UsageError: If the files are not there, damaged, or no Speech Commands.
    """
    official = layout(options.version)
    found = find(official, options.path, access, [KAGGLE])
    if found.layout == KAGGLE and options.version != "v0.01":
        raise UsageError(
            f"{str(found.tree.path)!r} is Kaggle's archive, which holds version 0.01; set "
            f"data.version=v0.01, or {wanted(official, found.tree.path)}"
        )
    key = {
        "source": found.tree.stamp(),
        "words": options.words,
        "split": options.split,
        "silence": options.silence,
    }
    ready = prepare(access, "speech_commands", key, lambda w: _read(w, found, options))
    return ready.task(
        "speech_commands",
        AudioForm(_FRAMES).from_media,
        train=audio_pipeline(options.augmentation),
        test=audio_pipeline(),
        modality="speech",
        metric="macro_f1",
        version=options.version,
    )


def _read(workspace: Workspace, found: Found, options: SpeechOptions) -> About:
    found.check()
    lists = dict(found.tree.stream({"testing_list.txt", "validation_list.txt"}.__contains__))
    testing, validation = (
        _listed(lists, name) for name in ("testing_list.txt", "validation_list.txt")
    )
    kaggle = found.layout == KAGGLE
    # The lists name the clips from the folder of the words.
    tree = found.tree.below("audio") if kaggle else found.tree
    clips = [
        name
        for name in tree.names()
        if name.count("/") == 1 and name.endswith(".wav") and not name.startswith("_")
    ]
    if missing := sorted((testing | validation) - set(clips)):
        raise UsageError(
            f"{str(found.tree.path)!r} lacks {missing[0]!r} and {len(missing) - 1} other clips "
            "that its lists name; unpack the official archive again."
        )
    if options.words == "commands":
        clips = [name for name in clips if name.partition("/")[0] in COMMANDS]
    words = sorted({name.partition("/")[0] for name in clips})
    train = [name for name in clips if name not in testing | validation]
    test = [name for name in clips if name in testing]
    notes = []
    if options.split == "speakers" or (options.split == "auto" and not (train and test)):
        train = [name for name in clips if not _held_out(speaker(name))]
        test = [name for name in clips if _held_out(speaker(name))]
        notes.append("split by speaker, this project's and not the official one")
    if not train or not test:
        raise UsageError(
            f"{str(found.tree.path)!r} has {len(train)} clips for training and {len(test)} for "
            "testing under the official lists; set data.split=speakers."
        )
    if words != sorted(COMMANDS) and len(words) < {"v0.01": 30, "v0.02": 35}[options.version]:
        notes.append(f"only {len(words)} words are there")
    groups = [speaker(name) for name in train]
    silent: list[np.ndarray] = []
    if options.silence:
        silent = _seconds(tree)
        words.append(SILENCE)
        # The first eight letters of the file's name are what FedAudio takes for a speaker.
        groups += ["exercise"] * len(silent)
    index = {word: number for number, word in enumerate(words)}
    for split, names, extra in (("train", train, silent), ("test", test, [])):
        made = Clips(workspace, split, len(names) + len(extra), _FRAMES)
        made.read(tree, {name: row for row, name in enumerate(names)})
        made.add(extra, first_row=len(names))
        y = workspace.empty(f"{split}_y", (len(names) + len(extra),), np.int64)
        y[: len(names)] = [index[name.partition("/")[0]] for name in names]
        y[len(names) :] = index.get(SILENCE, 0)
    read = f"Kaggle's {found.read}" if kaggle else found.read
    return About(tuple(words), tuple(groups), "; ".join(notes), read)


def speaker(name: str) -> str:
    """Return the speaker's id in ``<word>/<speaker>_nohash_<number>.wav``.

    Raises:
        UsageError: If the name has another form.
    """
    who, mark, _ = name.rpartition("/")[2].partition("_nohash_")
    if not mark or not who:
        raise UsageError(
            f"{name!r} is not named <word>/<speaker>_nohash_<number>.wav, so its speaker is not "
            "known; remove it or use data set audio_folder."
        )
    return who


def _held_out(who: str) -> bool:
    """Return whether a speaker is for testing: a quarter, by a hash that never changes."""
    return hashlib.sha256(who.encode()).digest()[0] % 4 == 0


def _listed(lists: dict[str, bytes], name: str) -> set[str]:
    try:
        return {line.strip() for line in lists[name].decode("ascii").splitlines() if line.strip()}
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{name!r} is no list of clips; unpack the official archive again."
        ) from error


def _seconds(tree: Tree) -> list[np.ndarray]:
    """Return the whole seconds of the background noise ``exercise_bike``."""
    from gptfl_datasets.files.audio import decode

    wave = decode(tree.read(_BIKE), _BIKE)
    return [wave[start : start + SAMPLE_RATE] for start in range(0, len(wave), SAMPLE_RATE)]
