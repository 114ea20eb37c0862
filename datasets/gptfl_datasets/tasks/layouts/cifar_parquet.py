"""CIFAR as Hugging Face has it: a table in Parquet for each part, with PNG files in a column.

Read with pyarrow, an extra: ``uoft-cs/cifar10`` has the columns ``img`` and ``label``,
``uoft-cs/cifar100`` ``img``, ``fine_label`` and ``coarse_label``.
"""

import io
import json
from typing import TYPE_CHECKING

import numpy as np

from gptfl_bench.core.errors import UsageError
from gptfl_datasets.files.find import Found, Layout
from gptfl_datasets.files.pictures import decode
from gptfl_datasets.files.prepared import Workspace
from gptfl_datasets.tasks.layouts.decoded import CLASSES, SIDE, Decoded, Labelled, check_labels

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

_FOLDERS = {"cifar10": ("plain_text",), "cifar100": ("cifar100",)}
_FORMS = ("{}-00000-of-00001.parquet", "{}/0000.parquet")
"""A part's file in a repository, and in the branch into which the hub converts others."""
LAYOUTS = {
    name: tuple(
        Layout(name, {}, tops, (form.format("train"), form.format("test"))) for form in _FORMS
    )
    for name, tops in _FOLDERS.items()
}
_LABEL = {"cifar10": "label", "cifar100": "fine_label"}
_MOST = 1 << 30
"""Most bytes that a part may unpack to; the larger one takes 120 MB."""


def read(workspace: Workspace, found: Found, dataset: str) -> Decoded:
    """Return what the tables hold.

    Raises:
        UsageError: If pyarrow is missing, or a table is damaged or another.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"{str(found.tree.path)!r} holds {dataset} as Parquet, which needs pyarrow: pip "
            f"install 'gptfl-bench[parquet]', or put the official archive of {dataset} "
            f"(gptfl-bench data {dataset} --prepare) in its place."
        ) from error
    there = set(found.tree.names())
    first, second = next(form.marks for form in LAYOUTS[dataset] if there.issuperset(form.marks))
    train, names = _part(workspace, found.tree.read(first), first, dataset)
    test, _ = _part(workspace, found.tree.read(second), second, dataset)
    return Decoded(
        names,
        train,
        test,
        "Hugging Face's Parquet, not the official files",
        f"Hugging Face's Parquet {found.tree.path.name}",
    )


def _part(
    workspace: Workspace, data: bytes, name: str, dataset: str
) -> tuple[Labelled, tuple[str, ...]]:
    """Return a part's images and the class names its table states."""
    from pyarrow.parquet import ParquetFile

    try:
        table = ParquetFile(io.BytesIO(data))
        about = table.metadata
        nbytes = sum(about.row_group(n).total_byte_size for n in range(about.num_row_groups))
        if nbytes > _MOST:
            raise ValueError(f"it unpacks to {nbytes:,} bytes")
        names = _names(table, dataset)
        x = np.empty((about.num_rows, 3, SIDE, SIDE), np.uint8)
        y = np.empty(about.num_rows, np.int64)
        row = 0
        for batch in table.iter_batches(1000, columns=["img", _LABEL[dataset]]):
            for item in batch.to_pylist():
                picture = decode(item["img"]["bytes"], f"{name}, row {row}", exact=(SIDE, SIDE))
                x[row], y[row] = picture.transpose(2, 0, 1), item[_LABEL[dataset]]
                row += 1
            workspace.move(row, len(x))
    except UsageError:
        raise
    # Damaged bytes make the reader raise nearly anything.
    except Exception as error:
        reason = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
        raise UsageError(
            f"{name!r} is no table of {dataset} as Hugging Face has it ({reason}); fetch it anew, "
            f"or have the official archive brought by gptfl-bench data {dataset} --prepare."
        ) from error
    check_labels(y, dataset, repr(name))
    return (x, y), names


def _names(table: "ParquetFile", dataset: str) -> tuple[str, ...]:
    """Return the class names that Hugging Face's library keeps in a table.

    Raises:
        ValueError: If they are not there, or of another number.
    """
    kept = (table.schema_arrow.metadata or {}).get(b"huggingface", b"{}")
    features = json.loads(kept).get("info", {}).get("features", {})
    names = tuple(map(str, features.get(_LABEL[dataset], {}).get("names", ())))
    if len(names) != CLASSES[dataset]:
        raise ValueError(f"it names {len(names)} classes instead of {CLASSES[dataset]}")
    return names
