"""Downloading Kite's dump. It is public, without login or key; the answer is CSV, usually gzip.

It is written to a file and then read like any other dump, so that a broken answer changes nothing.
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

MAX_BYTES = 64 << 20  # of an answer; a compressed dump has about 2 MB
TRIES = 3
PAUSE = 0.5  # seconds before the second try; double before the third
TIMEOUT = 10.0  # seconds without a byte
DEADLINE = 120.0  # seconds for one try in all, for a server that is too slow
_CHUNK = 1 << 16
_SERVER_ERROR, _TOO_MANY = 500, 429
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

#: Called with the number of new bytes, and the total if that is known.
Progress = Callable[[int, int | None], object]


class _Retry(Exception):
    """This try failed for a reason that may be temporary."""


def check_url(url: str) -> str:
    """Return `url` if it is https, or http on this machine. Raises `UsageError`."""
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
    """Write the answer of `url` to the file `to`. Raises `Unavailable` when the last try has failed.

    Server errors, broken connections, timeouts and short answers are retried; final answers (404, a web page, a
    redirect elsewhere) are not.
    """
    opener = _opener()
    for number in range(1, TRIES + 1):
        try:
            _fetch_once(opener, url, to, progress)
        except _Retry as failed:
            if number == TRIES:
                raise Unavailable(f"{url}: {failed} ({TRIES} tries); try later, or load a dump from a file") from None
            pause(PAUSE * 2 ** (number - 1))
        else:
            return


def _opener() -> OpenerDirector:
    """Return an opener that verifies certificates and allows redirects only to URLs that `--url` allows."""
    import ssl
    from urllib.request import HTTPRedirectHandler, HTTPSHandler, build_opener

    class Redirects(HTTPRedirectHandler):
        def redirect_request(self, *args: object) -> object:  # type: ignore[override]
            check_url(str(args[-1]))
            return super().redirect_request(*args)  # type: ignore[arg-type]

    return build_opener(Redirects(), HTTPSHandler(context=ssl.create_default_context()))


def _fetch_once(opener: OpenerDirector, url: str, to: Path, progress: Progress | None) -> None:
    """Raise `_Retry` if it may work later, `Unavailable` if not."""
    from http.client import HTTPException
    from ssl import SSLError
    from urllib.error import HTTPError, URLError
    from urllib.request import Request

    headers = {"User-Agent": f"alpha/{__version__}", "X-Kite-Version": "3", "Accept-Encoding": "gzip"}
    try:
        with opener.open(Request(url, headers=headers), timeout=TIMEOUT) as answer, to.open("wb") as file:  # noqa: S310
            _copy(answer, file, progress)
    except HTTPError as error:
        with error:
            raise _refused(url, error.code, error.reason) from None
    except UsageError:
        raise Unavailable(f"{url}: redirects to a place that is not https") from None
    except URLError as error:
        raise _unreachable(url, error.reason) from None
    except TimeoutError:
        raise _Retry(f"no answer within {TIMEOUT:g} s") from None
    except (HTTPException, ConnectionError, SSLError) as error:
        raise _Retry(f"the connection broke: {printable(str(error) or type(error).__name__, 120)}") from None
    _check_kind(url, to)


def _refused(url: str, code: int, reason: str | None) -> Exception:
    """Return the error for an HTTP status that is not 200."""
    answer = f"the server answers {code} {printable(reason or '', 60)}"
    if code >= _SERVER_ERROR or code == _TOO_MANY:
        return _Retry(answer)
    return Unavailable(f"{url}: {answer}; is the URL right?")


def _unreachable(url: str, reason: object) -> Exception:
    """Return the error for a server that cannot be reached."""
    from ssl import SSLCertVerificationError

    if isinstance(reason, SSLCertVerificationError):
        return Unavailable(f"{url}: its certificate cannot be verified: {reason.verify_message}")
    return _Retry(f"no connection: {printable(str(reason), 120)}")


def _copy(answer: IO[bytes], file: IO[bytes], progress: Progress | None) -> None:
    """Copy the whole body; Python itself accepts one that is shorter than announced."""
    length = answer.headers.get("Content-Length", "")  # type: ignore[attr-defined]
    announced = int(length) if length.isdecimal() else None
    total, end = 0, time.monotonic() + DEADLINE
    while chunk := answer.read(_CHUNK):
        total += len(chunk)
        if total > MAX_BYTES:
            raise Unavailable(f"the answer has more than {MAX_BYTES} bytes: not a dump")
        if time.monotonic() > end:
            raise _Retry(f"the download took longer than {DEADLINE:g} s")
        file.write(chunk)
        if progress is not None:
            progress(len(chunk), announced)
    if announced is not None and total != announced:
        raise _Retry(f"only {total} of {announced} bytes arrived")


def _check_kind(url: str, path: Path) -> None:
    """Raise `Unavailable` for an error page or an error in JSON that came with status 200."""
    with path.open("rb") as file:
        beginning = file.read(512).lstrip()
    if beginning[:1] in {b"<", b"{", b""}:
        what = {b"<": "a web page", b"{": "JSON"}.get(beginning[:1], "nothing")
        said = printable(" ".join(beginning.decode("utf-8", "replace").split()), 100)
        raise Unavailable(f"{url}: answers with {what} instead of CSV: {said}" if said else f"{url}: answers nothing")
