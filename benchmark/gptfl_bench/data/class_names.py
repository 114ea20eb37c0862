"""Names of classes that readers, folders and label discovery can't tell apart."""

import re
import unicodedata
from collections.abc import Iterable

from gptfl_bench.core.errors import UsageError


def folded(name: str) -> str:
    """Return a name without what spellings of one name differ in; for comparing alone.

    What clients tell the server is :func:`gptfl_bench.labels.discovery.plain`, which keeps hyphens.

    >>> folded("Sea_Lion ") == folded("sea-lion")
    True
    """
    whole = unicodedata.normalize("NFKC", name).casefold()
    return re.sub(r"[\s_-]+", " ", whole).strip()


def check_class_names(names: Iterable[str], where: str) -> None:
    """Refuse two classes whose names are one name.

    Args:
        names: Name of each class.
        where: What has them, for the sentence.

    Raises:
        UsageError: Naming both spellings.
    """
    known: dict[str, str] = {}
    for name in names:
        other = known.setdefault(folded(name), name)
        if other != name:
            raise UsageError(
                f"{where} has the classes {other!r} and {name!r}, which are the same but for case, "
                "blanks, underscores and hyphens; join them or rename one."
            )
