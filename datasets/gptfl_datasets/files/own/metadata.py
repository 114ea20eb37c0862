"""Classes and clients from ``metadata.csv`` or ``metadata.jsonl``, as Hugging Face's folders have.

Each lies beside the files it names, or above them. A file that has no column for the files, or none
for class or client, says something else, such as captions, and is passed over.
"""

import csv
import io
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gptfl_bench.core.errors import UsageError
from gptfl_datasets.files.tree import Tree

# Without what spellings differ in: "File Name", "file_name" and "fileName" are one. The first that
# is there counts, names of classes before their numbers.
_FILE = ("filename", "filepath", "file", "path")
_LABEL = ("labelname", "classname", "label", "class", "category", "target")
_CLIENT = tuple(
    f"{who}{end}"
    for who in ("client", "speaker", "user", "writer", "author", "subject", "patient")
    for end in ("id", "")
)
_SPLIT = ("split", "subset", "partition")
_Row = Mapping[str, object]


@dataclass(frozen=True)
class Metadata:
    """What metadata say of a tree's files.

    Attributes:
        labels: Class by path; None if nothing, or nothing but what the folders say, is said.
        clients: Client by path; None if nothing is said.
        classes_from: Where the classes come from, in words.
        clients_from: Where the clients come from, in words.
    """

    labels: Mapping[str, str] | None = None
    clients: Mapping[str, str] | None = None
    classes_from: str = ""
    clients_from: str = ""


def metadata_of(tree: Tree, parts: Collection[str]) -> Metadata:
    """Return what the metadata of a tree say.

    Where all labels are the names of the class folders, spelled in whatever way, as
    ``gptfl-bench generate`` writes them, the folders count.

    Args:
        tree: The files.
        parts: Top folders that hold class folders, such as ``train``.

    Raises:
        UsageError: If metadata are damaged, name files outside or not there, or contradict
            themselves.
    """
    names = frozenset(tree.names())
    labels: dict[str, str] = {}
    clients: dict[str, str] = {}
    sources: dict[str, list[str]] = {"classes": [], "clients": []}
    missing = ""
    wanted = {name for name in names if re.search(r"(^|/)metadata\.(csv|jsonl)$", name.casefold())}
    # An archive would be read from end to end for nothing.
    for file, content in sorted(tree.stream(wanted.__contains__)) if wanted else ():
        rows = list(_rows(tree, file, content))
        columns = list(dict.fromkeys(column for _, row in rows for column in row))
        file_column, label, client = (_first(columns, c) for c in (_FILE, _LABEL, _CLIENT))
        if file_column is None or (label is None and client is None):
            continue
        for column, target, kind in ((label, labels, "classes"), (client, clients, "clients")):
            if column is None:
                continue
            unused = _first(columns, _SPLIT) if kind == "classes" and not parts else None
            but = f", whose column {unused!r} was not read" if unused else ""
            sources[kind].append(f"{kind} from column {column!r} of {file}{but}")
            for where, row in rows:
                path = _path(file, row.get(file_column), where)
                value = _text(row.get(column), column, where)
                if target.setdefault(path, value) != value:
                    raise UsageError(
                        f"{where} says {column}={value!r} of {path!r}, and another line says "
                        f"{target[path]!r}; leave one."
                    )
                if path not in names:
                    missing = missing or (
                        f"{where} names {path!r}, which is not there; bring the file or remove "
                        "the line."
                    )
    if all(_spelling(_folder(path, parts)) == _spelling(label) for path, label in labels.items()):
        labels = {}
    elif missing:
        raise UsageError(missing)
    return Metadata(labels or None, clients or None, *map(_joined, sources.values()))


def _joined(sources: Sequence[str]) -> str:
    more = f" and {len(sources) - 1:,} more" if len(sources) > 1 else ""
    return f"{sources[0]}{more}" if sources else ""


def _rows(tree: Tree, file: str, content: bytes) -> Iterator[tuple[str, _Row]]:
    """Yield rows, each with the words for where it is."""
    path = str(tree.path / file)
    try:
        text = content.decode("utf-8-sig")
        read = _csv_rows(text) if file.casefold().endswith(".csv") else _json_rows(text)
        for number, row in read:
            yield f"line {number} of {path!r}", row
    # A deeply nested text makes the parser give up.
    except (ValueError, csv.Error, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(
            f"{path!r} can't be read as a table in UTF-8 ({reason}); repair it, or remove it."
        ) from error


def _json_rows(text: str) -> Iterator[tuple[int, _Row]]:
    # Other ends of lines, such as U+2028, may stand inside a text.
    for number, line in enumerate(text.split("\n"), 1):
        row = json.loads(line) if line.strip() else None
        if row is not None and not isinstance(row, dict):
            raise ValueError(f"line {number} is no object in braces")
        if row is not None:
            yield number, row


def _csv_rows(text: str) -> Iterator[tuple[int, _Row]]:
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    columns = [column.strip() for column in next(reader, [])]
    for values in reader:
        if len(values) > len(columns):
            raise ValueError(f"line {reader.line_num} has more values than there are columns")
        if any(values):
            yield reader.line_num, dict(zip(columns, values, strict=False))


def _first(columns: Sequence[str], spellings: Sequence[str]) -> str | None:
    known = {re.sub(r"[\W_]+", "", column).casefold(): column for column in reversed(columns)}
    return next((known[name] for name in spellings if name in known), None)


def _path(file: str, value: object, where: str) -> str:
    """Return the path in the tree of what a metadata file in the tree names."""
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{where} names no file; complete it or remove the line.")
    given = value.strip().replace("\\", "/")
    steps = [step for step in given.split("/") if step not in ("", ".")]
    if given.startswith("/") or re.match("[A-Za-z]:", given) or ".." in steps:
        raise UsageError(
            f"{where} names {value!r}, which may lie outside the folder; give paths from the "
            "metadata's own folder downwards."
        )
    return "/".join([*file.split("/")[:-1], *steps])


def _text(value: object, column: str, where: str) -> str:
    text = str(value).strip() if isinstance(value, str | int) else ""
    if not text:
        raise UsageError(
            f"{where} has no name or whole number as {column!r}; complete it or remove the line."
        )
    return text


def _folder(path: str, parts: Collection[str]) -> str:
    """Return the class folder a file lies in; empty if in none."""
    top, *inner = path.split("/")[:-1] or [""]
    return "".join(inner[:1]) if top in parts else top


def _spelling(name: str) -> str:
    return re.sub(r"[\W_]+", " ", name).strip().casefold()
