"""The quality of synthetic data: what is measured, that it changes nothing, and who shares it."""

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gptfl_bench.core.cache import Artifacts
from gptfl_bench.core.errors import UsageError
from gptfl_bench.core.randomness import isolated_torch_rng
from gptfl_bench.data.samples import Samples
from gptfl_bench.data.task import Task
from gptfl_bench.engine.method import methods
from gptfl_bench.engine.networks import Networks
from gptfl_bench.quality import inception
from gptfl_bench.quality.describe import refuse_unmeasurable, write_quality
from gptfl_bench.quality.judging import QualitySettings, Subject, measure
from gptfl_bench.synthesis.source import SyntheticSet
from gptfl_bench.training.fit import Plan
from gptfl_reports.records.events import PhaseFinished, SyntheticReady
from gptfl_reports.records.quality import Quality, read_looks

LOOK = QualitySettings(samples=100, judge_steps=150)
GPTFL = replace(methods.get("gptfl")(), pretrain=Plan(epochs=1, lr=0.01))  # type: ignore[call-arg]


class Split(nn.Module):
    """An encoder and a head, as methods know them."""

    def __init__(self) -> None:
        super().__init__()
        with isolated_torch_rng(0, "a test"):
            self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(16, 32), nn.ReLU())
            self.head = nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.encoder(x))
        return out


def bars(count: int, seed: int) -> Samples:
    """4x4 pictures whose class is the bright row; the rest is faint noise."""
    y = torch.arange(count) % 3
    x = 0.2 * torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    x[torch.arange(count), 0, y] += 0.8
    return Samples(x, y)


@pytest.fixture
def task() -> Task:
    return Task("bars", bars(120, 1), bars(60, 2), ("cat", "dog", "eel"), torch.from_numpy)


@pytest.fixture
def measured(task: Task, tmp_path: Path) -> Callable[..., Quality]:
    """Return what measures some synthetic samples of the bars."""

    def run(
        samples: Samples, settings: QualitySettings = LOOK, network: nn.Module | None = None
    ) -> Quality:
        template = network or Split()
        ready = SyntheticReady("fake", "words", len(samples), "ab" * 32, False, 0.0)
        networks = Networks.build(template, (1, 4, 4), 3, {}, 0, torch.device("cpu"))
        subject = Subject(
            SyntheticSet(samples, ready, tmp_path), task, "split", str(template), lambda: networks
        )
        return measure(subject, settings, Artifacts(tmp_path))

    return run


def test_good_samples_look_like_real_ones(measured: Callable[..., Quality]) -> None:
    found = measured(bars(90, 3))
    assert found.judge is not None
    assert found.judge.accuracy == found.agreement.real == 1
    assert found.agreement.synthetic == 1
    assert found.feature is not None
    assert (found.feature.layer, found.feature.size) == ("penultimate", 32)
    # Classes of exactly the same size are more alike than drawn ones: both are a little below 0.
    assert found.distance.synthetic == pytest.approx(found.distance.real, abs=0.1)
    assert found.diversity.synthetic == pytest.approx(found.diversity.real, rel=0.3)
    assert found.near_duplicates.synthetic == found.exact_duplicates.synthetic == 0
    assert (found.samples, found.looked_at.synthetic, found.looked_at.train) == (90, 90, 100)


def test_wrong_labels_show_class_by_class(measured: Callable[..., Quality]) -> None:
    """Every "dog" is drawn as an "eel": a third of all labels is wrong, and all of that class."""
    good = bars(90, 3)
    x = good.x.clone()
    x[good.y == 1] = bars(90, 4).x[good.y == 2]
    found = measured(Samples(x, good.y))
    assert found.agreement.synthetic == pytest.approx(2 / 3)
    assert [one.agreement.synthetic for one in found.classes] == [1, 0, 1]
    assert [one.agreement.real for one in found.classes] == [1, 1, 1]
    assert [one.samples for one in found.classes] == [30, 30, 30]


def test_repetition_shows(measured: Callable[..., Quality]) -> None:
    """One sample of each class, thirty times over."""
    three = bars(3, 3)
    found = measured(three.select(torch.arange(90) % 3))
    assert found.exact_duplicates.synthetic == found.near_duplicates.synthetic == 1
    assert found.exact_duplicates.real == 0
    assert found.diversity.synthetic == pytest.approx(0, abs=1e-6)
    assert (found.diversity.real or 0) > 1e-4


