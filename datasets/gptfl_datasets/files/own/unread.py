"""Saying which files of a tree were not read."""

from collections import Counter
from collections.abc import Collection, Iterable

_SHOWN = 5
# Text about samples, and what systems leave behind; nobody takes them for samples.
_DOCUMENTS = (
    *(".txt", ".md", ".rst", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml"),
    *(".html", ".pdf", ".bib", ".py", ".ipynb", ".sh", ".ini", ".db", ".lock", ".log"),
)
_NAMES = {"readme", "license", "licence", "copying", "notice", "authors", "citation", "changelog"}


def in_words(names: Iterable[str], left_out: Collection[str], suffixes: tuple[str, ...]) -> str:
    """Return how many files are not read, by their endings; empty if none.

    Args:
        names: The files that were not read.
        left_out: Those of a part left out, whose samples the reader knows about.
        suffixes: Of the files that could be samples.
    """
    counted: Counter[str] = Counter()
    for name in names:
        file = name.rpartition("/")[2].lower()
        stem, dot, ending = file.rpartition(".")
        if file.endswith(suffixes):
            if name not in left_out:
                counted[f".{ending} without a class"] += 1
        elif not file.endswith(_DOCUMENTS) and (stem or file) not in _NAMES:
            counted[f".{ending}" if stem and dot else "without an ending"] += 1
    if not counted:
        return ""
    kinds = [f"{number:,} {kind}" for kind, number in counted.most_common(_SHOWN)]
    if more := sum(counted.values()) - sum(n for _, n in counted.most_common(_SHOWN)):
        kinds.append(f"{more:,} others")
    total = sum(counted.values())
    return f"{total:,} {'file' if total == 1 else 'files'} not read ({', '.join(kinds)})"
