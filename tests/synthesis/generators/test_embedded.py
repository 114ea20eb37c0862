import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from gptfl_bench.core.errors import UsageError
from gptfl_bench.synthesis.generator import Prompt, generators
from gptfl_datasets.generators.diffusion import GuidancePerImage, TextToImage, load_pipeline
from gptfl_datasets.generators.embedded import FOLDER, Embedded
from gptfl_datasets.generators.renderer import Renderer
from gptfl_datasets.tasks.handwritten import DIGIT_NAMES

GUIDANCE = (1.0, 1.7, 3.0, 5.0)


def prompts(count: int) -> list[Prompt]:
    return [
        Prompt(
            DIGIT_NAMES[i % 10], f"a handwritten {DIGIT_NAMES[i % 10]}", GUIDANCE[i % 4], 100 + i
        )
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Images of forty prompts, made without a network in batches of 16."""

    def refuse(*_: object) -> None:
        raise OSError("the embedded generator asked for the network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        samples = list(Embedded(batch_size=16).generate(prompts(40)))
    assert [sample.prompt for sample in samples] == prompts(40)
    return np.stack([sample.media for sample in samples])


def test_images_are_bright_digits_on_a_dark_ground(images: np.ndarray) -> None:
    assert images.shape == (40, 32, 32, 1)
    assert images.dtype == np.uint8
    assert images[:, :2].mean() < 20
    assert images.max((1, 2, 3)).min() > 120


def test_prompts_are_obeyed_better_than_chance(images: np.ndarray) -> None:
    drawn = [Prompt(DIGIT_NAMES[i % 10], "a handwritten upright digit", 1.0, i) for i in range(600)]
    renders = np.stack([s.media for s in Renderer().generate(drawn)]).reshape(600, -1) / 255.0
    means = np.stack([renders[digit::10].mean(0) for digit in range(10)])
    nearest = ((images.reshape(40, 1, -1) / 255.0 - means) ** 2).sum(-1).argmin(-1)
    assert (nearest == np.arange(40) % 10).mean() > 0.5


def test_an_image_does_not_depend_on_its_batch(images: np.ndarray) -> None:
    asked = prompts(40)
    rows = [7, 3, 22]
    alone = [next(iter(Embedded(batch_size=1).generate([asked[i]]))).media for i in rows[:1]]
    together = [s.media for s in Embedded(batch_size=3).generate([asked[i] for i in rows])]
    for row, image in zip([*rows[:1], *rows], [*alone, *together], strict=True):
        difference = np.abs(image.astype(int) - images[row].astype(int))
        assert difference.max() <= 2


def test_a_vector_of_guidance_scales_is_each_scale_alone() -> None:
    asked = prompts(4)
    pipeline = Embedded().pipeline
    vector = np.stack([s.media for s in Embedded().generate(asked)]).astype(int)
    for prompt, image in zip(asked, vector, strict=True):
        plain = pipeline(
            prompt.text,
            num_inference_steps=8,
            guidance_scale=prompt.guidance,
            generator=torch.Generator().manual_seed(prompt.seed),
            output_type="np",
        ).images[0]
        assert np.abs(image - (plain * 255).round()).max() <= 2


def test_guidance_of_one_or_less_means_none() -> None:
    assert not GuidancePerImage([1.0, 0.5]) > 1
    assert GuidancePerImage([1.0, 1.5]) > 1
    direction = torch.ones(3, 2, 2, 2)
    scaled = GuidancePerImage([0.5, 1, 4]) * direction
    assert scaled[:, 0, 0, 0].tolist() == [1, 1, 4]


def test_seed_and_guidance_change_the_image() -> None:
    base = Prompt("five", "a five", 3.0, 1)
    others = [Prompt("five", "a five", 3.0, 2), Prompt("five", "a five", 1.0, 1)]
    first, *rest = (s.media for s in Embedded().generate([base, *others]))
    assert all(np.abs(first.astype(int) - image).max() > 20 for image in rest)


def test_an_unknown_label_is_refused_before_the_model_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'cat'.*zero, one"):
        Embedded(model=tmp_path).generate([Prompt("cat", "a cat", 1.0, 0)])


def test_a_folder_without_a_pipeline_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give a folder that diffusers saved") as error:
        load_pipeline(tmp_path, local_files_only=True)
    assert "\n" not in str(error.value)


def test_nothing_is_printed_to_the_user(capfd: pytest.CaptureFixture[str]) -> None:
    list(Embedded().generate(prompts(1)))
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_the_weights_are_small_and_safetensors_only() -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 8_000_000
    assert {path.suffix for path in files} == {".safetensors", ".json", ".md"}


def test_the_fingerprint_covers_weights_and_settings_but_not_the_model_card(
    tmp_path: Path,
) -> None:
    copy = tmp_path / "model"
    shutil.copytree(FOLDER, copy)
    original = Embedded().fingerprint
    assert Embedded(copy).fingerprint == original
    (copy / "README.md").write_text("another card")
    assert Embedded(copy, batch_size=1).fingerprint == original
    assert Embedded(copy, steps=9).fingerprint != original
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    assert Embedded(copy).fingerprint != original


def test_the_generator_is_a_call_of_any_pipeline() -> None:
    assert generators.get("embedded") is Embedded
    # The same class with the folder as its only setting is how Stable Diffusion is asked.
    sample = next(TextToImage(FOLDER, steps=2).generate(prompts(1)))
    assert sample.media.shape == (32, 32, 1)


def test_weights_in_a_pickle_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(FOLDER, folder)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(UsageError, match="can't be loaded"):
        _ = TextToImage(folder, local_files_only=True).pipeline