def test_noise_is_far_from_real_samples(measured: Callable[..., Quality]) -> None:
    noise = torch.rand(90, 1, 4, 4, generator=torch.Generator().manual_seed(5))
    found = measured(Samples(noise, torch.arange(90) % 3))
    assert (found.agreement.synthetic or 1) < 0.6
    assert (found.distance.synthetic or 0) > 5 * abs(found.distance.real or 0)


def test_a_class_without_samples_has_no_numbers(measured: Callable[..., Quality]) -> None:
    good = bars(90, 3)
    found = measured(good.select((good.y != 1).nonzero()[:, 0]))
    dog = found.classes[1]
    assert (dog.samples, dog.agreement.synthetic, dog.diversity.synthetic) == (0, None, None)
    assert dog.agreement.real == 1


def test_without_a_judge_duplicates_are_left(measured: Callable[..., Quality]) -> None:
    found = measured(bars(90, 3), replace(LOOK, judge_steps=0))
    assert found.judge is None
    assert found.feature is None
    assert found.agreement.synthetic is found.distance.synthetic is found.diversity.real is None
    assert found.near_duplicates.synthetic == 0


def test_a_judge_that_diverged_says_nothing(measured: Callable[..., Quality]) -> None:
    found = measured(bars(90, 3), replace(LOOK, judge_lr=1e30))
    assert found.judge is None
    assert found.agreement.real is found.distance.real is None


def test_a_network_without_a_head_is_judged_by_its_logits(
    measured: Callable[..., Quality],
) -> None:
    found = measured(bars(90, 3), network=nn.Sequential(nn.Flatten(), nn.Linear(16, 3)))
    assert found.feature is not None
    assert (found.feature.layer, found.feature.size) == ("logits", 3)


def untimed(outcome: Any) -> list[object]:
    return [event for event in outcome.untimed if event != PhaseFinished("quality", 0.0)]


def test_looking_changes_nothing(run_cell: Callable[..., Any], tmp_path: Path) -> None:
    blind = run_cell(GPTFL, seed=3)
    looked = run_cell(GPTFL, seed=3, quality=LOOK, out=tmp_path / "looked")
    assert looked.bits == blind.bits
    assert untimed(looked) == blind.untimed
    assert len(looked.untimed) == len(blind.untimed) + 1
    rows = [outcome.cell.row() | {"seconds": 0} for outcome in (blind, looked)]
    assert rows[0] == rows[1]
    assert [look.quality.samples for look in read_looks(tmp_path / "looked")] == [30]


def test_looking_costs_the_cell_nothing(run_cell: Callable[..., Any]) -> None:
    cell = run_cell(GPTFL, quality=LOOK).cell
    (phase,) = (e for e in cell.events if isinstance(e, PhaseFinished) and e.phase == "quality")
    without = replace(cell, events=tuple(event for event in cell.events if event is not phase))
    assert phase.seconds > 0
    assert cell.seconds == without.seconds


