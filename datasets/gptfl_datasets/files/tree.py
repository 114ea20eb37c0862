"""What a user has is a folder or an archive; both are read as a tree of named files.

An archive is read from its first byte to its last and never unpacked, so that nothing can lie
outside a folder or half unpacked.
"""

import gzip
import hashlib
import json
import os
import re
import tarfile
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from stat import S_IFMT, S_IFREG, S_ISDIR, S_ISREG
from typing import IO, Literal

from gptfl_bench.core.errors import UsageError
from gptfl_datasets.files.download import checksum

MAX_MEMBER = 256 << 20
"""Most bytes of a file that is read."""
MAX_MEMBERS = 1_000_000
"""Most files and folders of a tree."""

_Kind = Literal["file", "folder", "other"]
_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".zip")
_ALLOWED = f"a folder or an archive ({', '.join(_SUFFIXES)})"
_BLOCK = 1 << 16
# Of a header that holds a long name or the like; tarfile reads it as a whole.
_MAX_HEADER = 1 << 20


class Tree(ABC):
    """Files by name, which is a posix path relative to the tree.

    Names that begin with a dot and what macOS adds to archives are left out.

    Attributes:
        path: The folder or archive.
        kind: Which of both.
    """

    path: Path
    kind: Literal["folder", "archive"]

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names of all regular files, sorted; links in a folder count as their target.

        Raises:
            UsageError: If the tree can't be read, is damaged, or has names that are not safe.
        """

    @abstractmethod
    def stream(self, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
        """Yield the wanted names with their content, a folder's sorted, an archive's in its order.

        Raises:
            UsageError: As :meth:`names`, or if the source has changed since it was opened, or a
                wanted file is too large, a broken link, an archive's link or no file at all.
        """

    @abstractmethod
    def stamp(self) -> str:
        """Return a hex digest that changes with the source, without reading the files.

        Of an archive its place, size and time of change; of a folder all names, sizes and times.

        Raises:
            UsageError: If the folder can't be read.
        """

    def read(self, name: str) -> bytes:
        """Return one file; an archive is read as a whole, :meth:`stream` gives several at once.

        Raises:
            UsageError: If there is no such file, or as :meth:`stream`.
        """
        found = dict(self.stream(lambda other: other == name))
        if name not in found:
            raise UsageError(f"{self.path} has no file {name!r}; add it or name another source.")
        return found[name]

    def sha256(self) -> str:
        """Return the SHA-256 of an archive as hex.

        Raises:
            UsageError: If it can't be read.
            ValueError: If the tree is a folder.
        """
        if self.kind == "folder":
            raise ValueError(f"{self.path} is a folder; only an archive has a checksum")
        return checksum(self.path, "sha256")

    def below(self, prefix: str) -> "Tree":
        """Return the files in a subfolder, named from there; there may be none."""
        prefix = prefix.strip("/")
        return _Below(self, f"{prefix}/") if prefix else self


def open_tree(path: Path) -> Tree:
    """Return the files of a folder or of an archive.

    Raises:
        UsageError: If ``path`` is neither, or can't be read.
    """
    with _refusing(path):
        status = path.stat()
    name = path.name.lower()
    if S_ISDIR(status.st_mode):
        return _Folder(path)
    if not S_ISREG(status.st_mode) or not name.endswith(_SUFFIXES):
        raise UsageError(f"{path} can't be read as a tree of files; name {_ALLOWED}.")
    return _Zip(path, status) if name.endswith(".zip") else _Tar(path, status)


@dataclass
class _Folder(Tree):
    """A folder with what links in it lead to."""

    path: Path
    kind = "folder"

    @cached_property
    def _found(self) -> dict[str, os.stat_result | None]:
        """All that is there and no folder, sorted by name; None for a broken link."""
        found: dict[str, os.stat_result | None] = {}
        folders: list[tuple[str, tuple[Path, ...]]] = [("", ())]
        seen = 0
        while folders:
            prefix, above = folders.pop()
            folder = self.path / prefix
            # A link to a folder that it lies in: following it would never end.
            with _refusing(folder):
                if any(folder.samefile(outer) for outer in above):
                    continue
            for name, status in _entries(folder):
                if status is not None and S_ISDIR(status.st_mode):
                    folders.append((f"{prefix}{name}/", (*above, folder)))
                else:
                    found[prefix + name] = status
                seen += 1
            _check_count(self.path, seen)
        return dict(sorted(found.items()))

    def names(self) -> list[str]:
        return [n for n, status in self._found.items() if not status or S_ISREG(status.st_mode)]

    def stream(self, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
        for name, status in self._found.items():
            if wanted(name):
                yield name, self._content(self.path / name, status)

    def read(self, name: str) -> bytes:
        if name in self._found:
            return self._content(self.path / name, self._found[name])
        return super().read(name)

    def stamp(self) -> str:
        return _digest([(n, status and _version(status)) for n, status in self._found.items()])

    def _content(self, path: Path, status: os.stat_result | None) -> bytes:
        if status is None or not S_ISREG(status.st_mode):
            raise UsageError(f"{path} is a broken link or no regular file; mend or remove it.")
        _check_size(str(path), status.st_size)
        with _refusing(path), path.open("rb") as file:
            data = file.read(MAX_MEMBER + 1)
            _check_unchanged(path, file, status)
        return data


def _entries(folder: Path) -> list[tuple[str, os.stat_result | None]]:
    """Return what lies in a folder by name; None for a broken link."""
    found: list[tuple[str, os.stat_result | None]] = []
    with _refusing(folder), os.scandir(folder) as entries:
        for entry in entries:
            if not _hidden(entry.name):
                broken = entry.is_symlink() and not Path(entry.path).exists()
                found.append((entry.name, None if broken else entry.stat()))
    return found


@dataclass(frozen=True)
class _Member:
    """What an archive says of one of its members, before it is read."""

    name: str
    kind: _Kind
    nbytes: int
    read: Callable[[], bytes]


@dataclass
class _Archive(Tree):
    """An archive, as it was when it was opened."""

    path: Path
    status: os.stat_result
    kind = "archive"
    _names: list[str] | None = None

    @abstractmethod
    def _members(self) -> Iterator[_Member]:
        """Yield all members; each can be read until the next is asked for."""

    def names(self) -> list[str]:
        if self._names is None:
            for _ in self.stream(lambda name: False):
                pass
        return list(self._names or [])

    def stream(self, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
        kinds: dict[str, str] = {}
        for count, member in enumerate(self._members(), 1):
            _check_count(self.path, count)
            name = self._safe(member.name)
            if member.kind == "folder" or _hidden(name):
                continue
            where = f"{self.path}: {name!r}"
            if name in kinds:
                raise UsageError(f"{where} is there twice; make the archive anew.")
            kinds[name] = member.kind
            if not wanted(name):
                continue
            if member.kind == "other":
                raise UsageError(f"{where} is a link or a device; put the file itself there.")
            _check_size(where, member.nbytes)
            with _refusing(self.path):
                data = member.read()
                if len(data) != member.nbytes:
                    raise ValueError(f"{name!r} has {len(data):,} of {member.nbytes:,} bytes")
            yield name, data
        self._names = sorted(name for name, kind in kinds.items() if kind == "file")

    def stamp(self) -> str:
        return _digest([str(self.path.resolve()), _version(self.status)])

    @contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        with _refusing(self.path), self.path.open("rb") as file:
            _check_unchanged(self.path, file, self.status)
            yield file
            _check_unchanged(self.path, file, self.status)

    def _safe(self, name: str) -> str:
        """Return a member's name without empty steps; refuse one that could lead elsewhere."""
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if ".." in parts or re.match(r"/|[A-Za-z]:", name) or "\\" in name:
            raise UsageError(
                f"{self.path} has a member {name[:200]!r}, which could lie outside a folder; "
                "make the archive anew with relative names."
            )
        return "/".join(parts)


