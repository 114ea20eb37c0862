"""Shifts and masks of features against a loop over clips, and by what they may reach."""

import pickle

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from gptfl_bench.core.errors import UsageError
from gptfl_datasets.preprocess.audio_pipeline import AudioPipeline, audio_pipeline

MASKS = audio_pipeline("masks")


def _rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _features(count: int, frames: int = 101) -> Tensor:
    return torch.randn(count, frames, 128, generator=_rng(9)).half()


def _runs(hidden: Tensor) -> set[tuple[int, int]]:
    """Return first place and length of what each row hides, which must be one run, (b, places)."""
    found = set()
    for row in hidden:
        places = row.nonzero().flatten().tolist()
        assert places == list(range(places[0], places[0] + len(places))) if places else True
        found.add((places[0] if places else -1, len(places)))
    return found


def test_without_a_generator_and_as_in_the_paper_nothing_is_augmented() -> None:
    x = _features(3)
    for found in (MASKS(x), audio_pipeline()(x), audio_pipeline("paper")(x, _rng())):
        assert found.dtype == torch.float32
        assert torch.equal(found, x.float())
    assert audio_pipeline("paper") == AudioPipeline(0, 0, 0)
    assert AudioPipeline(shift=10, bins=24, frames=20) == MASKS


def test_augmentation_equals_a_loop_over_the_same_draws() -> None:
    x = _features(50)
    kept, state = x.clone(), torch.get_rng_state()
    found = MASKS(x, _rng(4))
    rng = _rng(4)
    shifts = torch.randint(-10, 11, (50, 1), generator=rng)
    spans = []
    for widest, length in ((20, 101), (24, 128)):
        widths = torch.randint(widest + 1, (50, 1), generator=rng)
        starts = torch.rand(50, 1, generator=rng) * (length - widths + 1)
        spans.append((starts.long(), widths))
    for k in range(50):
        expected = torch.zeros(101, 128)
        for frame in range(101):
            if 0 <= frame - int(shifts[k]) < 101:
                expected[frame] = x[k, frame - int(shifts[k])].float()
        (first, long), (low, wide) = ((int(start[k]), int(width[k])) for start, width in spans)
        expected[first : first + long] = 0
        expected[:, low : low + wide] = 0
        assert torch.equal(found[k], expected)
    assert torch.equal(x, kept)
    assert torch.equal(torch.get_rng_state(), state)


def test_each_shift_occurs_and_zeros_come_in() -> None:
    count = 2100
    numbered = torch.arange(1.0, 102)[None, :, None].expand(count, -1, 128).half()
    found = AudioPipeline(shift=10)(numbered, _rng())
    assert (found == found[:, :, :1]).all()
    middle = found[:, 50, 0]
    shifts = 51 - middle
    seen = torch.bincount(shifts.long() + 10, minlength=21)
    assert len(seen) == 21
    # A hundred each, five standard deviations.
    assert (seen > 50).all()
    for line, shift in zip(found[:, :, 0], shifts.long().tolist(), strict=True):
        outside = slice(0, shift) if shift > 0 else slice(101 + shift, 101)
        assert (line[outside] == 0).all()
        assert (line == 0).sum() == abs(shift)


@pytest.mark.parametrize(
    ("pipeline", "axis", "widest", "length"),
    [(AudioPipeline(bins=24), 2, 24, 128), (AudioPipeline(frames=20), 1, 20, 101)],
)
def test_masks_are_one_run_of_any_width_at_any_place(
    pipeline: AudioPipeline, axis: int, widest: int, length: int
) -> None:
    hidden = pipeline(torch.ones(4000, 101, 128).half(), _rng()) == 0
    across = hidden.all(3 - axis)
    # What is hidden anywhere is hidden in all frames, or in all bins.
    assert torch.equal(across, hidden.any(3 - axis))
    runs = _runs(across)
    assert {width for _, width in runs} == set(range(widest + 1))
    assert min(first for first, width in runs if width) == 0
    assert max(first + width for first, width in runs) == length
    # Widths from 0 to the widest are equally likely; five standard errors.
    mean = float(across.sum(1).float().mean())
    assert abs(mean - widest / 2) < 5 * ((widest + 1) ** 2 / 12 / 4000) ** 0.5


def test_masks_fit_short_clips() -> None:
    hidden = AudioPipeline(frames=20)(torch.ones(600, 5, 128).half(), _rng())[:, :, 0] == 0
    assert {width for _, width in _runs(hidden)} == set(range(6))
    # Widths up to the clip's length are equally likely, so a sixth of the clips is all hidden.
    assert 50 < hidden.all(1).sum() < 150
    assert MASKS(torch.ones(9, 5, 128).half(), _rng()).shape == (9, 5, 128)
    assert MASKS(torch.ones(0, 101, 128).half(), _rng()).shape == (0, 101, 128)


def test_augmentations_are_made_where_the_features_are() -> None:
    # Tensors without content that know which device they would be on; mixing devices raises.
    with FakeTensorMode():
        x = torch.empty(4, 101, 128, dtype=torch.float16, device="cuda")
        for rng in (None, _rng()):
            assert MASKS(x, rng).device == x.device


def test_pipelines_are_values() -> None:
    assert audio_pipeline("masks") == MASKS
    assert hash(audio_pipeline("masks")) == hash(MASKS)
    assert pickle.loads(pickle.dumps(MASKS)) == MASKS  # noqa: S301 - bytes of its own
    assert repr(MASKS) == "AudioPipeline(shift=10, bins=24, frames=20)"


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(UsageError, match=r"unknown augmentation 'mask'.*masks"):
        audio_pipeline("mask")  # type: ignore[arg-type]
    for field in ("shift", "bins", "frames"):
        with pytest.raises(ValueError, match=f"{field}=-1"):
            AudioPipeline(**{field: -1})
