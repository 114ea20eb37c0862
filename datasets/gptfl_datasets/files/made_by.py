"""Who made data that were not recorded: what ``gptfl-bench generate`` writes beside its samples."""

import json
from collections.abc import Iterator

from gptfl_bench.core.errors import UsageError
from gptfl_datasets.files.tree import Tree

_FILES = ("metadata.jsonl", "plan.json")
_LONGEST = 100
_MOST = 20


def makers(tree: Tree) -> tuple[str, ...]:
    """Return the generators that a tree's ``plan.json`` and ``metadata.jsonl`` name, sorted.

    Both are looked for at the top and in its folders, such as ``train``; data without them count
    as recorded, for nothing else tells.

    Raises:
        UsageError: If one of the files is damaged, or names what can't be a generator.
    """
    found: set[str] = set()
    wanted = {n for n in tree.names() if n.count("/") < 2 and n.rpartition("/")[2] in _FILES}
    # An archive would be read from end to end for nothing.
    for name, content in tree.stream(wanted.__contains__) if wanted else ():
        try:
            found.update(_named(content.decode("utf-8"), by_line=name.endswith(".jsonl")))
        # A deeply nested text makes the parser give up.
        except (ValueError, RecursionError) as error:
            raise _damaged(tree, name) from error
        if len(found) > _MOST or any(len(n) > _LONGEST or not n.isprintable() for n in found):
            raise _damaged(tree, name)
    return tuple(sorted(found))


def _named(text: str, *, by_line: bool) -> Iterator[str]:
    # Other ends of lines, such as U+2028, may stand inside a text.
    for part in text.split("\n") if by_line else [text]:
        row = json.loads(part) if part.strip() else None
        name = row.get("generator") if isinstance(row, dict) else None
        if isinstance(name, str) and name:
            yield name


def _damaged(tree: Tree, name: str) -> UsageError:
    return UsageError(
        f"{name!r} of {str(tree.path)!r} should say which generator made the data, and is damaged; "
        "repair it, or remove it if the data were recorded."
    )
