"""Reading what services answer: nothing in it is taken to be as it should."""

import json
import math
import time
from email.utils import parsedate_to_datetime


def found_at(answer: object, *keys: str | int) -> object:
    """Return what is in JSON at names of fields and places in lists; None if nothing is.

    >>> found_at({"data": [{"b64_json": "iVBO"}]}, "data", 0, "b64_json")
    'iVBO'
    """
    for key in keys:
        if isinstance(answer, dict):
            answer = answer.get(key)
        elif isinstance(answer, list) and isinstance(key, int) and key < len(answer):
            answer = answer[key]
        else:
            return None
    return answer


def asked_wait(retry_after: str | None) -> float | None:
    """Return how long a ``Retry-After`` header asks to wait, None without a proper one."""
    if not retry_after:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(retry_after).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def error_in(body: bytes) -> tuple[str, str]:
    """Return code and message of an error's JSON, empty where there are none."""
    try:
        error = found_at(json.loads(body), "error")
    except (ValueError, RecursionError):
        return "", ""
    code = found_at(error, "code")
    message = error if isinstance(error, str) else found_at(error, "message")
    return code if isinstance(code, str) else "", message if isinstance(message, str) else ""


def printable(text: str) -> str:
    """Return what a service said as a short line."""
    kept = "".join(sign if sign.isprintable() else " " for sign in text[:1000])
    return " ".join(kept.split())[:200].rstrip(".")
