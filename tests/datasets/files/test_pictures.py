"""Pictures of any kind become RGB bytes; damaged and oversized ones become a sentence."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, Resize

from gptfl_bench.core.errors import UsageError
from gptfl_datasets.files.pictures import decode, fitted

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 17, 3), dtype=np.uint8)


def _encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def _picture(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8)


def _refused(data: bytes, *parts: str, exact: tuple[int, int] | None = None) -> None:
    with pytest.raises(UsageError) as caught:
        decode(data, "birds/7.png", exact=exact)
    sentence = str(caught.value)
    assert sentence.startswith("birds/7.png ")
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert "0x" not in sentence
    for part in parts:
        assert part in sentence


@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_fitting_is_torchvisions_resize_and_central_crop_bit_for_bit(
    height: int, width: int, side: int
) -> None:
    picture = _picture(height, width, 3)
    oracle = Compose([Resize(side), CenterCrop(side)])(Image.fromarray(picture))
    assert np.array_equal(fitted(picture, side), np.asarray(oracle))


def test_fitting_repeats_grey() -> None:
    grey = _picture(9, 14, 1)
    assert np.array_equal(fitted(grey, 6), fitted(np.repeat(grey, 3, axis=2), 6))


@pytest.mark.parametrize(
    "picture",
    [_picture(5, 5), _picture(5, 5, 4), _picture(5, 0, 3), _picture(5, 5, 3).astype(np.float32)],
)
def test_fitting_refuses_what_is_no_picture(picture: np.ndarray) -> None:
    with pytest.raises(UsageError, match="give"):
        fitted(picture, 4)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "TIFF"])
def test_lossless_colours_come_back(kind: str) -> None:
    found = decode(_encoded(Image.fromarray(PIXELS), kind), "a file")
    assert found.dtype == np.uint8
    assert found.flags.writeable
    assert np.array_equal(found, PIXELS)


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
def test_jpegs_are_what_pillow_makes_of_them(mode: str) -> None:
    data = _encoded(Image.fromarray(PIXELS).convert(mode), "JPEG")
    oracle = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(decode(data, "a file"), oracle)


def test_grey_palette_and_two_levels_become_colour() -> None:
    grey = Image.fromarray(PIXELS[:, :, 0])
    assert np.array_equal(decode(_encoded(grey), "a file"), np.stack([PIXELS[:, :, 0]] * 3, 2))
    palette = Image.fromarray(PIXELS).quantize(8)
    expected = np.asarray(palette.convert("RGB"))
    assert np.array_equal(decode(_encoded(palette), "a file"), expected)
    assert np.array_equal(decode(_encoded(palette, "GIF"), "a file"), expected)
    two = Image.fromarray(PIXELS[:, :, 0] > 99)
    assert set(np.unique(decode(_encoded(two), "a file"))) == {0, 255}


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_of_sixteen_bits_the_upper_eight_stay(kind: str) -> None:
    levels = np.arange(256, dtype=np.uint16).reshape(16, 16)
    data = _encoded(Image.fromarray(256 * levels + 200), kind)
    assert np.array_equal(decode(data, "a file")[:, :, 1], levels)


def test_a_transparent_place_shows_white_and_an_opaque_one_its_colour() -> None:
    colours = np.zeros((1, 3, 4), np.uint8)
    colours[0, :, 0] = 200
    colours[0, :, 3] = 0, 255, 51
    # A fifth of red (200, 0, 0) over white.
    expected = [[255, 255, 255], [200, 0, 0], [244, 204, 204]]
    assert decode(_encoded(Image.fromarray(colours)), "a file").tolist() == [expected]


def test_a_transparent_entry_of_a_palette_shows_white() -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    image.putpalette([9, 9, 9, 30, 60, 90])
    buffer = io.BytesIO()
    image.save(buffer, "PNG", transparency=0)
    assert decode(buffer.getvalue(), "a file").tolist() == [[[255, 255, 255], [30, 60, 90]]]


def test_an_animation_gives_its_first_frame() -> None:
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    assert decode(buffer.getvalue(), "a file")[0, 0].tolist() == [255, 0, 0]


def test_a_wanted_size_is_kept_to() -> None:
    data = _encoded(Image.fromarray(PIXELS))
    assert decode(data, "a file", exact=(12, 17)).shape == (12, 17, 3)
    _refused(data, "12 pixels high and 17 wide", "32 and 32", exact=(32, 32))
    _refused(data, "17 and 12", exact=(17, 12))


@pytest.mark.parametrize("data", [b"", b"not a picture\n" * 9, bytes(500), b"\xff\xd8\xff\xe0"])
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    _refused(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP"])
def test_a_file_that_was_cut_short_is_refused(kind: str) -> None:
    data = _encoded(Image.fromarray(_picture(60, 60, 3)), kind)
    _refused(data[: len(data) // 2], "damaged")


def test_numbers_without_a_known_range_are_refused() -> None:
    _refused(_encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "floats")
    _refused(_encoded(Image.fromarray(np.full((4, 4), 70_000, np.int32)), "TIFF"), "16 bits")


def test_formats_that_would_start_other_programs_are_refused() -> None:
    assert Image.open(io.BytesIO(_encoded(Image.fromarray(PIXELS), "EPS"))).format == "EPS"
    _refused(_encoded(Image.fromarray(PIXELS), "EPS"), "unknown format")


def _header_of(width: int, height: int) -> bytes:
    """Return a PNG file that says how large it is and has next to no pixels."""

    def chunk(name: bytes, body: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(name + body))
        return struct.pack(">I", len(body)) + name + body + crc

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", size), chunk(b"IDAT", zlib.compress(bytes(10))), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("side", [8_001, 10_000])
def test_a_decompression_bomb_is_refused_by_its_header(
    side: int, recwarn: pytest.WarningsRecorder
) -> None:
    _refused(_header_of(side, side), f"{side * side:,} pixels", "64,000,000 allowed")
    assert not recwarn
    _refused(_header_of(200_000, 200_000), "exceeds limit")


def test_a_strip_is_refused() -> None:
    _refused(_encoded(Image.new("L", (1, 101))), "101 pixels high and 1 wide")
    assert decode(_encoded(Image.new("L", (1, 100))), "a file").shape == (100, 1, 3)


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_damaged_bytes_give_a_picture_or_a_sentence(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"]))
    encoded = bytearray(_encoded(Image.fromarray(PIXELS), kind))
    for _ in range(data.draw(st.integers(1, 4))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = decode(bytes(encoded), "a file")
    except UsageError:
        return
    assert found.dtype == np.uint8
    assert found.shape[2] == 3
