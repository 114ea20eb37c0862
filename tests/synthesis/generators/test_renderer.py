import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptfl_bench.core.errors import UsageError
from gptfl_bench.synthesis.generator import Prompt, generators
from gptfl_datasets.generators.renderer import Renderer, stroke_width, style_of, subdivide
from gptfl_datasets.glyphs.glyphs import (
    FILE,
    load_glyphs,
    perimeter,
    rasterise,
    signed_area,
)
from gptfl_datasets.tasks.handwritten import DIGIT_NAMES

SQUARE = np.array([[10.0, 10.0], [29.0, 10.0], [29.0, 29.0], [10.0, 29.0]])


def prompts(text: str, count: int, start: int = 0) -> list[Prompt]:
    return [
        Prompt(DIGIT_NAMES[i % 10], text.format(DIGIT_NAMES[i % 10]), 1.0, start + i)
        for i in range(count)
    ]


def draw(text: str, count: int, start: int = 0) -> np.ndarray:
    return np.stack([s.media for s in Renderer().generate(prompts(text, count, start))])


def test_images_are_bright_digits_on_a_dark_ground() -> None:
    images = draw("{}", 50)
    assert images.shape == (50, 32, 32, 1)
    assert images.dtype == np.uint8
    border = np.concatenate([images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]], 1)
    assert border.mean() < 10
    assert images.max((1, 2, 3)).min() > 120
    assert 0.03 < images.mean() / 255 < 0.35


@given(order=st.permutations(range(12)), cut=st.integers(0, 12))
@settings(max_examples=10, deadline=None)
def test_a_drawing_depends_on_its_own_prompt_alone(order: list[int], cut: int) -> None:
    asked = prompts("a bold {}", 12)
    alone = [s.media for s in Renderer().generate(asked)]
    shuffled = [asked[i] for i in order]
    parts = [*Renderer().generate(shuffled[:cut]), *Renderer().generate(shuffled[cut:])]
    assert [s.prompt for s in parts] == shuffled
    for sample, i in zip(parts, order, strict=True):
        np.testing.assert_array_equal(sample.media, alone[i])


def test_other_seeds_give_other_drawings() -> None:
    images = [
        s.media.tobytes()
        for s in Renderer().generate([Prompt("three", "three", 1.0, seed) for seed in range(40)])
    ]
    assert len(set(images)) == 40


def test_each_digit_is_nearest_to_the_mean_of_its_own_class() -> None:
    def flat(images: np.ndarray) -> np.ndarray:
        return images.reshape(len(images), -1) / 255

    drawn = flat(draw("a neat upright {}", 400))
    means = np.stack([drawn[digit::10].mean(0) for digit in range(10)])
    asked = flat(draw("a neat upright {}", 200, start=10_000))
    nearest = ((asked[:, None] - means) ** 2).sum(-1).argmin(-1)
    right = (nearest == np.arange(200) % 10).reshape(-1, 10).mean(0)
    # Chance is 0.1; a plain mean is a weak reader of moved and resized digits.
    assert right.mean() > 0.5
    assert right.min() > 0.2


@pytest.mark.parametrize(
    ("more", "less"), [("bold", "thin"), ("large", "small"), ("crisp", "faint")]
)
def test_words_of_the_prompt_change_the_ink(more: str, less: str) -> None:
    assert draw(f"a {more} {{}}", 60).mean() > 1.15 * draw(f"a {less} {{}}", 60).mean()


def test_wide_digits_are_wider_than_narrow_ones() -> None:
    def width(text: str) -> float:
        return float((draw(text, 60).max(1) > 60).sum(1).mean())

    assert width("a wide upright {}") > 1.2 * width("a narrow upright {}")


def test_unknown_words_do_not_change_a_drawing() -> None:
    assert style_of("qwx seven, on paper!") == style_of("seven")
    assert style_of("a BOLD seven") == style_of("heavy 7") != style_of("seven")


@pytest.mark.parametrize("label", ["airplane", "7", "Seven", ""])
def test_an_unknown_label_is_refused_before_anything_is_drawn(label: str) -> None:
    with pytest.raises(UsageError, match=r"zero, one, .*, nine") as error:
        Renderer().generate([*prompts("{}", 1), Prompt(label, label, 1.0, 0)])
    assert repr(label) in str(error.value)


def test_a_contour_inside_another_is_a_hole_if_it_runs_the_other_way() -> None:
    inner = (SQUARE - 20) / 2 + 20
    ring = rasterise([SQUARE, inner[::-1]], 40)
    assert ring[12, 12]
    assert not ring[20, 20]
    assert rasterise([SQUARE, inner], 40)[20, 20]


def test_stroke_width_of_a_long_bar_is_its_width() -> None:
    bar = np.array([[0.0, 0.0], [1000.0, 0.0], [1000.0, 8.0], [0.0, 8.0]])
    assert signed_area(bar) == -signed_area(bar[::-1]) == 8_000
    assert perimeter(bar) == 2_016
    assert stroke_width([bar]) == pytest.approx(8, rel=0.01)


def test_subdividing_a_contour_keeps_its_shape() -> None:
    fine = subdivide(SQUARE, step=2.5)
    assert len(fine) == 32
    assert signed_area(fine) == pytest.approx(signed_area(SQUARE))
    assert perimeter(fine) == pytest.approx(perimeter(SQUARE))
    assert {tuple(point) for point in SQUARE} <= {tuple(point) for point in fine}


def test_the_packaged_outlines_are_complete_and_small() -> None:
    glyphs = load_glyphs()
    assert len(glyphs.digits) == 10 * len(glyphs) + 1
    assert glyphs.contours[-1] == len(glyphs.points)
    assert len(glyphs.hand_like) >= 15
    assert len(glyphs.printed) >= 100
    assert FILE.stat().st_size <= 1_500_000
    assert FILE.with_name("FONTS.md").exists()
    sizes = np.array([np.ptp(np.concatenate(glyphs.outline(f, 8)), 0).max() for f in range(50)])
    np.testing.assert_allclose(sizes, 1, atol=0.02)


def test_the_renderer_is_found_by_name() -> None:
    assert generators.get("renderer") is Renderer
    assert len(Renderer().fingerprint) == 64
