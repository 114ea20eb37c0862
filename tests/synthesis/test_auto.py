"""``synthetic.generator=auto``: what it takes, in which order, and what it says where it can't."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

import gptfl_bench as gb
from gptfl_bench.core.errors import UsageError
from gptfl_bench.data.access import Access
from gptfl_bench.runs import catalogue, experiment
from gptfl_bench.synthesis.auto import Choice, choose
from gptfl_bench.synthesis.generator import Wanted
from gptfl_datasets.generators import voices
from gptfl_datasets.tasks.handwritten import DIGIT_NAMES


@pytest.fixture
def access(tmp_path: Path) -> Access:
    return Access(tmp_path / "data", tmp_path / "cache")


@pytest.fixture(autouse=True)
def _no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gptfl_bench.core.device.pick_device", lambda name: torch.device("cuda"))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A folder that looks as diffusers saves a pipeline; nothing of it may be loaded."""
    folder = tmp_path / "weights"
    for part in ("unet", "vae"):
        (folder / part).mkdir(parents=True)
        (folder / part / "diffusion_pytorch_model.safetensors").touch()
    index = {"_class_name": "X", "unet": ["diffusers", "U"], "vae": ["diffusers", "V"]}
    (folder / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


def taken(wanted: Wanted, **fields: dict[str, Any]) -> Choice:
    return choose(wanted, fields)


def lacking(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    real = find_spec
    monkeypatch.setattr(voices, "find_spec", lambda name: None if name in packages else real(name))


def test_what_comes_along_comes_first(access: Access) -> None:
    assert taken(Wanted("mine", "image", DIGIT_NAMES[:3], access)).name == "embedded"
    assert not taken(Wanted("mine", "image", ("zero", "cat"), access)).name


def test_weights_come_before_a_published_set_and_only_with_a_gpu(
    access: Access, weights: Path, gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = Wanted("cifar10", "image", None, access)
    fields = {"model": str(weights)}
    assert taken(wanted, diffusion=fields).name == "diffusion"
    # The hub's cache is empty, and nothing else was named.
    assert taken(wanted).name == "cifake"
    (weights / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    assert taken(wanted, diffusion=fields).name == "cifake"


def test_without_a_gpu_weights_are_left_where_they_are(access: Access, weights: Path) -> None:
    fields = {"model": str(weights), "device": "cpu"}
    choice = taken(Wanted("cifar10", "image", None, access), diffusion=fields)
    assert choice.name == "cifake"
    assert choice.to_fetch > 100_000_000
    assert not access.data.exists()
    refused = taken(Wanted("flowers102", "image", None, access), diffusion=fields)
    assert not refused.name
    assert "diffusion (a GPU)" in refused.refusal


def test_weights_in_the_hubs_cache_are_found(tmp_path: Path, access: Access, gpu: None) -> None:
    revision = "0" * 40
    folder = tmp_path / "hub" / "models--cvssp--audioldm-s-full-v2"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(revision, encoding="utf-8")
    snapshot = folder / "snapshots" / revision
    (snapshot / "vae").mkdir(parents=True)
    (snapshot / "vae" / "model.safetensors").touch()
    (snapshot / "model_index.json").write_text('{"vae": ["diffusers", "V"]}', encoding="utf-8")
    wanted = Wanted("esc50", "sound", None, access)
    assert taken(wanted).name == "audioldm"
    (snapshot / "vae" / "model.safetensors").unlink()
    assert "hf download cvssp/audioldm-s-full-v2" in taken(wanted).refusal


def test_voices_take_turns(access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = Wanted("speech_commands", "speech", None, access)
    monkeypatch.setattr(voices, "find_spec", lambda name: True)
    assert taken(wanted).name == "hibari"
    for missing, name in ((("hibari",), "piper"), (("hibari", "piper"), "espeak")):
        monkeypatch.setattr(
            voices, "find_spec", lambda n, missing=missing: None if n in missing else True
        )
        assert taken(wanted).name == name
    monkeypatch.setattr(voices, "find_spec", lambda name: None)
    sentence = taken(wanted).refusal
    for line in ("hibari", "piper", "espeak"):
        assert f"{line} (pip install 'gptfl-bench[{line}]')" in sentence
    assert "speecht5 (" in sentence
    assert "synthetic.generator=folder" in sentence


def test_a_set_that_may_not_be_downloaded_is_not_taken(tmp_path: Path) -> None:
    access = Access(tmp_path / "data", tmp_path / "cache", download=False)
    choice = taken(Wanted("cifar10", "image", None, access))
    assert not choice.name
    assert "cifake (" in choice.refusal
    assert str(tmp_path / "data" / "cifake") in choice.refusal


def test_auto_gives_the_cells_of_what_it_takes() -> None:
    asked = ["gptfl", "feddf", "fedavg"]
    plans = [
        experiment.plan(asked, "digits", "quick", [0], settings)
        for settings in ([], ["synthetic.generator=auto"], ["synthetic.generator=embedded"])
    ]
    ids = [[cell.run_id for cell in plan.cells] for plan in plans]
    assert ids[0] == ids[1] == ids[2]
    for plan in plans:
        assert {cell.settings.synthetic.generator for cell in plan.cells} == {"embedded"}
        assert plan.config.settings.synthetic.generator == "embedded"


def test_settings_can_be_looked_at_before_there_are_data() -> None:
    plan = experiment.plan(["gptfl", "fedavg"], "image_folder", "quick", [0])
    assert plan.config.settings.synthetic.generator == "auto"
    with pytest.raises(UsageError, match=r"data\.path"):
        plan.bring()


def test_a_wrong_field_is_refused_and_not_passed_over() -> None:
    with pytest.raises(UsageError, match="steps=0 must be from 1"):
        experiment.plan(["gptfl"], "cifar10", "quick", [0], ["generators.diffusion.steps=0"])


def test_where_nothing_works_gptfl_alone_is_refused(tmp_path: Path) -> None:
    labels = torch.arange(60) % 2
    samples = gb.Samples(torch.randn(60, 1, 8, 8), labels)
    task = gb.Task("moods", samples, samples, label_names=("glad", "sad"))
    results = gb.run(
        ["fedavg", "gptfl"],
        task,
        [0],
        tmp_path / "runs",
        preset="quick",
        rounds=1,
        num_clients=2,
        cohort_size=1,
        partition={"recipe": "iid"},
        public={"source": "none"},
    )
    rows = results.rows.set_index("method")
    assert rows.status.to_dict() == {"fedavg": "finished", "gptfl": "refused"}
    assert rows.reason["gptfl"].startswith("no generator here makes image samples for 'moods'")
    results.report(tmp_path / "report")
    caption = (tmp_path / "report" / "leaderboard.md").read_text("utf-8")
    assert "Synthetic data" not in caption


def test_synthesise_takes_what_auto_takes() -> None:
    made = gb.synthesise("digits", multiplier=0.01)
    named = gb.synthesise("digits", "embedded", multiplier=0.01)
    assert made.checksum() == named.checksum()
    with pytest.raises(UsageError, match=r"name a generator for its fields \['steps'\]"):
        gb.synthesise("digits", steps=4)


def test_lists_say_what_auto_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voices, "find_spec", lambda name: None)
    text = catalogue.as_text("generators")
    lines = {
        line.split()[0]: line for line in text.rpartition("\n\n")[2].splitlines() if line[0] != " "
    }
    assert "embedded" in lines["digits"]
    assert "cifake" in lines["cifar10"]
    assert "no generator here" in lines["speech_commands"]
    listed = {e["name"]: e["auto"] for e in json.loads(catalogue.as_json("generators", {}))}
    assert listed["embedded"] == ["digits", "mnist5k"]
    assert listed["renderer"] == []
