"""Fetching Kite's dump. It is public: no login, no key; the answer is CSV, usually gzip.

It goes to a file and from there the way of any other dump, so that a broken answer changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

from alpha_cli.core.errors import Unavailable, UsageError
from alpha_cli.core.text import printable
from alpha_cli.core.version import __version__

if TYPE_CHECKING:
    from urllib.request import OpenerDirector

URL = "https://api.kite.trade/instruments"

MAX_BYTES = 64 << 20  # of an answer; compressed it has about 2 MB
TRIES = 3
PAUSE = 0.5  # seconds before the second try, twice that before the third
TIMEOUT = 10.0  # seconds without a byte
DEADLINE = 120.0  # seconds for one try in all; a server that trickles is no better than one that hangs
_CHUNK = 1 << 16
_SERVER_ERROR, _TOO_MANY = 500, 429
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

#: Told of bytes that came, and how many there are to be, if that is known.
Progress = Callable[[int, int | None], object]


class _Again(Exception):
    """This try failed in a way that may pass."""


def check_url(url: str) -> str:
    """`url`, if it is one that a dump may be taken from: https, or http on this machine. Raises `UsageError`."""
    try:
        parts = urlsplit(url)
        allowed = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
        is_plain = url.isascii() and url.isprintable() and " " not in url
        if not allowed or not parts.hostname or parts.port == 0 or not is_plain:
            raise ValueError
    except ValueError:
        raise UsageError(f"--url {printable(url)}: write https://…; http is for this machine only") from None
    return url


def fetch(url: str, to: Path, progress: Progress | None = None, pause: Callable[[float], object] = time.sleep) -> None:
    """Write what `url` answers to the file `to`. Raises `Unavailable` once the last try has failed.

    A server error, a refused or broken connection, silence and a short answer are tried again; what the server
    says for good (404, a page, a redirect elsewhere) is not.
    """
    opener = _opener()
    for number in range(1, TRIES + 1):
        try:
            _fetch_once(opener, url, to, progress)
        except _Again as failed:
            if number == TRIES:
                raise Unavailable(f"{url}: {failed} ({TRIES} tries); try later, or load a dump from a file") from None
            pause(PAUSE * 2 ** (number - 1))
        else:
            return


def _opener() -> OpenerDirector:
    """What opens a URL: certificates are verified; a redirect may only lead where `--url` could."""
    import ssl
    from urllib.request import HTTPRedirectHandler, HTTPSHandler, build_opener

    class Redirects(HTTPRedirectHandler):
        def redirect_request(self, *args: object) -> object:  # type: ignore[override]
            check_url(str(args[-1]))
            return super().redirect_request(*args)  # type: ignore[arg-type]

    return build_opener(Redirects(), HTTPSHandler(context=ssl.create_default_context()))


def _fetch_once(opener: OpenerDirector, url: str, to: Path, progress: Progress | None) -> None:
    from http.client import HTTPException
    from ssl import SSLCertVerificationError, SSLError
    from urllib.error import HTTPError, URLError
    from urllib.request import Request

    headers = {"User-Agent": f"alpha/{__version__}", "X-Kite-Version": "3", "Accept-Encoding": "gzip"}
    try:
        with opener.open(Request(url, headers=headers), timeout=TIMEOUT) as answer, to.open("wb") as file:  # noqa: S310
            _copy(answer, file, progress)
    except HTTPError as error:
        with error:
            said = f"the server answers {error.code} {printable(error.reason or '', 60)}"
        if error.code >= _SERVER_ERROR or error.code == _TOO_MANY:
            raise _Again(said) from None
        raise Unavailable(f"{url}: {said}; is the URL right?") from None
    except UsageError:
        raise Unavailable(f"{url}: redirects to a place that is not https") from None
    except URLError as error:
        if isinstance(error.reason, SSLCertVerificationError):
            raise Unavailable(f"{url}: its certificate cannot be verified: {error.reason.verify_message}") from None
        raise _Again(f"no connection: {printable(str(error.reason), 120)}") from None
    except TimeoutError:
        raise _Again(f"no answer within {TIMEOUT:g} s") from None
    except (HTTPException, ConnectionError, SSLError) as error:
        raise _Again(f"the connection broke: {printable(str(error) or type(error).__name__, 120)}") from None
    _check_kind(url, to)


def _copy(answer: IO[bytes], file: IO[bytes], progress: Progress | None) -> None:
    """The whole body; Python itself does not mind one that is shorter than announced."""
    length = answer.headers.get("Content-Length", "")  # type: ignore[attr-defined]
    announced = int(length) if length.isdecimal() else None
    total, end = 0, time.monotonic() + DEADLINE
    while chunk := answer.read(_CHUNK):
        total += len(chunk)
        if total > MAX_BYTES:
            raise Unavailable(f"the answer has more than {MAX_BYTES} bytes, which no dump has")
        if time.monotonic() > end:
            raise _Again(f"not all of it came within {DEADLINE:g} s")
        file.write(chunk)
        if progress is not None:
            progress(len(chunk), announced)
    if announced is not None and total != announced:
        raise _Again(f"{total} bytes came of {announced}")


def _check_kind(url: str, path: Path) -> None:
    """An error page or an error in JSON, with status 200, is not a dump that is wrong: the service is."""
    with path.open("rb") as file:
        beginning = file.read(512).lstrip()
    if beginning[:1] in {b"<", b"{", b""}:
        what = {b"<": "a web page", b"{": "JSON"}.get(beginning[:1], "nothing")
        said = printable(" ".join(beginning.decode("utf-8", "replace").split()), 100)
        raise Unavailable(f"{url}: answers with {what} instead of CSV: {said}" if said else f"{url}: answers nothing")
