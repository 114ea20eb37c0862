"""Fetches a file once: announced, bounded, resumed where it broke off, and checked.

Until it is whole and right a file lies beside its place, under its name and ``.part``.
"""

import hashlib
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO, Literal
from urllib import request as web
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from filelock import FileLock

from gptfl_bench.core.errors import UsageError

_CHUNK = 1 << 18
_UNKNOWN_BOUND = 4 << 30
"""Most bytes taken of a file whose owner does not say how large it is."""
_WAIT = 1.0
"""Seconds before the second attempt; twice as many before the third, and so on."""


@dataclass(frozen=True)
class Remote:
    """A file that its owner offers, and what is known of it beforehand.

    Attributes:
        url: Where it lies, http or https.
        nbytes: Its size; 0 if the owner does not say.
        sha256: SHA-256 in hex; empty if not known.
        md5: MD5 in hex, for owners who publish no better one; used only without ``sha256``.
        about: Roughly its size, to tell the user where ``nbytes`` is 0; 0 if nobody knows.
    """

    url: str
    nbytes: int
    sha256: str = ""
    md5: str = ""
    about: int = 0

    def __post_init__(self) -> None:
        """Refuse what can't be fetched.

        Raises:
            ValueError: Naming the value and what is allowed.
        """
        if urlsplit(self.url).scheme not in ("http", "https"):
            raise ValueError(f"url={self.url!r} must begin with http:// or https://")
        if self.nbytes < 0:
            raise ValueError(f"nbytes={self.nbytes} must be 0 or more")

    @property
    def size(self) -> str:
        """The size in words."""
        nbytes = self.nbytes or self.about
        if not nbytes:
            return "of unknown size"
        words = f"{nbytes:,} bytes" if nbytes < 1e6 else f"{nbytes / 1e6:,.1f} MB"
        return words if self.nbytes else f"about {words}"