def test_seeds_and_methods_share_one_look(
    run_cell: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, cache = tmp_path / "run", tmp_path / "cache"
    run_cell(GPTFL, quality=LOOK, out=out, cache=cache)
    before = {path: path.read_bytes() for path in sorted(out.glob("synthetic/*/*"))}
    monkeypatch.setattr(
        "gptfl_bench.quality.describe.measure", lambda *_: pytest.fail("measured again")
    )
    feddf = methods.get("feddf")()
    run_cell(GPTFL, seed=1, quality=LOOK, out=out, cache=cache)
    run_cell(feddf, quality=LOOK, out=out, cache=cache)
    assert before == {path: path.read_bytes() for path in sorted(out.glob("synthetic/*/*"))}
    assert sorted({path.name for path in before}) == [
        "000.png",
        "001.png",
        "002.png",
        *["checksums.json", "quality.json"],
    ]
    # What is cached serves another run folder, too.
    run_cell(GPTFL, quality=LOOK, out=tmp_path / "other", cache=cache)
    assert len(read_looks(tmp_path / "other")) == 1


def test_a_cell_without_synthetic_data_has_nothing_to_look_at(
    run_cell: Callable[..., Any], tmp_path: Path
) -> None:
    outcome = run_cell(methods.get("fedavg")(), quality=LOOK, out=tmp_path / "run")
    assert not (tmp_path / "run" / "synthetic").exists()
    assert "quality" not in outcome.cell.record["config"]


def test_settings_of_looking_do_not_identify_a_cell(make_spec: Callable[..., Any]) -> None:
    assert make_spec(GPTFL, quality=LOOK).run_id == make_spec(GPTFL).run_id


@pytest.mark.parametrize(
    ("field", "value"), [("samples", -1), ("judge_steps", -1), ("judge_lr", 0.0)]
)
def test_impossible_settings_are_refused(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{field}={value}"):
        QualitySettings(**{field: value})  # type: ignore[arg-type]


def test_inception_needs_its_weights_before_anything_is_made(
    run_cell: Callable[..., Any], tmp_path: Path
) -> None:
    asked = replace(LOOK, feature="inception", weights=str(tmp_path / "absent.pth"))
    with pytest.raises(UsageError, match=r"absent\.pth|torch-fidelity"):
        run_cell(GPTFL, quality=asked, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_inception_takes_no_sound(task: Task) -> None:
    asked = replace(LOOK, feature="inception")
    with pytest.raises(UsageError, match=r"pictures, not speech.*quality\.feature=judge"):
        refuse_unmeasurable(asked, replace(task, modality="speech"))


def test_another_extractor_gives_the_features(
    measured: Callable[..., Quality], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small stand-in for Inception: the means of the four rows."""
    monkeypatch.setattr(
        "gptfl_bench.quality.judging.inception", lambda weights, device: lambda x: x.mean((1, 3))
    )
    found = measured(bars(90, 3), replace(LOOK, feature="inception"))
    assert found.feature is not None
    assert (found.feature.layer, found.feature.size) == ("inception", 4)
    assert found.judge is not None
    assert abs(found.distance.synthetic or 1) < 0.01


class Trap:
    """What would run code when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (pytest.fail, ("unpickled",))


def test_weights_that_are_none_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch_fidelity")
    path = tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps(Trap(), 2))
    with pytest.raises(UsageError, match=r"has SHA-256 [0-9a-f]{12}, not 6726825d"):
        inception.inception(str(path), torch.device("cpu"))
    # Even a file that passes for the right one is read as tensors alone.
    monkeypatch.setattr(inception, "WEIGHTS_SHA256", "")
    with pytest.raises(UsageError, match="holds no weights of Inception-v3"):
        inception.inception(str(path), torch.device("cpu"))


@pytest.mark.slow  # Loads torch-fidelity and makes a network of 24 million weights.
def test_inception_itself_with_drawn_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_by = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    with monkeypatch.context() as patch:
        patch.setattr(made_by, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(nn.Module, "load_state_dict", lambda *_, **__: None)
        drawn = made_by.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    torch.save(drawn.state_dict(), tmp_path / "weights.pth")
    monkeypatch.setattr(inception, "WEIGHTS_SHA256", "")
    features = inception.inception(str(tmp_path / "weights.pth"), torch.device("cpu"))
    grey = torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8)
    assert features(grey).shape == (2, 2048)
    assert torch.equal(features(grey), drawn(grey.expand(-1, 3, -1, -1))[0])
    assert torch.equal(features(grey.float() / 255), features(grey))
    with pytest.raises(UsageError, match="takes pictures of bytes"):
        features(torch.randn(2, 1, 8, 8))


def test_what_was_cut_off_is_made_again(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The description is written last, so a sheet without one counts for nothing."""
    np.save(tmp_path / "media-00000000.npy", np.zeros((9, 4, 4, 1), np.uint8))
    ready = SyntheticReady("fake", "words", 9, "ab" * 32, False, 0.0)
    subject = Subject(
        SyntheticSet(bars(9, 3), ready, tmp_path),
        task,
        "split",
        "split",
        lambda: Networks.build(Split(), (1, 4, 4), 3, {}, 0, torch.device("cpu")),
    )
    artifacts, out = Artifacts(tmp_path / "cache"), tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(json, "dumps", json.dumps)
        patch.setattr("gptfl_bench.quality.describe.json.dumps", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write_quality(subject, LOOK, artifacts, out)
    assert not list(out.glob("synthetic/*/quality.json"))
    write_quality(subject, LOOK, artifacts, out)
    (looks,) = read_looks(out)
    assert list(looks.files) == ["000.png", "001.png", "002.png"]
