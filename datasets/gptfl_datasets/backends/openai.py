"""The wire format of OpenAI's service, which many servers speak, as far as it is used here.

A service is asked over HTTP/1.1 with JSON. Redirects are not followed, so that neither key nor
prompts go where nobody sent them. What may pass (429, 5xx, a lost or silent connection) is tried
again after exponential waits, or after what ``Retry-After`` says.
"""

import ipaddress
import json
import logging
import os
import re
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from http.client import HTTPException, HTTPResponse
from typing import ClassVar, Self, TypeVar
from urllib import request as web
from urllib.error import URLError
from urllib.parse import urlsplit

from gptfl_bench.core.errors import UsageError
from gptfl_bench.data.task import Modality
from gptfl_bench.synthesis.costs import Ledger, exact, ledger
from gptfl_bench.synthesis.generator import Plain
from gptfl_datasets.backends.answers import asked_wait, error_in, printable

S = TypeVar("S")
T = TypeVar("T")

Body = Mapping[str, Plain | list[dict[str, str]]]
"""What is asked for, as it becomes JSON."""

_MODERATED = ("content_policy_violation", "moderation_blocked")
_CHUNK = 1 << 16
_LONGEST_WAIT = 300.0
"""Most seconds that a service may make us wait before a request is tried again."""
_MOST_OF_ERRORS = 1 << 16
_log = logging.getLogger(__name__)


class Moderated(Exception):  # noqa: N818 - an answer that callers count, no fault
    """The service refuses this prompt for what it says."""


