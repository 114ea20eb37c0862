"""Real data, unpacked to the official layouts, through the loaders users use."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gptfl_bench.data import loaders
from gptfl_bench.data.access import Access
from gptfl_bench.data.task import Task
from gptfl_datasets.tasks.speech_commands import COMMANDS, speaker

Load = Callable[..., Task]


@pytest.fixture(scope="module")
def load(packs: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Load:
    """Return what loads a data set from an unpacked pack; decoded samples are kept meanwhile."""
    cache = tmp_path_factory.mktemp("prepared")

    def read(name: str, pack: str, **options: object) -> Task:
        access = Access(cache / "nothing here", cache, download=False)
        return loaders.load(name, {"path": str(packs(pack)), **options}, access)

    return read


@pytest.mark.slow
def test_cifar10_has_its_60000_images_in_official_order(load: Load) -> None:
    task = load("cifar10", "cifar10_jpeg")
    assert (len(task.train), len(task.test)) == (50_000, 10_000)
    assert torch.bincount(task.train.labels).tolist() == [5000] * 10
    assert torch.bincount(task.test.labels).tolist() == [1000] * 10
    assert task.label_names[:3] == ("airplane", "automobile", "bird")
    assert task.train.x.dtype == torch.uint8
    assert "JPEG copies" in task.note
    assert task.read == "JPEG image folder cifar10_jpeg"


def test_lossless_images_match_their_jpeg_partners_by_index_and_label(load: Load) -> None:
    exact, lossy = load("cifar10", "cifar10_first1000"), load("cifar10", "cifar10_jpeg")
    assert len(exact.train) == 1000
    assert torch.equal(exact.train.y, lossy.train.y[:1000])
    a, b = exact.train.x.float(), lossy.train.x[:1000].float()
    distance = torch.cdist(a.flatten(1), b.flatten(1))
    assert torch.equal(distance.argmin(1), torch.arange(1000))
    # JPEG at quality 75 is off by a few levels, another image by dozens.
    assert (a - b).abs().mean(dim=(1, 2, 3)).max() < 16
    assert "not the official files" in exact.note


@pytest.mark.slow
def test_flowers102_has_its_official_split(load: Load) -> None:
    task = load("flowers102", "flowers102", size=28)
    assert (len(task.train), len(task.test)) == (1020, 6149)
    assert torch.bincount(task.train.labels).tolist() == [10] * 102
    assert task.num_classes == 102
    assert task.label_names[0] == "pink primrose"
    assert (task.input_shape, tuple(task.train.x.shape[1:])) == ((3, 28, 28), (3, 32, 32))
    both = load("flowers102", "flowers102", size=28, valid="train")
    assert (len(both.train), len(both.test)) == (2040, 6149)
    assert torch.equal(both.train.x[:1020], task.train.x)


@pytest.mark.slow
def test_speech_commands_keeps_speakers_apart(load: Load, packs: Callable[[str], Path]) -> None:
    task = load("speech_commands", "speech_commands")
    assert len(task.train) + len(task.test) == 4482
    assert task.num_classes == 35
    assert task.input_shape == (101, 128)
    assert (task.metric, task.modality, task.version) == ("macro_f1", "speech", "v0.02")
    clips = sorted(packs("speech_commands").rglob("speech_commands_v0.02/[!_]*/*.wav"))
    speakers = {speaker(f"{path.parent.name}/{path.name}") for path in clips}
    assert len(speakers) == 239
    training = set(task.groups or ())
    assert len(training) == 182
    assert training < speakers
    # Every clip of the pack is of the official test partition, so the split is ours and said so.
    assert "not the official one" in task.note
    ten = load("speech_commands", "speech_commands", words="commands")
    assert ten.label_names == tuple(sorted(COMMANDS))
    assert len(ten.train) + len(ten.test) == sum(path.parent.name in COMMANDS for path in clips)
    assert set(ten.groups or ()) <= training


def test_esc50_splits_by_recording_where_folds_are_missing(
    load: Load, packs: Callable[[str], Path]
) -> None:
    task = load("esc50", "esc50")
    assert len(task.train) + len(task.test) == 414
    assert task.num_classes == 50
    assert task.input_shape == (501, 128)
    assert (task.metric, task.modality) == ("macro_f1", "sound")
    assert torch.bincount(task.train.labels, minlength=50).min() > 0
    assert "414 of 2,000 clips" in task.note
    assert "split by recording" in task.note


def test_features_are_finite_and_centred(load: Load) -> None:
    x, _ = load("speech_commands", "speech_commands").test.batch(torch.arange(200))
    assert bool(torch.isfinite(x).all())
    whole = x[x[:, -1].abs().sum(1) > 0]  # clips of a full second
    assert whole.mean(1).abs().max() < 2e-3
    assert (whole.std(1, correction=0) - 1).abs().max() < 2e-2


def test_a_second_load_decodes_nothing(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load("esc50", "esc50")
    monkeypatch.setattr("gptfl_datasets.preprocess.clips.decode", None)
    again = load("esc50", "esc50")
    assert again.fingerprint == first.fingerprint
    assert torch.equal(again.train.x, first.train.x)
