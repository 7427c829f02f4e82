"""`alpha halt` and `alpha resume`: a file that stops trading, made and removed with a reason."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys

import pytest
from conftest import run_alpha, signal as a_signal, stream, tick

from alpha_cli.state import halt_reason


def halted(*options, **more):
    return run_alpha([*options], **more)


def test_halt_stops_risk_with_its_reason_until_resume(tmp_path):
    """Every signal is denied and risk ends with 80; after resume the same signals become orders."""
    signals = stream([tick(0), a_signal(1), tick(1), a_signal(2, at=1)])
    done = halted("halt", "--state", tmp_path, "--reason", "prices look wrong")
    assert (done.returncode, done.stdout.decode()) == (0, f"halted: {tmp_path}/HALT\n")
    risk = run_alpha(["risk", "--state", str(tmp_path)], signals)
    assert risk.returncode == 80
    denials = [json.loads(line) for line in risk.stdout.splitlines() if b'"denial"' in line]
    assert [one["code"] for one in denials] == ["TRADING_HALTED"] * 2
    assert denials[0]["message"].endswith(": prices look wrong")
    done = halted("resume", "--state", tmp_path, "--reason", "checked")
    assert done.returncode == 0
    assert "prices look wrong" in done.stdout.decode()
    risk = run_alpha(["risk", "--state", str(tmp_path)], signals)
    assert (risk.returncode, risk.stdout.count(b'"type":"order"')) == (0, 2)


def test_what_was_done_is_kept_in_order(tmp_path):
    """Who, when and why, one JSON object a line; the file is nobody else's."""
    halted("halt", "--state", tmp_path, "--reason", "one")
    halted("halt", "--state", tmp_path, "--reason", "two")
    halted("resume", "--state", tmp_path, "--reason", "three")
    lines = [json.loads(line) for line in (tmp_path / "halts.ndjson").read_text().splitlines()]
    assert [(one["action"], one["reason"]) for one in lines] == [("halt", "one"), ("resume", "three")]
    assert all(one["by"] and one["at"].endswith("+05:30") for one in lines)
    assert (tmp_path / "halts.ndjson").stat().st_mode & 0o777 == 0o600


def test_the_first_reason_stays(tmp_path):
    """Halting what is halted is no error and changes nothing."""
    halted("halt", "--state", tmp_path, "--reason", "first")
    done = halted("halt", "--state", tmp_path, "--reason", "second")
    assert done.returncode == 0
    assert done.stdout.startswith(b"halted already: ")
    assert halt_reason(tmp_path).endswith(": first")


def test_resume_asks_for_a_reason(tmp_path):
    halted("halt", "--state", tmp_path)
    for options in ([], ["--reason", " "]):
        done = halted("resume", "--state", tmp_path, *options)
        assert done.returncode == 2
        assert b"--reason" in done.stderr
    assert (tmp_path / "HALT").exists()


def test_resume_of_what_is_not_halted_changes_nothing(tmp_path):
    done = halted("resume", "--state", tmp_path, "--reason", "x")
    assert (done.returncode, done.stdout) == (0, f"not halted: there is no {tmp_path}/HALT\n".encode())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["halt", "resume"])
def test_a_mistyped_folder_is_not_made(tmp_path, command):
    """It would look like a halt and stop nobody."""
    done = halted(command, "--state", tmp_path / "traiding", "--reason", "x")
    assert done.returncode == 66
    assert b"nothing was changed" in done.stderr
    assert not list(tmp_path.iterdir())
    assert halted(command, "--reason", "x").returncode == 2


def test_halting_works_where_nothing_can_be_written(tmp_path):
    """A file that may have no bytes at all stands for a full disk: the name alone halts, and that is said."""
    program = "import sys; from alpha_cli.__main__ import main; sys.argv[0] = 'alpha'; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "halt", "--state", str(tmp_path), "--reason", "disk"],
        capture_output=True,
        preexec_fn=lambda: (
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
        ),
        check=False,
    )
    assert (done.returncode, done.stdout.decode()) == (0, f"halted: {tmp_path}/HALT\n")
    assert b"the reason could not be kept" in done.stderr
    assert halt_reason(tmp_path) == f"{tmp_path}/HALT exists"


def test_a_folder_in_which_nothing_can_be_made_is_said_loudly(tmp_path):
    """74, and that it is NOT halted."""
    if os.geteuid() == 0:
        (tmp_path / "state").mkdir()
        folder = tmp_path / "state"
        (folder / "HALT").symlink_to(tmp_path / "nowhere" / "HALT")  # root may write anywhere else
        assert halted("halt", "--state", folder).stdout.startswith(b"halted already")
        return
    tmp_path.chmod(0o500)
    done = halted("halt", "--state", tmp_path)
    tmp_path.chmod(0o700)
    assert done.returncode == 74
    assert b"NOT halted" in done.stderr


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", '{"by": 1}', "\udcff", "9" * 5000, "[" * 4000])
def test_whatever_is_in_the_file_it_halts(tmp_path, text):
    (tmp_path / "HALT").write_bytes(text.encode(errors="surrogateescape"))
    assert halt_reason(tmp_path) == f"{tmp_path}/HALT exists"


def test_a_fifo_or_a_folder_of_that_name_halts_too(tmp_path):
    """Nothing is waited for."""
    os.mkfifo(tmp_path / "HALT")
    assert halt_reason(tmp_path) == f"{tmp_path}/HALT exists"
    (tmp_path / "HALT").unlink()
    (tmp_path / "HALT").mkdir()
    assert halt_reason(tmp_path) == f"{tmp_path}/HALT exists"
    done = halted("resume", "--state", tmp_path, "--reason", "x")
    assert done.returncode == 74
    assert b"still halted" in done.stderr


def test_what_a_reason_holds_cannot_break_a_line(tmp_path):
    """Newlines and colours of a terminal are shown, not sent."""
    halted("halt", "--state", tmp_path, "--reason", "a\n\x1b[31mb")
    why = halt_reason(tmp_path)
    assert "\n" not in why
    assert "\x1b" not in why


def test_status_says_it(tmp_path):
    halted("halt", "--state", tmp_path, "--reason", "lunch")
    done = run_alpha(["status", "--state", str(tmp_path)])
    assert done.stdout.decode().startswith("HALTED: ")
    assert "lunch" in done.stdout.decode()