class _Passing(Exception):  # noqa: N818 - no fault yet: the next attempt may succeed
    """A request failed in a way that may pass; ``wait`` is what the service asked for."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass(frozen=True)
class Service:
    """A service and how patiently it is asked; none of it but address and model matters to answers.

    Attributes:
        base_url: Where it is, up to and with the version: ``https://host/v1``.
        model: The model's name there.
        key_variable: The environment variable that holds the key; empty to send none. The key is
            read at each request and kept nowhere.
        timeout: Seconds after which an answer is given up.
        attempts: How often a request is tried.
        first_wait: Seconds before the second attempt; twice as many before the third, and so on.
        workers: Requests on their way at once.
        price: Money for one request, in any currency. What the service answered with success or
            refused for what it says counts as charged for, and so does an answer that never came.
        budget: Most money that one process may spend on this service, in the same currency.
    """

    base_url: str | None = None
    model: str | None = None
    key_variable: str = "OPENAI_API_KEY"
    timeout: float = 120.0
    attempts: int = 5
    first_wait: float = 1.0
    workers: int = 4
    price: float | None = None
    budget: float | None = None

    setting: ClassVar[str] = "generators.service"
    """Where its fields are set."""

    instead: ClassVar[str] = "set synthetic.generator=folder to use data that were made before"
    """What to do without it."""

    def __post_init__(self) -> None:
        """Refuse values outside their range.

        Raises:
            ValueError: Naming the field and what is allowed; what may be secret is not shown.
        """
        if self.base_url is not None:
            url = urlsplit(self.base_url)
            if "@" in url.netloc or url.query or url.fragment:
                raise ValueError(
                    "base_url must be an address without user, password, question mark or hash; "
                    "the key belongs in the variable that key_variable names"
                )
            fit = url.scheme in ("http", "https") and url.hostname
            if not (fit and re.fullmatch(r"[\x21-\x7e]+", self.base_url)):
                raise ValueError(
                    f"base_url={self.base_url!r} must be http:// or https://, a host and a path"
                )
        # Whoever pastes the key itself here must not find it in a record.
        if not re.fullmatch(r"([A-Za-z_][A-Za-z0-9_]*)?", self.key_variable):
            raise ValueError(
                "key_variable must be the name of an environment variable, or empty to send no key"
            )
        if not 0 < self.timeout <= 3600:
            raise ValueError(f"timeout={self.timeout} must be above 0 and at most 3600 seconds")
        if not 1 <= self.attempts <= 20:
            raise ValueError(f"attempts={self.attempts} must be from 1 to 20")
        if not 0 <= self.first_wait <= 60:
            raise ValueError(f"first_wait={self.first_wait} must be from 0 to 60 seconds")
        if not 1 <= self.workers <= 64:
            raise ValueError(f"workers={self.workers} must be from 1 to 64")
        if self.price is not None and not 0 < self.price <= 1_000_000:
            raise ValueError(f"price={self.price} must be above 0 and at most 1000000")
        if self.budget is not None and not 0 <= self.budget <= 1_000_000_000:
            raise ValueError(f"budget={self.budget} must be from 0 to 1000000000")
        if self.budget is not None and self.price is None:
            raise ValueError(f"budget={self.budget} needs a price, too")

    def check(self, requests: int = 1) -> None:
        """Refuse to work without address, model, key or the money; nothing is sent.

        Args:
            requests: How many the budget must pay for.

        Raises:
            BudgetSpent: If it does not.
            UsageError: Naming what is missing.
        """
        for name, example in (("base_url", "https://api.openai.com/v1"), ("model", "NAME")):
            if not getattr(self, name):
                raise UsageError(
                    f"{self._name!r} asks a service over the network: set {self.setting}.{name}="
                    f"{example} as the service says, or {self.instead}."
                )
        self._key()
        if not self._ledger.covers(requests, self.price, self.budget):
            raise self._ledger.refusal(self.price, self.budget)

    @property
    def spent(self) -> float:
        """Money that this process has spent on the service."""
        return self._ledger.spent

    def requests(self, count: int, modality: Modality) -> int:
        """Return how many requests ``count`` samples take if the service refuses no prompt."""
        return count

    def within(self, money: float) -> Self:
        """Return the same, with a budget of ``money`` beside what this process has spent."""
        return replace(self, budget=float(exact(money) + exact(self.spent)))

    def each(
        self,
        ask: Callable[[S], T],
        asked: Sequence[S],
        wanted: Callable[[], int] | None = None,
    ) -> Generator[T, None, None]:
        """Yield what ``ask`` returns for each of ``asked``, in order, several on their way.

        Never are more on their way than ``workers``, than the budget pays for and than ``wanted``
        tells: an answer that was paid and not yet handed out is lost if something fails.
        """
        ahead: deque[Future[T]] = deque()

        def room() -> bool:
            most = self.workers if wanted is None else min(self.workers, wanted())
            pays = self._ledger.covers(len(ahead) + 1, self.price, self.budget)
            return pays and len(ahead) < most

        with ThreadPoolExecutor(self.workers) as pool:
            for item in asked:
                while ahead and not room():
                    yield ahead.popleft().result()
                ahead.append(pool.submit(ask, item))
            while ahead:
                yield ahead.popleft().result()

    def post(self, path: str, body: Body, *, media_type: str, most: int) -> bytes:
        """Return the body of the answer to a request.

        Args:
            path: What follows ``base_url``.
            body: What is sent as JSON.
            media_type: A regular expression that the answer's media type must match whole.
            most: Most bytes of an answer that are taken.

        Raises:
            Moderated: If the service refuses the prompt.
            UsageError: If the service does not answer as it should.
        """
        for attempt in range(1, self.attempts + 1):
            try:
                return self._post(path, json.dumps(body).encode(), media_type, most)
            except _Passing as error:
                wait = min(self.first_wait * 2 ** (attempt - 1), _LONGEST_WAIT)
                wait = wait if error.wait is None else error.wait
                if attempt == self.attempts or wait > _LONGEST_WAIT:
                    tried = f"tried {attempt} times" if attempt > 1 else "tried once"
                    asks = f", and asks to wait {wait:,.0f} seconds" if wait > _LONGEST_WAIT else ""
                    raise self.refusal(
                        f"{error} ({tried}{asks})", "run the same again later"
                    ) from error
                _log.info("%s: %s; trying again in %.1f seconds", self._name, error, wait)
            time.sleep(wait)
        raise AssertionError("attempts is at least 1")

    def post_for_json(self, path: str, body: Body, *, most: int) -> object:
        """Return the JSON that answers a request; arguments and errors as in :meth:`post`."""
        answer = self.post(path, body, media_type="application/json", most=most)
        try:
            return json.loads(answer)
        # Deep nesting is refused by Python in its own way.
        except (ValueError, RecursionError) as error:
            raise self.refusal("its answer is no JSON") from error

    def refusal(self, reason: str, remedy: str = "") -> UsageError:
        """Return the sentence that says why the service can't be used."""
        also = f"{remedy}, or " if remedy else ""
        return UsageError(
            f"{self._name!r} can't use the service at {self.base_url}: {reason}; {also}"
            f"{self.instead}."
        )

    @property
    def _ledger(self) -> Ledger:
        return ledger(self.setting, f"{self.base_url} {self.model}")

    @property
    def _name(self) -> str:
        return self.setting.rpartition(".")[2]

    @cached_property
    def _on_this_machine(self) -> bool:
        host = urlsplit(self.base_url or "").hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    @cached_property
    def _opener(self) -> web.OpenerDirector:
        # Not build_opener: its openers follow redirects and read file: and ftp: addresses. Without
        # its error handlers any status is an answer.
        opener = web.OpenerDirector()
        proxies = web.ProxyHandler({} if self._on_this_machine else None)
        for handler in (proxies, web.HTTPHandler(), web.HTTPSHandler(), web.UnknownHandler()):
            opener.add_handler(handler)
        return opener

    def _key(self) -> str:
        """Return the key, empty if none is to be sent.

        Raises:
            UsageError: If there is none, it can't be one, or it would travel unencrypted.
        """
        variable = self.key_variable
        if not variable:
            return ""
        key = os.environ.get(variable, "").strip()
        none = f"set {self.setting}.key_variable= for a service that wants none"
        if not key:
            raise self.refusal(
                f"the environment variable {variable} holds no key", f"set it, {none}"
            )
        # The error of http.client for these would show the key.
        if not re.fullmatch(r"[\x21-\x7e]+", key):
            raise self.refusal(
                f"the variable {variable} holds characters that no key has", "set it to one"
            )
        if not self._on_this_machine and urlsplit(self.base_url or "").scheme != "https":
            raise self.refusal(
                f"the key in {variable} would travel unencrypted", f"use https, {none}"
            )
        return key

    def _post(self, path: str, data: bytes, media_type: str, most: int) -> bytes:
        """Return the body of the answer to one request.

        Raises:
            _Passing: If another attempt may succeed.
            Moderated: If the service refuses the prompt.
            UsageError: If no attempt will succeed.
        """
        key = self._key()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "gptfl-bench",
            # Compressed, a small answer could hold a large one.
            "Accept-Encoding": "identity",
        }
        request = web.Request(f"{(self.base_url or '').rstrip('/')}/{path}", data, headers)
        if key:
            request.add_unredirected_header("Authorization", f"Bearer {key}")
        with self._ledger.request(self.price, self.budget) as charge:
            return self._exchange(request, media_type, most, key, charge)

    def _exchange(
        self, request: web.Request, media_type: str, most: int, key: str, charge: Callable[[], None]
    ) -> bytes:
        """Send a request and return the body of the answer; ``charge`` if money is due for it."""
        deadline = time.monotonic() + self.timeout
        try:
            with self._opener.open(request, timeout=self.timeout) as response:
                good = 200 <= response.status < 300
                if good:
                    charge()
                body = self._read(response, deadline, most if good else _MOST_OF_ERRORS, good)
        except URLError as error:
            if isinstance(error.reason, TimeoutError):
                raise _Passing(f"no connection came in {self.timeout:g} seconds") from error
            reason = getattr(error.reason, "strerror", None) or error.reason
            raise _Passing(f"there is no connection ({reason})") from error
        except (OSError, HTTPException) as error:
            # It was sent, and nobody knows what became of it.
            charge()
            if isinstance(error, TimeoutError):
                raise _Passing(f"no whole answer came in {self.timeout:g} seconds") from error
            raise _Passing(f"the connection was lost ({type(error).__name__})") from error
        if not good:
            try:
                self._raise_for(response, body, key)
            except Moderated:
                charge()
                raise
        found = response.headers.get_content_type()
        if not re.fullmatch(media_type, found):
            raise self.refusal(f"its answer is {printable(found)}, not {media_type}")
        return body

    def _read(self, response: HTTPResponse, deadline: float, most: int, whole: bool) -> bytes:
        """Return a body of at most ``most`` bytes; a longer one is cut unless wanted ``whole``."""
        body = bytearray()
        while piece := response.read1(_CHUNK):
            body += piece
            if len(body) > most:
                if whole:
                    raise self.refusal(f"it sends more than {most:,} bytes")
                break
            if time.monotonic() > deadline:
                raise TimeoutError
        if whole and response.length:
            raise _Passing(f"the answer ended {response.length:,} bytes too early")
        return bytes(body)

    def _raise_for(self, response: HTTPResponse, body: bytes, key: str) -> None:
        """Raise what fits a status that is no success."""
        status, wait = response.status, asked_wait(response.headers.get("Retry-After"))
        code, message = error_in(body)
        # Some repeat what they were sent.
        message = printable(message.replace(key, "***") if key else message)
        said = f": {message}" if message else ""
        if status == 400 and code in _MODERATED:
            raise Moderated
        if 300 <= status < 400:
            raise self.refusal(
                f"it redirects elsewhere ({status}), which is not followed",
                f"set {self.setting}.base_url to the address itself",
            )
        if status in (401, 403):
            # Its message is not shown: services repeat parts of the key in it.
            sent = f"the key in the variable {self.key_variable}" if key else "no key"
            raise self.refusal(
                f"it does not accept {sent} ({status})",
                f"set a valid key in the variable that {self.setting}.key_variable names",
            )
        if status in (408, 409, 429) and code != "insufficient_quota":
            raise _Passing(f"it is too busy ({status}{said})", wait)
        if status >= 500:
            raise _Passing(f"it fails ({status}{said})", wait)
        raise self.refusal(f"it answers {status}{said}")
