import errno
import hashlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast
from urllib.request import Request

import pytest

from gptfl_bench.core.errors import UsageError
from gptfl_datasets.files import download
from gptfl_datasets.files.download import Remote, checksum, fetch

BODY = bytes(range(256)) * 400
SHA256 = hashlib.sha256(BODY).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Does what its owner's next act says."""

    server: "Owner"

    def do_GET(self) -> None:
        self.server.asked.append(self.headers.get("Range"))
        acts = self.server.acts
        acts[min(len(self.server.asked), len(acts)) - 1](self)

    def answer(self, code: int, body: bytes, **headers: object) -> None:
        """Send a body; keywords are headers, and there is no Content-Length but what they say."""
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


Act = Callable[[Handler], None]


class Owner(ThreadingHTTPServer):
    """A server on loopback that keeps the Range header of each request, None without one."""

    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.acts: list[Act] = [well]
        self.asked: list[str | None] = []
        self.woken = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/data.bin"
        self.remote = Remote(self.url, len(BODY), SHA256)


def well(handler: Handler) -> None:
    """Send what was asked for, as Range says."""
    asked = handler.headers.get("Range")
    start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
    said = f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"
    sent(206 if asked else 200, BODY[start:], Content_Range=said)(handler)


def sent(code: int, body: bytes = b"no", **headers: object) -> Act:
    length = {"Content_Length": len(BODY if code == 200 else body)}
    return lambda handler: handler.answer(code, body, **{**length, **headers})


