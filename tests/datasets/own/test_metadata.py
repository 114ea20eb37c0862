"""Classes and clients from ``metadata.csv`` and ``metadata.jsonl``."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from gptfl_bench.data.task import Task

Grow = Callable[..., Path]
Own = Callable[..., Task]
Refused = Callable[..., str]

NAMES = [f"{number}.png" for number in range(8)]
ROWS = [(f"{n}.png", "cat" if n % 2 else "dog", f"c{n // 2}") for n in range(8)]


def as_csv(rows: Sequence[Sequence[object]], header: str = "file_name,label,client") -> str:
    mark = max(",;\t", key=header.count)
    return "\n".join([header, *(mark.join(map(str, row)) for row in rows)]) + "\n"


def as_jsonl(rows: Sequence[Sequence[object]], header: str = "file_name,label,client") -> str:
    return "\n".join(json.dumps(dict(zip(header.split(","), r, strict=False))) for r in rows)


TABLES = {"metadata.csv": as_csv(ROWS), "metadata.jsonl": as_jsonl(ROWS)}


@pytest.mark.parametrize("name", TABLES)
def test_metadata_give_class_and_client(name: str, grow: Grow, own: Own) -> None:
    task = own(grow(NAMES, {name: TABLES[name]}), test_share=0.25)
    assert task.label_names == ("cat", "dog")
    # One client of four is held out.
    assert (len(task.train), len(task.test)) == (6, 2)
    assert len(set(task.groups or ())) == 3
    assert task.note == (
        "a share of 0.25 of the client groups held out for testing; "
        f"classes from column 'label' of {name}; clients from column 'client' of {name}"
    )


@pytest.mark.parametrize("name", TABLES)
def test_each_part_may_have_its_own(name: str, grow: Grow, own: Own) -> None:
    parts = ("Train", "validation")
    files = [f"{part}/{file}" for part in parts for file in NAMES]
    task = own(grow(files, {f"{part}/{name}": TABLES[name] for part in parts}))
    assert (len(task.train), len(task.test)) == (8, 8)
    assert task.label_names == ("cat", "dog")
    assert set(task.groups or ()) == {"c0", "c1", "c2", "c3"}
    assert f"of Train/{name} and 1 more" in task.note


def test_one_table_may_name_the_files_of_all_parts(grow: Grow, own: Own) -> None:
    rows = [(f"{part}/{row[0]}", *row[1:]) for part in ("train", "test") for row in ROWS]
    files = [str(row[0]) for row in rows]
    task = own(grow(files, {"metadata.csv": as_csv(rows)}))
    assert (len(task.train), len(task.test), task.label_names) == (8, 8, ("cat", "dog"))


@pytest.mark.parametrize(
    "header",
    [
        "File Name,Class,Speaker",
        "filename;class_name;speaker_id",
        "file_path\tcategory\tuser",
        "\ufefffile_name,label,client_id",
        "path, label, writer",
    ],
)
def test_usual_spellings(header: str, grow: Grow, own: Own) -> None:
    task = own(grow(NAMES, {"metadata.csv": as_csv(ROWS, header)}), test_share=0.25)
    assert task.label_names == ("cat", "dog")
    assert len(set(task.groups or ())) == 3


def test_names_of_classes_come_before_their_numbers(grow: Grow, own: Own) -> None:
    """As in ESC-50's table, whose column ``target`` holds numbers."""
    rows = [(file, fold, n % 2, label) for n, (file, label, fold) in enumerate(ROWS)]
    table = as_csv(rows, "filename,fold,target,category")
    assert own(grow(NAMES, {"metadata.csv": table}), test_share=0.25).label_names == ("cat", "dog")


def test_whole_numbers_may_be_labels(grow: Grow, own: Own) -> None:
    rows = [(file, n % 2) for n, (file, *_) in enumerate(ROWS)]
    task = own(grow(NAMES, {"metadata.jsonl": as_jsonl(rows)}), test_share=0.25)
    assert task.label_names == ("0", "1")


def test_they_count_more_than_folders(grow: Grow, own: Own) -> None:
    """Folders may be anything, such as domains; files without a line are said."""
    files = [f"{domain}/{n}.png" for domain in ("real", "drawn") for n in range(4)]
    rows = [(file, "cat" if n % 2 else "dog") for n, file in enumerate(files)]
    task = own(grow([*files, "real/9.png"], {"metadata.csv": as_csv(rows)}), test_share=0.25)
    assert task.label_names == ("cat", "dog")
    assert "1 file not read (1 .png without a class)" in task.note


