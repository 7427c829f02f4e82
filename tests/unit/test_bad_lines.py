"""What becomes of a bad line: stop, skip, or a dead letter."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path

import pytest

from alpha_cli.core.errors import InputOutputError, UsageError
from alpha_cli.stream.bad_lines import BadLines


def letters(path: Path) -> list[dict[str, object]]:
    """The dead letters in `path`."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_fail_remembers_the_first_and_how_to_mend_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Later ones change nothing; the loop says it, so nothing is said here."""
    bad = BadLines("risk", "fail")
    bad.reject(7, b"{oops", "not JSON")
    bad.reject(8, b"{again", "not JSON")
    assert str(bad.failure) == "line 7: not JSON: {oops (--bad skip or --bad FILE goes on)"
    assert bad.failure is not None
    assert bad.failure.exit_code == 65
    assert bad.rejected == 1
    assert capsys.readouterr().err == ""


def test_skip_counts_and_says_so_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    """1 to 9, then 10, 20, …, 100, …: a flood stays readable."""
    bad = BadLines("show", "skip")
    for number in range(1, 1001):
        bad.reject(number, b"x", "not JSON")
    said = capsys.readouterr().err.splitlines()
    assert bad.failure is None
    assert bad.rejected == 1000
    assert said[0] == "alpha show: bad line: line 1: not JSON: x"
    assert said[9] == "alpha show: 10 bad lines so far: line 10: not JSON: x"
    assert len(said) == 9 + 9 + 9 + 1


def test_what_is_shown_cannot_hurt_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Control and bidirectional characters are escaped, and long lines cut."""
    BadLines("show", "skip").reject(1, "\x1b[2J\u202e\r\n\x07".encode() + b"x" * 10_000, "bad\n\x1b")
    said = capsys.readouterr().err
    assert said.endswith("\n")
    assert said[:-1].isprintable()
    assert len(said) < 400


def test_a_dead_letter_can_be_mended_and_replayed(tmp_path: Path) -> None:
    """It has the reason, the line number and the line itself; the token where the feed could tell."""
    path = tmp_path / "dead.ndjson"
    bad = BadLines("feed", str(path))
    bad.reject(3, b'{"a":"\xe2\x82\xb9"}', "no type")
    bad.reject(None, b"late", "not JSON", instrument_token=5)
    bad.close()
    assert letters(path) == [
        {"error": "no type", "line_number": 3, "raw": '{"a":"₹"}'},
        {"error": "not JSON", "line_number": None, "instrument_token": 5, "raw": "late"},
    ]
    assert bad.failure is None


def test_only_the_owner_may_read_dead_letters(tmp_path: Path) -> None:
    """They may hold orders: mode 0600."""
    path = tmp_path / "dead.ndjson"
    bad = BadLines("feed", str(path))
    bad.reject(1, b"x", "bad")
    bad.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_dead_letters_are_added_to_those_of_before(tmp_path: Path) -> None:
    """A restart must not erase the evidence."""
    path = tmp_path / "dead.ndjson"
    for number in (1, 2):
        bad = BadLines("feed", str(path))
        bad.reject(number, b"x", "bad")
        bad.close()
    assert [letter["line_number"] for letter in letters(path)] == [1, 2]


@pytest.mark.parametrize("raw", [b"\xff\xfe", b'{"a":"\xed\xa0\x80"}', bytes(range(256))])
def test_bytes_that_are_not_utf8_are_kept_exactly(tmp_path: Path, raw: bytes) -> None:
    """`raw` is for people, `raw_base64` beside it for exactness."""
    path = tmp_path / "dead.ndjson"
    bad = BadLines("feed", str(path))
    bad.reject(1, raw, "not UTF-8")
    bad.close()
    assert base64.b64decode(str(letters(path)[0]["raw_base64"])) == raw


def test_a_dead_letter_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """At once, and not at the first bad line; a slip of `skip` is not taken for a file."""
    with pytest.raises(InputOutputError, match=r"dead-letter file .*No such file"):
        BadLines("feed", str(tmp_path / "missing" / "dead"))
    with pytest.raises(UsageError, match=r"write skip, or \./Skip"):
        BadLines("feed", "Skip")
