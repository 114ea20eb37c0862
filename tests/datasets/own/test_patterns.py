"""Trees whose classes are not their top folders: refused, or read by patterns."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gptfl_bench.data.task import Task

Grow = Callable[..., Path]
Own = Callable[..., Task]
Refused = Callable[..., str]

PACS = [
    f"{domain}/{kind}/{number}.png"
    for domain in ("art_painting", "cartoon", "photo", "sketch")
    for kind in ("dog", "giraffe")
    for number in range(2)
]
CLIENTS = [f"client{who}/{word}/{who}.wav" for who in range(5) for word in ("no", "yes")]
FLAT = [f"{digit}_{who}_{n}.wav" for digit in range(3) for who in ("jackson", "theo") for n in "01"]


@pytest.mark.parametrize(
    ("names", "dataset", "shared"),
    [
        (PACS, "image_folder", "'dog' in both 'art_painting' and 'cartoon'"),
        (CLIENTS, "audio_folder", "'no' in both 'client0' and 'client1'"),
        # Some clients lack a class, and others spell it in another way.
        (["a/no/1.png", "a/up/1.png", "b/Up/1.png"], "image_folder", "'up' in both 'a' and 'b'"),
        # Kaggle's doubled folders.
        (
            [f"seg_{p}/seg_{p}/{k}/1.png" for p in ("one", "two") for k in ("sea", "street")],
            "image_folder",
            "'sea' in both 'seg_one' and 'seg_two'",
        ),
        # Parts inside the classes.
        (
            [f"{k}/{p}/1.png" for k in ("cat", "dog") for p in ("train", "test")],
            "image_folder",
            "'test' in both 'cat' and 'dog'",
        ),
    ],
)
def test_a_tree_of_two_readings_is_refused(
    names: list[str], dataset: str, shared: str, grow: Grow, refused: Refused
) -> None:
    sentence = refused(grow(names), dataset)
    assert f"has folders {shared}" in sentence
    assert "data.classes='^" in sentence


def test_the_sentence_names_a_pattern_that_works(grow: Grow, own: Own, refused: Refused) -> None:
    root = grow(PACS)
    inner, outer = (word.split("'")[1] for word in refused(root).split("data.classes=")[1:])
    assert own(root, classes=inner).label_names == ("dog", "giraffe")
    assert own(root, classes=outer).label_names == ("art_painting", "cartoon", "photo", "sketch")


def test_below_parts_the_sentence_counts_from_the_root(
    grow: Grow, own: Own, refused: Refused
) -> None:
    root = grow(f"{part}/{name}" for part in ("train", "val") for name in PACS)
    inner = refused(root).split("data.classes='")[1].split("'")[0]
    task = own(root, classes=inner, clients=r"^train/(\w+)/")
    assert task.label_names == ("dog", "giraffe")
    assert (len(task.train), len(task.test)) == (16, 16)
    assert set(task.groups or ()) == {"art_painting", "cartoon", "photo", "sketch"}


def test_domains_are_clients_and_one_is_held_out(grow: Grow, own: Own) -> None:
    root = grow(PACS)
    task = own(root, classes="^[^/]+/([^/]+)/", clients="^([^/]+)/", test_share=0.25)
    assert task.label_names == ("dog", "giraffe")
    assert (len(task.train), len(task.test)) == (12, 4)
    assert len(set(task.groups or ())) == 3
    assert torch.bincount(task.test.labels).tolist() == [2, 2]
    assert "0.25 of the client groups held out" in task.note


def test_flat_files_have_classes_and_speakers_in_their_names(grow: Grow, own: Own) -> None:
    root = grow(FLAT)
    task = own(root, "audio_folder", classes=r"^(\d)_", clients=r"^\d_([a-z]+)_", test_share=0.5)
    assert task.label_names == ("0", "1", "2")
    assert (len(task.train), len(task.test)) == (6, 6)
    assert len(set(task.groups or ())) == 1
    by_file = own(root, "audio_folder", classes=r"^\d", test_share=0.25)
    assert torch.bincount(by_file.test.labels).tolist() == [1, 1, 1]


def test_a_class_that_testing_alone_has_is_said(grow: Grow, own: Own) -> None:
    """Clients x and y; it is x that is held out."""
    names = [f"{kind}/{who}{n}.png" for kind in "ab" for who in "xy" for n in range(2)]
    whole = own(grow(names), clients="/([xy])", test_share=0.5)
    assert whole.note == "a share of 0.5 of the client groups held out for testing"
    lacking = own(grow(["c/x1.png"]), clients="/([xy])", test_share=0.5)
    assert lacking.note == f"{whole.note}, and with it every sample of c"


def test_flat_files_without_a_pattern_are_refused(grow: Grow, refused: Refused) -> None:
    assert "no class folders" in refused(grow(FLAT), "audio_folder")


def test_one_folder_in_each_class_is_no_second_reading(grow: Grow, own: Own) -> None:
    """As in tiny-imagenet, where each class folder holds ``images``."""
    task = own(grow(f"{kind}/images/{n}.png" for kind in ("n01", "n02") for n in range(5)))
    assert task.label_names == ("n01", "n02")


def test_folders_of_one_class_are_no_second_reading(grow: Grow, own: Own) -> None:
    names = ["cat/lion/1.png", "cat/tiger/1.png", "cat/lynx/1.png", "dog/1.png", "dog/husky/1.png"]
    assert own(grow(names), test_share=0.4).label_names == ("cat", "dog")


@pytest.mark.parametrize(
    ("setting", "pattern", "told"),
    [
        ("classes", "([", "no regular expression"),
        ("classes", "^x/([^/]+)", "finds nothing in 'art_painting/dog/0.png'"),
        ("classes", "(zebra)?", "finds nothing in"),
        ("classes", "x*", "finds nothing in"),
        ("clients", "(zebra)?", "finds nothing in"),
        ("classes", r"\.(png)$", "one class alone, 'png'"),
    ],
)
def test_a_pattern_that_tells_nothing(
    setting: str, pattern: str, told: str, grow: Grow, refused: Refused
) -> None:
    settings = {"classes": "^[^/]+/([^/]+)/"} | {setting: pattern}
    assert told in refused(grow(PACS), **settings)


@pytest.mark.parametrize(
    "names", [["cat/1.png", "cat/2.png"], ["mine/cat/1.png", "mine/dog/1.png"], ["train/a/1.png"]]
)
def test_one_class_alone_is_refused(names: list[str], grow: Grow, refused: Refused) -> None:
    assert "has one class alone" in refused(grow(names))


@pytest.mark.parametrize(
    "pair", [("Cat", "cat"), ("sea lion", "sea_lion"), ("sea-lion", "Sea Lion"), ("a  b", "a b")]
)
def test_one_name_in_two_spellings_is_refused(
    pair: tuple[str, str], grow: Grow, refused: Refused
) -> None:
    root = grow(f"{kind}/{n}.png" for kind in pair for n in range(3))
    sentence = refused(root)
    assert "the same but for case, blanks, underscores and hyphens" in sentence
    assert all(repr(name) in sentence for name in pair)
    by_pattern = refused(root, classes="^([^/]+)/")
    assert "the same but for case" in by_pattern