without_range = sent(200, BODY)
half: Act = sent(200, BODY[: len(BODY) // 2])


def stall(handler: Handler) -> None:
    sent(200, BODY[:1000])(handler)
    handler.server.woken.wait(5)


def reset(handler: Handler) -> None:
    """Send a piece, then cut the connection with RST instead of FIN."""
    sent(200, BODY[:1000])(handler)
    linger = struct.pack("ii", 1, 0)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    handler.connection.close()


def silent(handler: Handler) -> None:
    handler.close_connection = True


@pytest.fixture
def owner(monkeypatch: pytest.MonkeyPatch) -> Iterator[Owner]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "_WAIT", 0)
    with Owner() as owner:
        thread = threading.Thread(target=owner.serve_forever, args=(0.01,))
        thread.start()
        yield owner
        owner.woken.set()
        owner.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "data" / "toy.bin"


def bring(remote: Remote, target: Path, **settings: Any) -> list[str]:
    """Fetch, check what came, and return the lines that were announced."""
    lines: list[str] = []
    fetch(remote, target, what="the toy data", announce=lines.append, **settings)
    assert target.read_bytes() == BODY
    return lines


def part_of(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def keep(target: Path, data: bytes) -> None:
    """Leave a part as an interrupted run does."""
    target.parent.mkdir(parents=True)
    part_of(target).write_bytes(data)


def left(target: Path) -> list[str]:
    """What lies in the folder beside the lock, which is hidden."""
    return sorted(path.name for path in target.parent.glob("[!.]*"))


def refused(remote: Remote, target: Path, **settings: Any) -> str:
    with pytest.raises(UsageError) as caught:
        bring(remote, target, **settings)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert str(target) in sentence
    assert not target.exists()
    return sentence


def test_a_file_comes_whole_with_one_line_before(owner: Owner, target: Path) -> None:
    seen: list[tuple[int, int]] = []
    lines: list[tuple[str, int]] = []
    fetch(
        owner.remote,
        target,
        what="the toy data",
        announce=lambda line: lines.append((line, len(owner.asked))),
        progress=lambda done, total: seen.append((done, total)),
    )
    ((line, asked),) = lines
    assert asked == 0
    assert target.read_bytes() == BODY
    for part in ("the toy data", "102,400 bytes", owner.url, str(target)):
        assert part in line
    assert list(target.parent.iterdir()) == [target]
    assert seen[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_what_is_there_stays_and_nothing_is_asked(owner: Owner, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(BODY)
    assert bring(Remote(owner.url, 5, "0" * 64), target) == []
    assert owner.asked == []
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("md5", ["", hashlib.md5(BODY).hexdigest().upper()])
def test_size_and_checksum_may_be_unknown(owner: Owner, target: Path, md5: str) -> None:
    (line,) = bring(Remote(owner.url, 0, md5=md5), target)
    assert "unknown size" in line


@pytest.mark.parametrize("act", [half, stall, reset])
def test_a_broken_transfer_goes_on_where_it_stopped(owner: Owner, target: Path, act: Act) -> None:
    owner.acts = [act, well]
    bring(owner.remote, target, timeout=0.3)
    first, second = owner.asked
    assert first is None
    # A reset may throw away what was sent just before.
    anew = [None] if act is reset else []
    assert second in [f"bytes={len(BODY) // 2 if act is half else 1000}-", *anew]


@pytest.mark.parametrize("act", [silent, sent(503)])
def test_a_server_that_is_busy_is_asked_again(owner: Owner, target: Path, act: Act) -> None:
    owner.acts = [act, act, well]
    bring(owner.remote, target)
    assert owner.asked == [None] * 3


@pytest.mark.parametrize("act", [half, silent, stall, sent(503)])
def test_attempts_are_counted_and_the_part_is_kept(owner: Owner, target: Path, act: Act) -> None:
    owner.acts = [act]
    sentence = refused(owner.remote, target, timeout=0.1, attempts=2)
    assert owner.url in sentence
    assert len(owner.asked) == 2
    size = dict[Act, int]({half: len(BODY) // 2, stall: 1000}).get(act, 0)
    assert f"{size:,} bytes are kept" in sentence
    assert left(target) == (["toy.bin.part"] if size else [])
    assert not size or part_of(target).read_bytes() == BODY[:size]


@pytest.mark.parametrize(("kept", "asked"), [(100_000, ["bytes=100000-"]), (len(BODY), [])])
def test_only_the_rest_is_asked_for(owner: Owner, target: Path, kept: int, asked: object) -> None:
    keep(target, BODY[:kept])
    seen: list[int] = []
    bring(owner.remote, target, progress=lambda done, total: seen.append(done))
    assert owner.asked == asked
    assert all(done > kept for done in seen)


# None of them begins where the part ends.
WRONG = ("bytes 4000-102399/102400", "bytes */102400", "nonsense", "")


@pytest.mark.parametrize(
    "act",
    [without_range, sent(416), *(sent(206, BODY[5000:], Content_Range=said) for said in WRONG)],
)
def test_where_ranges_are_not_served_it_starts_over(owner: Owner, target: Path, act: Act) -> None:
    keep(target, BODY[:5000])
    owner.acts = [act, well]
    bring(owner.remote, target)
    assert owner.asked == ["bytes=5000-", None][: 1 if act is without_range else 2]


@pytest.mark.parametrize("kept", [b"x" * 5000, b"x" * len(BODY), BODY + b"x"])
def test_a_wrong_old_part_is_given_up_once(owner: Owner, target: Path, kept: bytes) -> None:
    keep(target, kept)
    bring(owner.remote, target)
    assert owner.asked[-1] is None


@pytest.mark.parametrize("kept", [b"", b"x" * 5000])
@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_a_wrong_checksum_is_refused(owner: Owner, target: Path, kind: str, kept: bytes) -> None:
    if kept:
        keep(target, kept)
    wrong, found = (hashlib.new(kind, data).hexdigest() for data in (b"other", BODY))
    remote = Remote(owner.url, len(BODY), **cast(Any, {kind: wrong}))
    assert f"{found} instead of {wrong}" in refused(remote, target)
    assert left(target) == []
    assert len(owner.asked) == (2 if kept else 1)


@pytest.mark.parametrize("nbytes", [len(BODY), 0])
def test_more_than_allowed_is_refused(
    owner: Owner, target: Path, nbytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_UNKNOWN_BOUND", len(BODY))

    def watch(done: int, total: int) -> None:
        assert part_of(target).stat().st_size <= done <= len(BODY)

    owner.acts = [lambda handler: handler.answer(200, BODY + b"more")]
    assert "more than 102,400 bytes" in refused(Remote(owner.url, nbytes), target, progress=watch)
    assert left(target) == []
    assert len(owner.asked) == 1


@pytest.mark.parametrize("said", [len(BODY) + 1, len(BODY) - 1, 1 << 50])
def test_another_size_is_refused_and_the_part_kept(owner: Owner, target: Path, said: int) -> None:
    keep(target, BODY[:5000])
    owner.acts = [sent(200, BODY, Content_Length=said)]
    assert f"{said:,} bytes" in refused(owner.remote, target)
    assert part_of(target).read_bytes() == BODY[:5000]
    assert len(owner.asked) == 1


def test_a_length_that_is_a_lie_is_found_out(owner: Owner, target: Path) -> None:
    owner.acts = [sent(200, BODY, Content_Length=len(BODY) + 9)]
    assert "102,400 of 102,409" in refused(Remote(owner.url, 0), target, attempts=1)


@pytest.mark.parametrize("code", [404, 403, 429])
def test_a_refusal_of_the_server_is_not_tried_again(owner: Owner, target: Path, code: int) -> None:
    owner.acts = [sent(code)]
    assert f"answers {code}" in refused(owner.remote, target)
    assert len(owner.asked) == 1
    assert left(target) == []


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed_with_its_range(owner: Owner, target: Path, code: int) -> None:
    keep(target, BODY[:5000])
    owner.acts = [sent(code, Location="/elsewhere"), well]
    bring(owner.remote, target)
    assert owner.asked == ["bytes=5000-"] * 2


@pytest.mark.parametrize(
    ("location", "asked", "said"),
    [
        ("/data.bin", 5, "redirected too often"),
        ("/{}", 6, "redirected too often"),
        *((url, 1, "redirected") for url in ("file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x")),
        ("http://[x/", 3, "no proper answer"),
    ],
)
def test_a_redirect_to_nowhere_is_refused(
    owner: Owner, target: Path, location: str, asked: int, said: str
) -> None:
    owner.acts = [lambda act: sent(302, Location=location.format(len(owner.asked)))(act)]
    assert said in refused(owner.remote, target)
    assert len(owner.asked) == asked
    assert left(target) == []


def test_a_redirect_never_gives_up_encryption() -> None:
    def followed(start: str, to: str) -> bool:
        follow: Any = download._Redirects().redirect_request
        return follow(Request(f"{start}://a/x"), None, 302, "", {}, f"{to}://b/x") is not None

    assert followed("https", "https")
    assert followed("http", "https")
    assert not followed("https", "http")


def test_two_at_once_fetch_once(owner: Owner, target: Path) -> None:
    def slow(handler: Handler) -> None:
        sent(200, BODY[:1000])(handler)
        owner.woken.wait(0.3)
        handler.wfile.write(BODY[1000:])

    owner.acts = [slow]
    with ThreadPoolExecutor(2) as pool:
        lines = list(pool.map(lambda _: bring(owner.remote, target), range(2)))
    assert len(owner.asked) == 1
    assert sorted(line.split()[0] for (line,) in lines) == ["fetching", "waiting"]
    assert list(target.parent.iterdir()) == [target]


def test_an_interrupted_fetch_goes_on_later(owner: Owner, target: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    owner.acts = [half, well]
    with pytest.raises(KeyboardInterrupt):
        bring(owner.remote, target, progress=interrupt)
    kept = len(part_of(target).read_bytes())
    assert 0 < kept <= len(BODY) // 2
    bring(owner.remote, target)
    assert owner.asked == [None, f"bytes={kept}-"]


def test_offline_says_how_to_bring_it_by_hand(
    owner: Owner, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner.shutdown()
    owner.server_close()
    assert "there is no connection (Connection refused)" in refused(owner.remote, target)

    def unknown(*args: object, **settings: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    remote = Remote("https://data.example.org/toy.bin", 170_498_071, SHA256)
    sentence = refused(remote, target)
    for part in ("the toy data", remote.url, "170.5 MB", str(target), "Name or service not known"):
        assert part in sentence


@pytest.mark.parametrize("call", ["mkdir", "open", "replace"])
def test_a_full_disk_is_a_sentence(
    owner: Owner, target: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **settings: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, call, full)
    assert "No space left on device" in refused(Remote(owner.url, len(BODY)), target)
    assert len(owner.asked) == (0 if call == "mkdir" else 1)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://a/b", "data.bin", ""])
def test_only_the_web_is_fetched_from(url: str) -> None:
    with pytest.raises(ValueError, match="http"):
        Remote(url, 1)


def test_checksums_are_those_of_the_whole_file(tmp_path: Path) -> None:
    path, data = tmp_path / "file", BODY * 11
    path.write_bytes(data)
    seen: list[tuple[int, int]] = []
    found = checksum(path, "sha256", lambda *at: seen.append(at))
    assert found == hashlib.sha256(data).hexdigest()
    assert checksum(path, "md5") == hashlib.md5(data).hexdigest()
    assert len(seen) > 1
    assert seen[-1] == (len(data), len(data))
    with pytest.raises(UsageError, match=r"gone can't be read"):
        checksum(tmp_path / "gone", "md5")
