import gzip
import hashlib
import io
import os
import stat
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from gptfl_bench.core.errors import UsageError
from gptfl_datasets.files import tree
from gptfl_datasets.files.tree import open_tree

FILES = {
    "set/train/cat/b.png": b"B" * 700,
    "set/train/cat/a.png": b"A" * 512,
    "set/training.txt": b"",
    "set/test/dog/c.png": bytes(range(256)) * 9,
    "notes.txt": b"four words of text",
}
"""In the order in which archives hold them."""
JUNK = ("__MACOSX/set/a.png", "set/._training.txt", "set/.DS_Store", ".git/config")
KINDS = ("folder", "a.tar", "a.tar.gz", "a.TGZ", "a.zip")
ARCHIVES = KINDS[1:]


def tar_of(*members: tuple[str | tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for member, data in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            info.size = info.size or len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def zip_of(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in members:
            archive.writestr(member, data, None if isinstance(member, str) else zipfile.ZIP_STORED)
    return buffer.getvalue()


def make(kind: str, folder: Path, files: dict[str, bytes], prefix: str = "./") -> Path:
    """Return a new folder or archive that holds ``files``."""
    path = folder / kind
    if kind == "folder":
        for name, data in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
    elif kind.endswith("zip"):
        path.write_bytes(zip_of(("set/", b""), *files.items()))
    else:
        top = tarfile.TarInfo("./set/")
        top.type = tarfile.DIRTYPE
        data = tar_of((top, b""), *((prefix + name, data) for name, data in files.items()))
        path.write_bytes(data if kind.endswith("tar") else gzip.compress(data))
    return path


def everything(path: Path) -> dict[str, bytes]:
    return dict(open_tree(path).stream(lambda name: True))


def refused(path: Path, act: Callable[[Path], object] = everything) -> str:
    with pytest.raises(UsageError) as caught:
        act(path)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert str(path) in sentence
    return sentence


@pytest.mark.parametrize("kind", KINDS)
def test_folder_and_archives_show_the_same_files(tmp_path: Path, kind: str) -> None:
    path = make(kind, tmp_path, FILES | dict.fromkeys(JUNK, b"junk"))
    found = open_tree(path)
    assert (found.path, found.kind) == (path, "folder" if kind == "folder" else "archive")
    assert found.names() == sorted(FILES)
    streamed = list(found.stream(lambda name: True))
    assert dict(streamed) == FILES
    assert [n for n, _ in streamed] == (sorted(FILES) if kind == "folder" else list(FILES))
    assert found.read("notes.txt") == FILES["notes.txt"]
    assert [n for n, _ in found.stream(lambda name: "cat" in name)] == [
        f"set/train/cat/{letter}.png" for letter in ("ab" if kind == "folder" else "ba")
    ]
    with pytest.raises(UsageError, match=r"has no file 'set/gone'"):
        found.read("set/gone")


@pytest.mark.parametrize("kind", KINDS)
def test_a_subfolder_is_a_tree_of_its_own(tmp_path: Path, kind: str) -> None:
    found = open_tree(make(kind, tmp_path, FILES))
    below = found.below("set").below("train/")
    assert below.names() == ["cat/a.png", "cat/b.png"]
    assert dict(below.stream(lambda name: name == "cat/a.png")) == {"cat/a.png": b"A" * 512}
    assert sorted(name for name, _ in below.stream(lambda name: True)) == below.names()
    assert below.read("cat/b.png") == b"B" * 700
    assert below.kind == found.kind
    assert below.path == (tmp_path / kind / "set/train" if kind == "folder" else tmp_path / kind)
    assert found.below("set/tr").names() == []
    assert found.below("").names() == found.names()
    assert len({found.stamp(), found.below("set").stamp(), below.stamp()}) == 3


@pytest.mark.parametrize("kind", ["a.tar", "a.tar.gz"])
def test_a_tar_archive_is_read_without_a_step_back(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Forward(io.FileIO):
        def seek(self, *to: int) -> int:
            raise AssertionError("a step back")

    # Where headers end with a reader's buffer, tarfile's other modes go back by a byte.
    files = {f"{k:04}": os.urandom(512 * (k % 40)) for k in range(200)}
    path = make(kind, tmp_path, files)
    monkeypatch.setattr(Path, "open", lambda self, mode: io.BufferedReader(Forward(self)))
    assert everything(path) == files


@pytest.mark.parametrize("kind", KINDS)
def test_a_stamp_changes_with_the_source_alone(tmp_path: Path, kind: str) -> None:
    path = make(kind, tmp_path, FILES)
    first = open_tree(path).stamp()
    assert open_tree(path).stamp() == first
    changed = path / "notes.txt" if kind == "folder" else path
    os.utime(changed, ns=(0, changed.stat().st_mtime_ns + 1000))
    second = open_tree(path).stamp()
    changed.write_bytes(changed.read_bytes() + b"x")
    os.utime(changed, ns=(0, 5))
    third = open_tree(path).stamp()
    assert len({first, second, third}) == 3
    moved = path.rename(tmp_path / f"other-{kind}")
    # A folder's stamp is that of its content, an archive's that of the file.
    assert (open_tree(moved).stamp() == third) == (kind == "folder")


def test_only_an_archive_has_a_checksum(tmp_path: Path) -> None:
    path = make("a.zip", tmp_path, FILES)
    assert open_tree(path).sha256() == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ValueError, match="folder"):
        open_tree(tmp_path).sha256()


@pytest.mark.parametrize("name", ["gone", "gone.zip", "text.txt", "pipe.zip", "a.zip/x"])
def test_what_is_neither_folder_nor_archive_is_refused(tmp_path: Path, name: str) -> None:
    make("a.zip", tmp_path, FILES)
    (tmp_path / "text.txt").touch()
    os.mkfifo(tmp_path / "pipe.zip")
    refused(tmp_path / name, open_tree)


@pytest.mark.parametrize("kind", ARCHIVES)
@pytest.mark.parametrize("data", [b"", b"<html>not found</html>" * 100])
def test_an_archive_by_name_alone_is_refused(tmp_path: Path, kind: str, data: bytes) -> None:
    (tmp_path / kind).write_bytes(data)
    refused(tmp_path / kind)
    refused(tmp_path / kind, lambda path: open_tree(path).names())


@pytest.mark.parametrize("kind", ARCHIVES)
def test_an_archive_that_was_cut_short_is_refused(tmp_path: Path, kind: str) -> None:
    path = make(kind, tmp_path, FILES | {"noise": os.urandom(3000)})
    whole = path.read_bytes()
    # A tar archive ends with zeros; their number does not matter.
    end = len(whole.rstrip(b"\0")) if kind.endswith("tar") else len(whole)
    step = 512 if kind.endswith("tar") else 97
    for size in [*range(0, end, step), end - 1]:
        path.write_bytes(whole[:size])
        refused(path)
        refused(path, lambda path: open_tree(path).names())


@pytest.mark.parametrize("kind", ["a.tar", "a.tar.gz", "a.zip"])
def test_a_changed_byte_is_an_error_or_does_no_harm(tmp_path: Path, kind: str) -> None:
    path = make(kind, tmp_path, {"a/b.png": b"some pixels" * 9, "c.png": os.urandom(600)})
    whole, right = path.read_bytes(), set(everything(path).values())
    for position in range(0, len(whole), 1 + len(whole) // 200):
        damaged = bytearray(whole)
        damaged[position] ^= 1 + position % 255
        path.write_bytes(damaged)
        with suppress(UsageError):
            found = set(everything(path).values())
            # Plain tar has no checksum over contents; the others lose a file at most.
            assert found <= right or kind == "a.tar"


@pytest.mark.parametrize("damage", [b"\1" * 512, bytes(512)], ids=["nonsense", "zeros"])
def test_a_damaged_header_is_not_the_end(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "a.tar"
    whole = tar_of(("one", b"1"), ("two", b"2"), ("three", b"3"))
    path.write_bytes(whole[:1024] + damage + whole[1536:])
    # Python's own reader takes it for the end.
    with tarfile.open(path) as archive:
        assert archive.getnames() == ["one"]
    refused(path)


@pytest.mark.parametrize("kind", ["a.tar.gz", "a.zip"])
def test_wrong_content_does_not_pass_a_checksum(tmp_path: Path, kind: str) -> None:
    path, content = tmp_path / kind, b"the right content"
    crc = struct.pack("<L", zlib.crc32(content))
    if kind.endswith("zip"):
        stored = zip_of((zipfile.ZipInfo("x"), content))
        path.write_bytes(stored.replace(content, b"the wrong content"))
    else:
        data = gzip.compress(tar_of(("x", content)))
        path.write_bytes(data[:-8] + crc + data[-4:])
    assert "CRC" in refused(path)


@pytest.mark.parametrize("kind", ["a.tar", "a.zip"])
@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../up", "a/../../up", "C:/x", "c:x", "a\\..\\x", "..", "//host/x", "./../x"],
)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, kind: str, name: str) -> None:
    path = make(kind, tmp_path, {"fine": b"1", name: b"2"}, prefix="")
    assert repr(name) in refused(path, lambda path: open_tree(path).names())
    assert repr(name) in refused(path)


@pytest.mark.parametrize("pack", [tar_of, zip_of])
@pytest.mark.parametrize("other", ["x", "./x", ".//x"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice_is_refused(tmp_path: Path, pack: Any, other: str) -> None:
    path = tmp_path / ("a.tar" if pack is tar_of else "a.zip")
    path.write_bytes(pack(("x", b"1"), (other, b"2")))
    assert "twice" in refused(path)


@pytest.mark.parametrize(
    "odd", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, stat.S_IFLNK, stat.S_IFCHR]
)
def test_links_and_devices_in_archives_are_never_read(tmp_path: Path, odd: int | bytes) -> None:
    path = tmp_path / ("a.zip" if isinstance(odd, int) else "a.tar")
    if isinstance(odd, int):
        entry = zipfile.ZipInfo("odd")
        entry.external_attr = (odd | 0o777) << 16
        path.write_bytes(zip_of((entry, b"/etc/passwd"), ("x", b"1")))
    else:
        info = tarfile.TarInfo("odd")
        info.type, info.linkname = odd, "/etc/passwd"
        path.write_bytes(tar_of((info, b""), ("x", b"1")))
    assert open_tree(path).names() == ["x"]
    assert dict(open_tree(path).stream(lambda name: name != "odd")) == {"x": b"1"}
    assert "'odd'" in refused(path)


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_are_bounded(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "MAX_MEMBER", 1000)
    path = make(kind, tmp_path, {"large": bytes(1001), "small": bytes(1000)})
    assert dict(open_tree(path).stream(lambda name: name == "small")) == {"small": bytes(1000)}
    assert "1,001 bytes" in refused(path)
    monkeypatch.setattr(tree, "MAX_MEMBERS", 1)
    assert "more than 1 files" in refused(path)


@pytest.mark.parametrize("said", [0, 10, 1000])
def test_a_zip_that_holds_more_than_it_says_is_not_unpacked(tmp_path: Path, said: int) -> None:
    path = tmp_path / "a.zip"
    bomb = zip_of(("bomb", bytes(50_000_000)))
    path.write_bytes(bomb.replace(struct.pack("<L", 50_000_000), struct.pack("<L", said)))
    tracemalloc.start()
    assert "CRC" in refused(path)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_a_zip_that_holds_less_than_it_says_is_refused(tmp_path: Path) -> None:
    whole = zip_of(("x", bytes(777)))
    (tmp_path / "a.zip").write_bytes(whole.replace(b"\x09\3\0\0", b"\x0a\3\0\0"))
    assert "777 of 778" in refused(tmp_path / "a.zip")


def test_a_tar_header_can_not_ask_for_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    for type in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGLINK):
        info = tarfile.TarInfo("x")
        info.type, info.size = type, 2 << 20
        path.write_bytes(gzip.compress(tar_of((info, bytes(2 << 20)), ("y", b""))))
        assert "2,097,152 bytes" in refused(path)
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1
    path.write_bytes(gzip.compress(tar_of(*[(info, b"y")] * 3000)))
    assert "recursion" in refused(path)


def test_very_long_names_are_fine(tmp_path: Path) -> None:
    name = "/".join(["folder" * 20] * 10) + "/ä.png"
    for kind in ARCHIVES:
        assert everything(make(kind, tmp_path, {name: b"1"})) == {name: b"1"}


def test_unusual_compression_and_passwords_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x", b"1")
    assert "compressed" in refused(path)
    whole = bytearray(zip_of(("x", b"1")))
    for signature, flags in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
        whole[whole.index(signature) + flags] |= 1
    path.write_bytes(whole)
    assert "encrypted" in refused(path)


@pytest.mark.parametrize("kind", ["a.tar.gz", "a.zip"])
def test_an_archive_that_changes_is_refused(tmp_path: Path, kind: str) -> None:
    path = make(kind, tmp_path, FILES)
    found = open_tree(path)
    files = found.stream(lambda name: True)
    next(files)
    os.utime(path, ns=(0, 0))
    with pytest.raises(UsageError, match="changed"):
        list(files)
    with pytest.raises(UsageError, match="changed"):
        found.names()
    path.unlink()
    with pytest.raises(UsageError, match="not there"):
        found.names()


def test_a_file_that_changes_or_vanishes_is_refused(tmp_path: Path) -> None:
    path = make("folder", tmp_path, FILES)
    found = open_tree(path)
    assert "notes.txt" in found.names()
    (path / "notes.txt").write_bytes(b"other")
    (path / "set/training.txt").unlink()
    with pytest.raises(UsageError, match=r"notes\.txt has changed"):
        found.read("notes.txt")
    with pytest.raises(UsageError, match=r"training\.txt is not there"):
        found.read("set/training.txt")


def forbidden(*args: object, **settings: object) -> None:
    raise PermissionError(13, "Permission denied")


@pytest.mark.parametrize("kind", KINDS)
def test_missing_permissions_are_a_sentence(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(kind, tmp_path, FILES)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", forbidden)
        assert "Permission denied" in refused(path)
    if kind == "folder":
        monkeypatch.setattr(os, "scandir", forbidden)
        assert "Permission denied" in refused(path)
    monkeypatch.setattr(Path, "stat", forbidden)
    assert "Permission denied" in refused(path, open_tree)


def test_links_in_a_folder_are_followed(tmp_path: Path) -> None:
    path = make("folder", tmp_path, {"real/x": b"1"})
    outside = make("folder", tmp_path / "elsewhere", {"y": b"2"})
    for link, to in {"one": outside / "y", "two": outside, "three": outside}.items():
        (path / link).symlink_to(to)
    assert everything(path) == {"one": b"2", "real/x": b"1", "three/y": b"2", "two/y": b"2"}


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    path = make("folder", tmp_path, {"a/x": b"1", "b/y": b"2"})
    (path / "a/up").symlink_to(path)
    (path / "a/b").symlink_to(path / "b")
    (path / "b/a").symlink_to(path / "a")
    assert open_tree(path).names() == ["a/b/y", "a/x", "b/a/x", "b/y"]


def test_broken_links_and_pipes_are_refused_when_read(tmp_path: Path) -> None:
    path = make("folder", tmp_path, {"x": b"1"})
    (path / "broken").symlink_to(path / "gone")
    (path / "self").symlink_to(path / "self")
    os.mkfifo(path / "pipe")
    found = open_tree(path)
    assert found.names() == ["broken", "self", "x"]
    assert dict(found.stream(lambda name: name == "x")) == {"x": b"1"}
    for name in ("broken", "self", "pipe"):
        with pytest.raises(UsageError, match=rf"folder/{name} is a broken link or no regular"):
            found.read(name)
    assert found.stamp() == open_tree(path).stamp()


@pytest.mark.parametrize("kind", KINDS)
def test_a_mistake_of_the_caller_is_not_called_damage(tmp_path: Path, kind: str) -> None:
    def wanted(name: str) -> bool:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        list(open_tree(make(kind, tmp_path, FILES)).stream(wanted))