def test_folders_of_the_same_names_count_as_before(grow: Grow, own: Own) -> None:
    """As ``gptfl-bench generate`` writes them: a label's folder has its name, spelled plainly."""
    files = [f"{folder}/{n}.png" for folder in ("sea_lion", "a_b") for n in range(5)]
    rows = [(f, "Sea lion" if f.startswith("sea") else "a & b", n) for n, f in enumerate(files)]
    table = as_jsonl(rows[1:], "file_name,label,number")
    bare = own(grow(files))
    task = own(grow([], {"metadata.jsonl": table}))
    assert task.fingerprint == bare.fingerprint
    assert task.label_names == ("a_b", "sea_lion")
    assert task.note == bare.note


def test_clients_alone_go_with_class_folders(grow: Grow, own: Own) -> None:
    files = [f"{kind}/{n}.png" for kind in ("cat", "dog") for n in range(4)]
    rows = [(file, f"c{n % 4}") for n, file in enumerate(files)]
    task = own(grow(files, {"metadata.csv": as_csv(rows, "file_name,speaker")}), test_share=0.25)
    assert task.label_names == ("cat", "dog")
    assert len(set(task.groups or ())) == 3


def test_patterns_count_more_than_metadata(grow: Grow, own: Own) -> None:
    root = grow(NAMES, TABLES)
    task = own(root, classes=r"[0-3]\.png$|(?:)\w+", clients=r"\d", test_share=0.25)
    assert "7" in task.label_names
    assert set(task.groups or ()) <= set("01234567")
    assert "column" not in task.note


def test_a_column_of_parts_is_not_passed_over_in_silence(grow: Grow, own: Own) -> None:
    rows = [(file, label, "train") for file, label, _ in ROWS]
    task = own(grow(NAMES, {"metadata.csv": as_csv(rows, "file_name,label,split")}))
    assert "whose column 'split' was not read" in task.note


def test_captions_are_no_classes(grow: Grow, own: Own) -> None:
    files = [f"{kind}/{n}.png" for kind in ("cat", "dog") for n in range(5)]
    captions = [(file, "a text\u2028in two lines", n) for n, file in enumerate(files)]
    table = "\n".join(
        json.dumps({"file_name": f, "text": t}, ensure_ascii=False) for f, t, _ in captions
    )
    assert own(grow(files, {"metadata.jsonl": table})).label_names == ("cat", "dog")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("../x.png,cat,c", "may lie outside the folder"),
        ("/etc/x.png,cat,c", "may lie outside the folder"),
        ("C:\\x.png,cat,c", "may lie outside the folder"),
        ("a\\..\\..\\x.png,cat,c", "may lie outside the folder"),
        ("x.png,cat,c", "names 'x.png', which is not there"),
        (",cat,c", "names no file"),
        ("0.png,,c", "has no name or whole number as 'label'"),
        ("0.png,dog,", "has no name or whole number as 'client'"),
        ("0.png,cat,c0", "another line says 'dog'"),
        ("0.png,dog,c9", "another line says 'c0'"),
        ("0.png,dog,c0,more", "more values than there are columns"),
        ('0.png,"dog', "can't be read as a table"),
    ],
)
def test_a_line_that_can_not_be_right(line: str, told: str, grow: Grow, refused: Refused) -> None:
    sentence = refused(grow(NAMES, {"metadata.csv": TABLES["metadata.csv"] + line + "\n"}))
    assert told in sentence
    assert "metadata.csv" in sentence


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"file_name": "0.png", "label": ["cat", "dog"]}, "no name or whole number as 'label'"),
        ({"file_name": "0.png", "label": None}, "no name or whole number as 'label'"),
        ({"file_name": "0.png", "label": 0.5}, "no name or whole number as 'label'"),
        ({"file_name": "0.png"}, "no name or whole number as 'label'"),
        ({"file_name": 3, "label": "cat"}, "names no file"),
    ],
)
def test_a_row_that_can_not_be_right(
    row: dict[str, object], told: str, grow: Grow, refused: Refused
) -> None:
    table = f"{as_jsonl(ROWS[1:], 'file_name,label')}\n{json.dumps(row)}\n"
    assert told in refused(grow(NAMES, {"metadata.jsonl": table}))


def test_a_file_without_its_client(grow: Grow, refused: Refused) -> None:
    files = [f"{kind}/{n}.png" for kind in ("cat", "dog") for n in range(2)]
    rows = [(file, "c") for file in files[1:]]
    told = refused(grow(files, {"metadata.csv": as_csv(rows, "file_name,client")}))
    assert "'cat/0.png' has no client in the metadata" in told


def test_another_encoding_is_one_sentence(grow: Grow, refused: Refused) -> None:
    root = grow(NAMES)
    (root / "metadata.csv").write_bytes("file_name,label\n0.png,Bär\n".encode("cp1252"))
    assert "can't be read as a table in UTF-8" in refused(root)


def test_labels_that_are_one_name(grow: Grow, refused: Refused) -> None:
    rows = [(file, label if n else "Dog") for n, (file, label, _) in enumerate(ROWS)]
    told = refused(grow(NAMES, {"metadata.csv": as_csv(rows)}))
    assert "'Dog' and 'dog', which are the same but for case" in told
