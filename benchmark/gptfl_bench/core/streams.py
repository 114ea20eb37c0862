"""Standard streams that take every text, whatever their encoding."""

import codecs
import os
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from io import TextIOWrapper
from typing import TextIO

_IN_ASCII = {
    "±": "+/-",
    "†": "*",
    "·": "-",
    "×": "x",
    "–": "-",
    "−": "-",
    "—": "-",
    "‘": "'",  # noqa: RUF001 - a sign that is replaced
    "’": "'",  # noqa: RUF001 - likewise
    "“": '"',
    "”": '"',
    "•": "*",
    "⁄": "/",  # noqa: RUF001 - likewise
    "│": "|",
    "┃": "|",
}
"""Signs that read well in ASCII, beside those that Unicode itself takes apart."""
_NEAREST = "gptfl_bench.nearest"


@contextmanager
def any_text() -> Iterator[None]:
    """Let standard output and error take every text inside the block.

    What their encoding lacks is written in ASCII: ``±`` as ``+/-``, ``é`` as ``e``, and a letter
    that has no such form by its number. A stream that was closed takes all and shows nothing.
    """
    with ExitStack() as stack:
        for stream, redirect in ((sys.stdout, redirect_stdout), (sys.stderr, redirect_stderr)):
            if stream is None:
                nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123
                stack.enter_context(redirect(nowhere))
            elif isinstance(stream, TextIOWrapper):
                stack.enter_context(_lenient(stream))
        yield


@contextmanager
def _lenient(stream: TextIOWrapper) -> Iterator[None]:
    before = stream.errors
    stream.reconfigure(errors=_NEAREST)
    try:
        yield
    finally:
        if not stream.closed:
            stream.reconfigure(errors=before)


def discard(stream: TextIO) -> None:
    """Send what a stream still holds, and all that follows, nowhere: its reader or disk is gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _nearest(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    sign = error.object[error.start]
    if "\udc80" <= sign <= "\udcff":
        # A byte of a file's name that was no letter in the first place.
        return bytes([ord(sign) - 0xDC00]), error.start + 1
    parts = unicodedata.normalize("NFKD", sign)
    plain = "".join(_IN_ASCII.get(part, part) for part in parts).encode("ascii", "ignore").decode()
    if not plain and unicodedata.name(sign, "").startswith("BOX DRAWINGS"):
        plain = "-"
    number = f"\\u{ord(sign):04x}" if ord(sign) < 0x10000 else f"\\U{ord(sign):08x}"
    return plain or number, error.start + 1


codecs.register_error(_NEAREST, _nearest)
