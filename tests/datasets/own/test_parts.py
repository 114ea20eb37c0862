"""Trees in parts for training, validation and testing, as tutorials and competitions have them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gptfl_bench.data.task import Task
from gptfl_datasets.files.own.parts import part_of

Grow = Callable[..., Path]
Own = Callable[..., Task]
Refused = Callable[..., str]


def tree(*parts: str, each: int = 2) -> list[str]:
    """Return paths of ants and bees in each part."""
    return [
        f"{part}/{insect}/{number}.png"
        for part in parts
        for insect in ("ants", "bees")
        for number in range(each)
    ]


def sizes(task: Task) -> tuple[int, int]:
    assert task.label_names == ("ants", "bees")
    return len(task.train), len(task.test)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "val"),
        ("Train", "Val"),
        ("TRAIN", "TEST"),
        ("train", "valid"),
        ("training", "validation"),
        ("training", "testing"),
        ("Training_Set", "Test-Set"),
        ("train", "dev"),
        ("train", "eval"),
        ("train2017", "val2017"),
        ("trainset", "testset"),
    ],
)
def test_two_parts_are_for_training_and_testing(
    train: str, test: str, grow: Grow, own: Own
) -> None:
    task = own(grow(tree(train, each=3) + tree(test, each=1)))
    assert sizes(task) == (6, 2)
    assert task.note == f"{train} served for training, {test} served for testing"


@pytest.mark.parametrize("names", [("train", "test", "val"), ("Train", "Test", "Valid")])
def test_a_validation_part_goes_where_it_is_told(
    names: tuple[str, str, str], grow: Grow, own: Own
) -> None:
    train, test, valid = names
    root = grow(tree(train, each=3) + tree(test, each=2) + tree(valid, each=1))
    left_out = f"{train} served for training, {test} served for testing, "
    left_out += f"{valid} with 2 files was left out"
    for option in (None, "none"):
        task = own(root, valid=option)
        assert (sizes(task), task.note) == ((6, 4), left_out)
    joined = own(root, valid="train")
    assert sizes(joined) == (8, 4)
    assert joined.note == f"{train} and {valid} served for training, {test} served for testing"
    tested = own(root, valid="test")
    assert sizes(tested) == (6, 6)
    assert tested.note == f"{train} served for training, {test} and {valid} served for testing"


def test_without_a_test_part_validation_may_still_be_for_training(grow: Grow, own: Own) -> None:
    root = grow(tree("train", each=4) + tree("val", each=1))
    joined = own(root, valid="train")
    assert sizes(joined) == (8, 2)
    assert joined.note == (
        "train and val served for training; a share of 0.2 of each class held out for testing"
    )
    alone = own(root, valid="none", test_share=0.25)
    assert sizes(alone) == (6, 2)
    assert alone.note == (
        "train served for training, val with 2 files was left out; "
        "a share of 0.25 of each class held out for testing"
    )


def test_a_part_for_training_alone_holds_out_a_share(grow: Grow, own: Own) -> None:
    task = own(grow(tree("Train", each=5)))
    assert sizes(task) == (8, 2)
    assert task.note.startswith("Train served for training; a share of 0.2 of each class")


def test_plain_train_and_test_have_nothing_to_say(grow: Grow, own: Own) -> None:
    assert own(grow(tree("train", "test"))).note == ""


def test_test_images_without_classes_leave_testing_to_validation(grow: Grow, own: Own) -> None:
    task = own(grow([*tree("train", "val"), "test/1.png", "test/2.png"]))
    assert sizes(task) == (4, 4)
    assert task.note == (
        "train served for training, val served for testing; "
        "2 files not read (2 .png without a class)"
    )


@pytest.mark.parametrize("part", ["test", "val"])
def test_a_part_that_has_to_serve_needs_classes(part: str, grow: Grow, refused: Refused) -> None:
    assert f"{part}' has no class folders" in refused(grow([*tree("train"), f"{part}/1.png"]))


def test_clients_of_training_files_alone_are_looked_for(grow: Grow, own: Own) -> None:
    task = own(grow(tree("train", "val")), clients=r"^train/\w+/(\d)")
    assert task.groups == ("0", "1", "0", "1")


@pytest.mark.parametrize(
    ("folders", "told"),
    [
        (("train", "Train", "test"), "'Train' and 'train' for the same part"),
        (("train", "val", "dev"), "'dev' and 'val' for the same part"),
        (("train", "test", "evaluation"), "'evaluation' and 'test' for the same part"),
    ],
)
def test_two_folders_for_one_part(
    folders: tuple[str, ...], told: str, grow: Grow, refused: Refused
) -> None:
    assert told in refused(grow(tree(*folders)))


def test_validation_that_is_not_there_cannot_be_placed(grow: Grow, refused: Refused) -> None:
    root = grow(tree("train", "test", "bare"))
    assert "data.valid=train is set" in refused(root, valid="train")
    assert "no folder for validation" in refused(root / "bare", valid="test")
    assert "data.valid='all' does not fit" in refused(root, valid="all")


def test_parts_need_the_same_classes(grow: Grow, refused: Refused) -> None:
    root = grow([*tree("train", "val"), "val/wasps/1.png"])
    assert "class folder 'wasps' in only one of train and val" in refused(root)


def test_a_class_may_be_called_train(grow: Grow, own: Own) -> None:
    vehicles = ("bus", "car", "train")
    task = own(grow(f"{kind}/{number}.png" for kind in vehicles for number in range(5)))
    assert task.label_names == vehicles
    assert len(task.train) + len(task.test) == 15


def test_an_archive_is_read_alike(
    grow: Grow, own: Own, as_zip: Callable[[Path, Path, str], Path], tmp_path: Path
) -> None:
    root = grow(tree("Train", "Valid", "Test"))
    packed = as_zip(root, tmp_path / "mine.zip", ".")
    folder, archive = own(root), own(packed)
    assert archive.fingerprint == folder.fingerprint
    assert archive.note == folder.note


def test_what_was_decoded_in_another_way_is_not_taken(grow: Grow, own: Own) -> None:
    root = grow(tree("train", "val", "test"))
    kept = [own(root, valid=option).fingerprint for option in (None, "train", "test")]
    assert len(set(kept)) == 3
    assert [own(root, valid=option).fingerprint for option in (None, "train", "test")] == kept


@pytest.mark.parametrize(
    "name", ["trains", "brain", "retest", "latest", "invalid", "set", "2017", "_", "train_test"]
)
def test_other_names_are_no_parts(name: str) -> None:
    assert part_of(name) is None
