"""`alpha instruments`: what its commands print, and fetching from a real server that does its worst."""

from __future__ import annotations

import gzip
import json
import os
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from support.instrument_dumps import CALL, FUTURE, INDEX, ROWS, SHARE, changed, dump_file, text_of
from support.processes import DEADLINE, alpha, environment, run_alpha, shared

from alpha_cli.cli.app import execute
from alpha_cli.core.errors import Unavailable, UsageError
from alpha_cli.market.instruments import download, open_master

DAY = "2026-08-18"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """The master of one dump."""
    path = tmp_path / "i.db"
    assert run("load", str(dump_file(tmp_path, *ROWS)), "--date", DAY, "--db", str(path)) == 0
    return path


def run(*args: str) -> int:
    return execute(["instruments", *args])


def said(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, list[str], str]:
    """Code, lines of stdout and stderr of `alpha instruments ARGS`."""
    capsys.readouterr()
    code = run(*args)
    out, err = capsys.readouterr()
    return code, out.splitlines(), err


# --- load ------------------------------------------------------------------------------------


def test_load_prints_a_line_an_exchange(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On stdout; what was done with it on stderr."""
    file, database = dump_file(tmp_path, *ROWS), tmp_path / "i.db"
    code, out, err = said(capsys, "load", str(file), "--date", DAY, "--db", str(database))
    assert code == 0
    assert out == [
        "exchange  instruments  new  changed  gone",
        "BSE       1            1    0        0",
        "NFO       2            2    0        0",
        "NSE       2            2    0        0",
    ]
    assert err == f"alpha instruments: 5 instruments of {DAY} in {database}\n"


@pytest.mark.parametrize(
    ("rows", "args", "code", "message"),
    [
        ((changed(SHARE, tick_size="0"),), (), 65, "line 2: tick_size '0'"),
        ((SHARE,), ("--date", "someday"), 2, "--date 'someday' is not a date"),
        ((SHARE,), ("--date", "1870-01-01"), 2, "not in the years"),
        (None, (), 66, "does not exist"),
    ],
)
def test_what_cannot_be_loaded_makes_no_database(
    rows: tuple[str, ...] | None, args: tuple[str, ...], code: int, message: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """One line, its code, and nothing on the disk."""
    file = tmp_path / "none.csv" if rows is None else dump_file(tmp_path, *rows)
    got, out, err = said(capsys, "load", str(file), "--db", str(tmp_path / "new" / "i.db"), *args)
    assert (got, out, err.count("\n")) == (code, [], 1)
    assert message in err
    assert not (tmp_path / "new").exists()


def test_a_wrong_row_is_left_out_where_one_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is told; more than one in a hundred is no dump; one cut short is never taken."""
    rows = [changed(SHARE, instrument_token=str(n), tradingsymbol=f"S{n}") for n in range(1, 200)]
    args = ["--db", str(tmp_path / "i.db"), "--date", DAY, "--bad", "skip"]
    wrong = changed(SHARE, tick_size="0")
    code, out, err = said(capsys, "load", str(dump_file(tmp_path, *rows, wrong, rows[0])), *args)
    assert (code, out[1].split()) == (0, ["NSE", "199", "199", "0", "0"])
    assert err.splitlines()[:2] == [
        "alpha instruments: line 201: tick_size '0' is not above 0; only an index may have no tick size; left out",
        "alpha instruments: line 202: NSE:S1 is listed twice; left out (2 so far)",
    ]
    code, _, err = said(capsys, "load", str(dump_file(tmp_path, *rows, wrong, rows[0], rows[1])), *args)
    assert code == 65
    assert "3 of 202 rows are wrong" in err
    code, _, err = said(capsys, "load", str(dump_file(tmp_path, *rows, wrong, wrong[:-9])), *args)
    assert code == 65
    assert "cut short?" in err


def test_a_dump_that_shrank_is_loaded_with_force(
    database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """65 without; half is still accepted."""
    args = ["load", str(dump_file(tmp_path, INDEX)), "--db", str(database), "--date", "2026-08-19"]
    assert run(*args) == 0
    rows = [changed(SHARE, instrument_token=str(n), tradingsymbol=f"S{n}") for n in range(1, 6)]
    assert run("load", str(dump_file(tmp_path, *rows)), *args[2:]) == 0
    dump_file(tmp_path, INDEX)
    code, out, err = said(capsys, *args[:-1], "2026-08-20")
    assert (code, out) == (65, [])
    assert "cut short?" in err
    assert run(*args[:-1], "2026-08-20", "--force") == 0


def test_the_database_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name, or in the user's data; and an empty name is none."""
    file = str(dump_file(tmp_path, *ROWS))
    assert run("load", file) == 2
    monkeypatch.setenv("ALPHA_INSTRUMENTS", str(tmp_path / "named.db"))
    assert run("load", file, "--date", DAY) == 0
    assert (tmp_path / "named.db").is_file()
    monkeypatch.delenv("ALPHA_INSTRUMENTS")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert run("show", "NSE:INFY") == 66
    assert run("load", file, "--date", DAY) == 0
    assert (tmp_path / "data" / "alpha" / "instruments.db").is_file()
    assert run("show", "NSE:INFY") == 0


def test_without_a_date_it_is_today_in_india(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the time zone of the machine."""
    from datetime import UTC, datetime, tzinfo

    import alpha_cli.tools.instruments.command as module

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime(2026, 8, 18, 19, 0, tzinfo=UTC).astimezone(tz)  # half past midnight in India

    monkeypatch.setattr(module, "datetime", Clock)
    assert run("load", str(dump_file(tmp_path, *ROWS)), "--db", str(tmp_path / "i.db")) == 0
    db = sqlite3.connect(tmp_path / "i.db")
    assert db.execute("SELECT DISTINCT day FROM dumps").fetchall() == [("2026-08-19",)]
    db.close()


def test_a_person_who_watches_sees_how_far_it_is(tmp_path: Path) -> None:
    """A bar on a terminal; what is on stdout stays the same."""
    import pty

    rows = [changed(SHARE, instrument_token=str(n), tradingsymbol=f"S{n}") for n in range(1, 5000)]
    args = ["instruments", "load", str(dump_file(tmp_path, *rows)), "--date", DAY, "--db", str(tmp_path / "i.db")]
    ours, theirs = pty.openpty()
    try:
        made = subprocess.run(
            alpha(*args), stdout=subprocess.PIPE, stderr=theirs, env=environment({"TERM": "xterm"}), timeout=DEADLINE,
            check=True,
        )  # fmt: skip
        seen = os.read(ours, 1 << 16)
    finally:
        os.close(ours)
        os.close(theirs)
    assert b"alpha instruments load" in seen
    assert b"%" in seen
    assert made.stdout.splitlines()[1].split() == [b"NSE", b"4999", b"4999", b"0", b"0"]


# --- find and show ---------------------------------------------------------------------------


def test_find_prints_a_table(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The likeliest first."""
    code, out, err = said(capsys, "find", "nifty", "AUG", "ce", "--db", str(database), "--date", DAY)
    assert (code, err) == (0, "")
    assert out == [
        "instrument             token     type  expiry      strike  lot  tick  name",
        "NFO:NIFTY26AUG25000CE  15845634  CE    2026-08-25  25000   65   0.05  NIFTY",
    ]


def test_find_gives_json_lines_with_exact_numbers(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One object a line."""
    _, out, _ = said(capsys, "find", "nifty", "ce", "--db", str(database), "--json", "--date", DAY)
    assert [json.loads(line) for line in out] == [
        {
            "key": "NFO:NIFTY26AUG25000CE", "instrument_token": 15845634, "exchange": "NFO",
            "tradingsymbol": "NIFTY26AUG25000CE", "name": "NIFTY", "segment": "NFO-OPT", "instrument_type": "CE",
            "lot_size": 65, "tick_size": 0.05, "expiry": "2026-08-25", "strike": 25000, "exchange_token": "61897",
        }
    ]  # fmt: skip
    assert '"tick_size":0.05,' in out[0]


def test_find_says_when_there_is_nothing_and_when_there_is_more(
    database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On stderr; an empty result is a result."""
    code, out, err = said(capsys, "find", "no\x1bsuch", "--db", str(database))
    assert (code, out, err) == (0, [], "alpha instruments find: nothing matches no\\x1bsuch\n")
    code, out, err = said(capsys, "find", "nifty", "--db", str(database), "--limit", "1", "--date", DAY)
    assert (code, len(out)) == (0, 2)
    assert "more than 1 match" in err
    code, out, err = said(capsys, "find", "infy", "--exchange", "BSE", "--db", str(database))
    assert (code, len(out), err) == (0, 2, "")
    assert run("find", "nifty", "--limit", "0", "--db", str(database)) == 2


def test_show_prints_every_field_the_freeze_quantity_and_the_history(
    database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a contract whose lot changed and whose token stood for another before."""
    older = changed(CALL, tradingsymbol="NIFTY26JUN25000CE", expiry="2026-06-30")
    for day, row in (("2026-06-01", older), ("2026-08-19", changed(CALL, lot_size="60"))):
        assert run("load", str(dump_file(tmp_path, row)), "--db", str(database), "--date", day, "--force") == 0
    code, out, err = said(
        capsys, "show", "nfo:nifty26aug25000ce", "--db", str(database), "--date", "2026-08-19"
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert out == [
        "instrument       NFO:NIFTY26AUG25000CE",
        "token            15845634",
        "exchange token   61897",
        "name             NIFTY",
        "kind             option (NFO-OPT, CE)",
        "underlying       NIFTY",
        "expiry           2026-08-25",
        "strike           25000",
        "lot size         60 units",
        "tick size        ₹0.05",
        "freeze quantity  1800 units, 30 lots (from 2026-08-03: NSE/FAOP/75521, 2026-07-31)",
        "",
        "from        to          instrument             token     lot  tick  expiry",
        "2026-06-01  2026-06-01  NFO:NIFTY26JUN25000CE  15845634  65   0.05  2026-06-30",
        "2026-08-18  2026-08-18  NFO:NIFTY26AUG25000CE  15845634  65   0.05  2026-08-25",
        "2026-08-19  2026-08-19  NFO:NIFTY26AUG25000CE  15845634  60   0.05  2026-08-25",
    ]
    _, out, _ = said(capsys, "show", "15845634", "--db", str(database), "--date", "2026-06-15", "--json")
    about = json.loads(out[0])
    assert (about["key"], about["freeze_quantity"], about["expired"]) == ("NFO:NIFTY26JUN25000CE", 1800, False)
    assert [version["key"] for version in about["token_also"]] == ["NFO:NIFTY26AUG25000CE"] * 2
    _, out, _ = said(capsys, "show", "NIFTY26JUN25000CE", "--db", str(database), "--date", DAY)
    assert "expiry           2026-06-30 (expired)" in out


@pytest.mark.parametrize(
    ("name", "message"),
    [("NSE:INFI", "did you mean NSE:INFY?"), ("99", "no such token"), ("INFY", "write one of BSE:INFY, NSE:INFY")],
)
def test_show_of_what_is_not_known(name: str, message: str, database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """2, one line."""
    code, out, err = said(capsys, "show", name, "--db", str(database))
    assert (code, out, err.count("\n")) == (2, [], 1)
    assert message in err


def test_a_dump_itself_can_be_looked_into(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without loading it."""
    code, out, _ = said(capsys, "show", "NSE:INFY", "--db", str(dump_file(tmp_path, *ROWS)))
    assert (code, out[1]) == (0, "token            408065")


def test_without_a_master_it_says_how_to_make_one(capsys: pytest.CaptureFixture[str]) -> None:
    """66."""
    for args in (("find", "x"), ("show", "x")):
        code, out, err = said(capsys, *args)
        assert (code, out) == (66, [])
        assert "make one with alpha instruments fetch" in err


@pytest.mark.parametrize("name", ["", "load", "fetch", "find", "show"])
def test_every_help_has_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """That begins with alpha."""
    code, out, _ = said(capsys, *([name] if name else []), "--help")
    assert code == 0
    assert "      alpha instruments " in "\n".join(out[out.index("  Example:") :])


def test_a_slip_in_the_command_is_answered(capsys: pytest.CaptureFixture[str]) -> None:
    """With the one that was meant; without any it is the help, and 2."""
    assert "did you mean 'fetch'?" in said(capsys, "fech")[2]
    assert said(capsys)[0] == 2


@pytest.mark.parametrize("args", [("find", "nifty"), ("show", "NSE:INFY"), ("load",)])
def test_a_lookup_starts_without_what_configurations_take(
    args: tuple[str, ...], database: Path, tmp_path: Path
) -> None:
    """Neither pydantic nor YAML, and of SQLite the standard library's alone."""
    program = (
        "import sys; from alpha_cli.cli.app import execute; code = execute(sys.argv[1:]); "
        "print(code, *(set(sys.modules) & {'pydantic', 'yaml', 'sqlite_utils', 'sqlite3', 'urllib.request'}))"
    )
    file = [str(dump_file(tmp_path, *ROWS))] if args == ("load",) else []
    made = subprocess.run(
        [sys.executable, "-c", program, "instruments", *args, *file, "--db", str(database), "--date", DAY],
        capture_output=True, timeout=DEADLINE, check=True, env=environment(),
    )  # fmt: skip
    assert made.stdout.splitlines()[-1] == b"0 sqlite3", made.stderr


# --- fetch -----------------------------------------------------------------------------------

Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def serving(*answers: Answer, tls: ssl.SSLContext | None = None) -> Iterator[tuple[str, list[Any]]]:
    """A server on loopback that answers each request with the next of `answers`, then with the last.

    Its URL, and the headers of the requests so far.
    """
    requests: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.headers)
            answers[min(len(requests), len(answers)) - 1](self)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that leaves is no failure here."""

    with Server(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http{'' if tls is None else 's'}://127.0.0.1:{server.server_address[1]}/instruments", requests
        finally:
            server.shutdown()
            thread.join()


def answer(body: bytes = b"", status: int = 200, **headers: str) -> Answer:
    def give(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return give


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    """Without an answer."""
    handler.connection.shutdown(socket.SHUT_RDWR)


GOOD = answer(gzip.compress(text_of(*ROWS)), Content_Type="text/csv")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses and time-outs of a test; no proxy between it and its own machine."""
    monkeypatch.setattr(download, "PAUSE", 0.001)
    monkeypatch.setattr(download, "TIMEOUT", 0.5)
    monkeypatch.setenv("no_proxy", "*")


@pytest.mark.parametrize(
    "given",
    [
        GOOD,
        answer(text_of(*ROWS)),
        answer(gzip.compress(text_of(*ROWS)), Content_Encoding="gzip"),
        answer(text_of(*ROWS), Content_Type="text/html"),
    ],
)
def test_fetch_loads_what_the_server_gives(given: Answer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Plain or compressed, whatever it calls it."""
    with serving(given) as (url, requests):
        code, out, err = said(capsys, "fetch", "--url", url, "--db", str(tmp_path / "i.db"), "--date", DAY)
    assert (code, len(out), len(requests)) == (0, 4, 1), err
    assert requests[0]["User-Agent"].startswith("alpha/")
    assert "Authorization" not in requests[0]
    with open_master(tmp_path / "i.db") as master:  # type: ignore[union-attr]
        assert master.by_key("NFO:NIFTY26AUG25000CE") is not None


@pytest.mark.parametrize(
    "trouble",
    [answer(status=503), answer(status=500), answer(status=429), hang_up, answer(b"short", Content_Length="99")],
)
def test_fetch_tries_again_what_may_pass(trouble: Answer, tmp_path: Path) -> None:
    """Three times in all."""
    with serving(trouble, trouble, GOOD) as (url, requests):
        assert run("fetch", "--url", url, "--db", str(tmp_path / "i.db"), "--date", DAY) == 0
        assert len(requests) == 3
    with serving(trouble) as (url, requests):
        assert run("fetch", "--url", url, "--db", str(tmp_path / "none.db")) == 69
        assert len(requests) == 3
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        (answer(b"no", status=404), 69, "the server answers 404 Not Found"),
        (answer(status=403), 69, "the server answers 403"),
        (answer(b"<!DOCTYPE html><title>Maintenance</title>"), 69, "a web page instead of CSV: <!DOCTYPE html>"),
        (answer(b' {"status": "error"}'), 69, 'JSON instead of CSV: {"status": "error"}'),
        (answer(b"<\x1b[2J\xff>"), 69, "\\x1b[2J"),
        (answer(), 69, "answers nothing"),
        (answer(status=302, Location="http://example.com/x"), 69, "redirects to a place that is not https"),
        (answer(status=302, Location="file:///etc/passwd"), 69, "file"),
        (answer(text_of(SHARE)[:-4]), 65, "cut short"),
        (answer(text_of(changed(FUTURE, expiry="soon"))), 65, "line 2: expiry 'soon'"),
        (answer(gzip.compress(text_of(SHARE))[:-6]), 65, "damaged archive"),
    ],
)
def test_fetch_does_not_ask_again_for_what_will_not_pass(
    given: Answer, code: int, message: str, database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One request, one line, and the master as it was."""
    before = database.read_bytes()
    with serving(given) as (url, requests):
        got, out, err = said(capsys, "fetch", "--url", url, "--db", str(database))
    assert (got, out, err.count("\n"), len(requests)) == (code, [], 1, 1)
    assert message in err
    assert url in err
    assert "\x1b" not in err
    assert database.read_bytes() == before


def test_fetch_follows_a_redirect_to_where_it_could_have_gone(tmp_path: Path) -> None:
    """On this machine, here."""
    with serving(GOOD) as (target, _), serving(answer(status=302, Location=target)) as (url, _):
        assert run("fetch", "--url", url, "--db", str(tmp_path / "i.db"), "--date", DAY) == 0


def test_fetch_does_not_wait_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither for a server that is silent nor for one that trickles."""
    over = threading.Event()

    def silent(_: BaseHTTPRequestHandler) -> None:
        over.wait(30)

    def trickle(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not over.wait(0.01):
            handler.wfile.write(b"x" * (1 << 16))

    monkeypatch.setattr(download, "TIMEOUT", 0.1)
    monkeypatch.setattr(download, "DEADLINE", 0.1)
    for given, message in ((silent, "no answer within 0.1 s"), (trickle, "the download took longer than 0.1 s")):
        try:
            with serving(given) as (url, requests):
                code, _, err = said(capsys, "fetch", "--url", url, "--db", str(tmp_path / "i.db"))
                over.set()
        finally:
            over.set()
        over.clear()
        assert (code, len(requests)) == (69, 3)
        assert message in err
        assert "3 tries" in err


def test_fetch_takes_no_more_than_a_dump_can_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that never ends."""
    monkeypatch.setattr(download, "MAX_BYTES", 1000)
    with serving(answer(b"x" * 1001)) as (url, requests), pytest.raises(Unavailable, match="more than 1000 bytes"):
        download.fetch(url, tmp_path / "file")
    assert len(requests) == 1


def test_fetch_says_when_nobody_listens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """69, after three tries."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        code, _, err = said(capsys, "fetch", "--url", url, "--db", str(tmp_path / "i.db"))
    assert code == 69
    assert "no connection: [Errno 111] Connection refused (3 tries)" in err


def test_fetch_pauses_longer_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a server in trouble is not pressed."""
    monkeypatch.setattr(download, "PAUSE", 0.5)
    pauses: list[float] = []
    with serving(answer(status=503)) as (url, _), pytest.raises(Unavailable):
        download.fetch(url, tmp_path / "file", pause=pauses.append)
    assert pauses == [0.5, 1.0]


def test_fetch_wants_a_certificate_it_can_verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One that a server made for itself is refused at once."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    try:
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate,
             "-days", "1", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"],
            check=True, capture_output=True,
        )  # fmt: skip
    except FileNotFoundError:
        pytest.skip("openssl is not installed, which makes the certificate for this test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serving(GOOD, tls=context) as (url, requests):
        code, _, err = said(capsys, "fetch", "--url", url, "--db", str(tmp_path / "i.db"))
    assert (code, requests) == (69, [])
    assert "its certificate cannot be verified: self-signed certificate" in err


@pytest.mark.parametrize(
    "url",
    ["http://api.kite.trade/instruments", "file:///etc/passwd", "ftp://x/y", "api.kite.trade", "", "https://",
     "https://[", "https://host:0/", "https://host:99999/", "https://høst/", "https://a b/", "http://localhost.evil.com/"],
)  # fmt: skip
def test_fetch_refuses_a_url_that_nobody_vouches_for(url: str) -> None:
    """2, before anything is asked of anybody."""
    with pytest.raises(UsageError, match=r"write https://…; http is for this machine only"):
        download.check_url(url)
    assert run("fetch", "--url", url, "--db", "x.db") == 2


# --- from end to end -------------------------------------------------------------------------


def test_a_real_dump_from_download_to_a_lookup(tmp_path: Path) -> None:
    """As a process; the same bytes on stdout each time."""
    data = (shared("kite-instruments") / "kite_nfo_bfo_2026-08-18.csv.gz").read_bytes()
    env = {"ALPHA_INSTRUMENTS": str(tmp_path / "i.db"), "no_proxy": "*"}
    with serving(answer(data)) as (url, _):
        made = run_alpha(["instruments", "fetch", "--url", url, "--date", DAY], env=env)
    assert made.returncode == 0, made.stderr
    assert made.stdout.splitlines()[1:] == [
        b"BFO       4258         4258   0        0",
        b"NFO       35683        35683  0        0",
    ]
    assert made.stderr.count(b"\n") == 1
    shown = run_alpha(["instruments", "show", "NIFTY26AUG25000CE", "--date", DAY, "--json"], env=env)
    assert json.loads(shown.stdout)["freeze_quantity"] == 1800