class _Zip(_Archive):
    """A zip archive, whose list of members is at its end."""

    def _members(self) -> Iterator[_Member]:
        with self._opened() as file, zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                # 0 where it was made by a system without modes.
                plain = S_IFMT(info.external_attr >> 16) in (0, S_IFREG)
                kind: _Kind = "folder" if info.is_dir() else "file" if plain else "other"
                read = partial(self._content, archive, info)
                yield _Member(info.filename, kind, info.file_size, read)

    def _content(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
        # Others can reserve any amount of memory.
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise NotImplementedError(f"{info.filename!r} is compressed in an unusual way")
        with archive.open(info) as member:
            # No more than announced is ever unpacked; the CRC is checked behind the last byte.
            return member.read(info.file_size + 1)


class _Header(tarfile.TarInfo):
    """A tar header; tarfile takes a damaged one for the end of the archive, this one does not."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Header":
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise
            raise tarfile.ReadError("a header is damaged, or the end is missing") from error
        if header.type not in tarfile.REGULAR_TYPES and header.size > _MAX_HEADER:
            raise tarfile.ReadError(f"a header announces {header.size:,} bytes")
        return header


class _Tar(_Archive):
    """A tar archive, plain or compressed with gzip, in one pass without a step back."""

    def _members(self) -> Iterator[_Member]:
        packed = not self.path.name.lower().endswith(".tar")
        with (
            self._opened() as file,
            gzip.GzipFile(fileobj=file) if packed else nullcontext(file) as plain,
            tarfile.open(fileobj=plain, mode="r|", tarinfo=_Header, bufsize=_BLOCK) as archive,
        ):
            for info in archive:
                kind: _Kind = "file" if info.isreg() else "folder" if info.isdir() else "other"
                yield _Member(info.name, kind, info.size, partial(self._content, archive, info))
            assert archive.fileobj is not None
            # Only behind the padding does gzip compare its checksum.
            while padding := archive.fileobj.read(_BLOCK):
                if any(padding):
                    raise tarfile.ReadError("it goes on behind its end")

    def _content(self, archive: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
        file = archive.extractfile(info)
        return file.read() if file else b""


@dataclass
class _Below(Tree):
    """A subfolder of another tree; its prefix ends with a slash."""

    tree: Tree
    prefix: str

    def __post_init__(self) -> None:
        self.kind = self.tree.kind
        self.path = self.tree.path / self.prefix if self.kind == "folder" else self.tree.path

    def names(self) -> list[str]:
        names, prefix = self.tree.names(), self.prefix
        return [name.removeprefix(prefix) for name in names if name.startswith(prefix)]

    def stream(self, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
        def inside(name: str) -> bool:
            return name.startswith(self.prefix) and wanted(name.removeprefix(self.prefix))

        for name, data in self.tree.stream(inside):
            yield name.removeprefix(self.prefix), data

    def read(self, name: str) -> bytes:
        return self.tree.read(self.prefix + name)

    def stamp(self) -> str:
        return _digest([self.tree.stamp(), self.prefix])


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Turn whatever is raised over a file or an archive into one sentence."""
    try:
        yield
    except UsageError:
        raise
    except FileNotFoundError as error:
        raise UsageError(f"{path} is not there; bring it back or name {_ALLOWED}.") from error
    # Damaged bytes make the libraries raise nearly anything.
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:
            fault = f"can't be read ({error.strerror}); check its permissions and disk."
        else:
            reason = " ".join(str(error).split()) or type(error).__name__
            fault = f"is damaged or not what its name says ({reason}); fetch it anew."
        raise UsageError(f"{path} {fault}") from error


def _version(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _digest(values: object) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def _check_count(path: Path, count: int) -> None:
    if count > MAX_MEMBERS:
        raise UsageError(f"{path} has more than {MAX_MEMBERS:,} files and folders; divide it.")


def _check_size(where: str, nbytes: int) -> None:
    if nbytes > MAX_MEMBER:
        raise UsageError(f"{where} has {nbytes:,} bytes, {MAX_MEMBER:,} are allowed; shorten it.")


def _check_unchanged(path: Path, file: IO[bytes], status: os.stat_result) -> None:
    if _version(os.fstat(file.fileno())) != _version(status):
        raise UsageError(f"{path} has changed since it was opened; run the same again.")