def checksum(
    path: Path,
    kind: Literal["sha256", "md5"],
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """Return the checksum of a file as hex.

    Args:
        path: The file; read in pieces.
        kind: Which checksum.
        progress: Is told the bytes read so far and the file's size.

    Raises:
        UsageError: If the file can't be read.
    """
    digest = hashlib.new(kind, usedforsecurity=False)
    done = 0
    try:
        with path.open("rb") as file:
            nbytes = path.stat().st_size
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                done += len(chunk)
                if progress:
                    progress(done, nbytes)
    except OSError as error:
        raise UsageError(
            f"{path} can't be read ({error.strerror}); check that it is there and readable."
        ) from error
    return digest.hexdigest()


def fetch(
    remote: Remote,
    target: Path,
    *,
    what: str,
    announce: Callable[[str], None],
    progress: Callable[[int, int], None] | None = None,
    timeout: float = 30.0,
    attempts: int = 3,
) -> None:
    """Bring a file to its place; one that is there already is left as it is.

    Two processes do not fetch the same file: the second waits and finds it there. After an
    interruption the same call goes on where it stopped.

    Args:
        remote: The file.
        target: Its place; the folder is made. What is not whole yet lies beside it.
        what: What the file is, for the lines a user reads.
        announce: Is told, before the first byte, what is fetched, how large it is, from where and
            where to; also if another process is waited for.
        progress: Is told the bytes that are there and the size, 0 if unknown.
        timeout: Seconds without a byte after which the connection is given up.
        attempts: How often the transfer is tried if it breaks off, 1 or more.

    Raises:
        UsageError: If there is no connection, the owner does not send the file, it is not what
            was expected, or it can't be written; at most the part and an empty lock file stay.
    """
    lock = FileLock(target.with_name(f".{target.name}.lock"))
    try:
        if target.exists():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        if not _taken(lock):
            announce(f"waiting for another process that fetches {what} to {target}")
            lock.acquire()
        try:
            if not target.exists():
                announce(f"fetching {what}, {remote.size}, from {remote.url} to {target}")
                _Transfer(remote, target, what, progress, timeout, attempts).run()
            # Of no more use: whoever waits for it finds the target there.
            with suppress(OSError):
                Path(lock.lock_file).unlink()
        finally:
            lock.release()
    except BrokenPipeError:
        # Of whoever reads the lines, not of the file.
        raise
    except OSError as error:
        raise UsageError(
            f"{what} can't be written to {target} ({error.strerror or error}); make room "
            "or choose a folder that can be written to, then run the same again."
        ) from error


def _taken(lock: FileLock) -> bool:
    try:
        lock.acquire(timeout=0)
    except TimeoutError:
        return False
    return True


class _Broken(Exception):  # noqa: N818 - no fault yet: the next attempt goes on from here
    """A transfer broke off; the reason is for the user."""


class _Redirects(web.HTTPRedirectHandler):
    """Follows a few redirects, none to other schemes and none away from encryption."""

    max_redirections = 5

    def redirect_request(
        self,
        req: web.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> web.Request | None:
        """Return the next request, or None to let the redirect be the error it then is."""
        to = urlsplit(newurl).scheme
        if to != "https" and (to != "http" or urlsplit(req.full_url).scheme == "https"):
            return None
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> web.OpenerDirector:
    # Not build_opener: its openers also read file: and ftp: addresses.
    opener = web.OpenerDirector()
    for handler in (
        web.ProxyHandler(),
        web.HTTPHandler(),
        web.HTTPSHandler(),
        web.HTTPDefaultErrorHandler(),
        web.HTTPErrorProcessor(),
        web.UnknownHandler(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener


def _first_byte(response: HTTPResponse) -> int:
    """Return the position in the file at which a body begins, -1 if it is not said."""
    if response.status != 206:
        return 0
    match = re.match(r"bytes (\d{1,15})-\d", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else -1


def _pieces(response: HTTPResponse) -> Iterator[bytes]:
    """Yield a body as it comes in, so that only a real silence runs into the timeout.

    Raises:
        _Broken: If the connection is lost.
    """
    try:
        while piece := response.read1(_CHUNK):
            yield piece
    except TimeoutError as error:
        raise _Broken("no more data came") from error
    except (OSError, HTTPException) as error:
        raise _Broken(f"the connection was lost ({type(error).__name__})") from error


@dataclass(frozen=True)
class _Transfer:
    """One file on its way; fields as in :func:`fetch`."""

    remote: Remote
    target: Path
    what: str
    progress: Callable[[int, int], None] | None
    timeout: float
    attempts: int

    @property
    def part(self) -> Path:
        """Where the file lies until it is whole."""
        return self.target.with_name(self.target.name + ".part")

    @property
    def present(self) -> int:
        """Bytes that are there already."""
        return self.part.stat().st_size if self.part.exists() else 0

    def refusal(self, reason: str) -> UsageError:
        """Return the sentence that says why there is no file and how to bring it by hand."""
        return UsageError(
            f"{self.what} can't be fetched from {self.remote.url}: {reason}; run the same again, "
            f"or bring the file ({self.remote.size}) by hand and put it at {self.target}."
        )

    def run(self) -> None:
        """Fetch the part, check it and put it in its place.

        Raises:
            UsageError: As :func:`fetch`.
        """
        remote = self.remote
        kind: Literal["sha256", "md5"] = "md5" if remote.md5 and not remote.sha256 else "sha256"
        expected = (remote.sha256 or remote.md5).lower()
        found = ""
        # If something was kept from an earlier run, that may be what is wrong: once more without.
        for _ in range(2 if self.part.exists() else 1):
            if remote.nbytes and self.present > remote.nbytes:
                self.part.unlink()
            if not remote.nbytes or self.present < remote.nbytes:
                self._fetch_rest()
            found = checksum(self.part, kind) if expected else ""
            if found == expected:
                self.part.replace(self.target)
                return
            self.part.unlink()
        name = {"sha256": "SHA-256", "md5": "MD5"}[kind]
        raise self.refusal(f"what came has the {name} {found} instead of {expected}")

    def _fetch_rest(self) -> None:
        opener = _opener()
        for attempt in range(1, self.attempts + 1):
            try:
                with self._response(opener, self.present) as response:
                    self._write(response)
                return
            except _Broken as error:
                if attempt == self.attempts:
                    raise self.refusal(f"{error}, {self.present:,} bytes are kept") from error
            time.sleep(_WAIT * attempt)

    def _response(self, opener: web.OpenerDirector, offset: int) -> HTTPResponse:
        """Return a response whose body begins at ``offset`` or at the file's first byte."""
        # Compressed on the way, neither sizes nor positions would be those of the file.
        headers = {"User-Agent": "gptfl-bench", "Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        request = web.Request(self.remote.url, headers=headers)
        try:
            response: HTTPResponse = opener.open(request, timeout=self.timeout)
        except HTTPError as error:
            error.close()
            if error.code == 416 and offset:
                return self._response(opener, 0)
            if error.code >= 500:
                raise _Broken(f"the server answers {error.code}") from error
            if error.code < 400:
                raise self.refusal(
                    "it is redirected too often, or to where it may not be fetched from"
                ) from error
            raise self.refusal(f"the server answers {error.code}") from error
        except URLError as error:
            reason = getattr(error.reason, "strerror", None) or error.reason
            raise self.refusal(f"there is no connection ({reason})") from error
        except TimeoutError as error:
            raise _Broken("the server does not answer") from error
        except (OSError, HTTPException, ValueError) as error:
            # ValueError: a redirect to what is no address.
            raise _Broken(f"no proper answer came ({type(error).__name__})") from error
        if _first_byte(response) not in (0, offset):
            response.close()
            if not offset:
                raise self.refusal("the server sends another part than was asked for")
            return self._response(opener, 0)
        return response

    def _write(self, response: HTTPResponse) -> None:
        """Append the body to the part, or begin the part anew if the body does.

        Raises:
            _Broken: If less comes than was announced.
            UsageError: If it is, or becomes, larger than it should be.
        """
        done = _first_byte(response)
        announced = 0 if response.length is None else done + response.length
        expected = self.remote.nbytes or announced
        bound = self.remote.nbytes or _UNKNOWN_BOUND
        # Before a byte is written: an error page, say, must not replace what is kept.
        if announced and (announced != expected or announced > bound):
            raise self.refusal(
                f"the file there has {announced:,} bytes, {bound:,} "
                f"{'were expected' if self.remote.nbytes else 'are the most that is taken'}"
            )
        with self.part.open("ab" if done else "wb") as file:
            for piece in _pieces(response):
                done += len(piece)
                if done > bound:
                    break
                file.write(piece)
                if self.progress:
                    self.progress(done, expected)
        if done > bound:
            self.part.unlink()
            raise self.refusal(f"the server sends more than {bound:,} bytes")
        if done < expected:
            raise _Broken(f"the transfer ended after {done:,} of {expected:,} bytes")
