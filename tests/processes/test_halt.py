"""`alpha halt`, `alpha resume` and `alpha rearm`: what stops trading, and the reason for which it goes on."""

from __future__ import annotations

import json
import os
import resource
import shlex
import signal
import subprocess
import sys

import pytest
from support.events import signal as a_signal, stream, tick
from support.processes import DEADLINE, ROOT, alpha, environment, run_alpha

import alpha_cli.tools.halt as halt_tool
from alpha_cli.cli.app import execute
from alpha_cli.storage.halts import halt_reason


def halted(*options, **more):
    return run_alpha([*options], **more)


def test_halt_stops_risk_with_its_reason_until_resume(tmp_path):
    """Every signal is denied and risk ends with 80; after resume new signals become orders."""
    signals = stream([tick(0), a_signal(1), tick(1), a_signal(2, at=1)])
    later = stream([tick(2), a_signal(3, at=2), a_signal(4, at=2)])
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
    risk = run_alpha(["risk", "--state", str(tmp_path)], later)
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
    said = f"not halted: there is no {tmp_path}/HALT, and no account was stopped\n"
    assert (done.returncode, done.stdout.decode()) == (0, said)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [["halt"], ["resume"], ["rearm", "momentum"]])
def test_a_mistyped_folder_is_not_made(tmp_path, command):
    """It would look like a halt and stop nobody."""
    done = halted(*command, "--state", tmp_path / "traiding", "--reason", "x")
    assert done.returncode == 66
    assert b"nothing was changed" in done.stderr
    assert not list(tmp_path.iterdir())
    assert halted(*command, "--reason", "x").returncode == 2


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


NOT_TEXT = os.fsdecode(b"prix \xe9lev\xe9")


def started(*words, **env):
    """`alpha WORDS…` in a process of its own, whose arguments are decoded anew: they may hold any byte."""
    return subprocess.run(
        alpha(*map(str, words)), env=environment(env), cwd=ROOT, capture_output=True, timeout=DEADLINE, check=False
    )


def test_a_reason_that_is_no_text_halts_and_resumes(tmp_path):
    """A byte that is not UTF-8 becomes U+FFFD in the record; the file was made before the record."""
    done = started("halt", "--state", tmp_path, "--reason", NOT_TEXT)
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, f"halted: {tmp_path}/HALT\n", b"")
    assert halt_reason(tmp_path).endswith(": prix �lev�")
    done = started("resume", "--state", tmp_path, "--reason", NOT_TEXT)
    assert (done.returncode, done.stderr) == (0, b"")
    assert not (tmp_path / "HALT").exists()
    assert [one["reason"] for one in requests(tmp_path)] == ["prix �lev�"] * 2


def test_a_locale_without_unicode_keeps_the_reason(tmp_path):
    """Under LC_ALL=C the bytes of a rupee sign are read as the UTF-8 that they are."""
    env = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = started("halt", "--state", tmp_path, "--reason", "₹ 5 lost", **env)
    assert done.returncode == 0
    assert halt_reason(tmp_path).endswith(": ₹ 5 lost")


def test_a_folder_whose_name_is_no_text_is_halted(tmp_path):
    """Its name is shown escaped by halt, status and resume, and in the denials of risk."""
    folder = tmp_path / NOT_TEXT
    folder.mkdir(mode=0o700)
    done = started("halt", "--state", folder)
    assert (done.returncode, done.stdout.decode().endswith("lev\\udce9/HALT\n")) == (0, True)
    risk = subprocess.run(
        alpha("risk", "--state", str(folder)), input=stream([tick(0), a_signal(1)]), env=environment(), cwd=ROOT,
        capture_output=True, timeout=DEADLINE, check=False,
    )  # fmt: skip
    assert (risk.returncode, risk.stdout.count(b"TRADING_HALTED")) == (80, 1)
    assert started("resume", "--state", folder, "--reason", "x").returncode == 0


def test_whatever_fails_after_the_file_is_made_it_halts(tmp_path, monkeypatch, capfd):
    """The clock, the user's name, the encoder: none of them comes before the file."""

    def fails(*_):
        raise RuntimeError("no clock")

    monkeypatch.setattr(halt_tool, "halt_record", fails)
    assert execute(["halt", "--state", str(tmp_path), "--reason", "x"]) == 0
    said = capfd.readouterr()
    assert said.out == f"halted: {tmp_path}/HALT\n"
    assert "the reason could not be kept: RuntimeError: no clock" in said.err
    assert (tmp_path / "HALT").exists()


@pytest.mark.parametrize("closed", [">&-", ">/dev/full"])
def test_a_halt_that_cannot_be_told_is_a_halt(tmp_path, closed):
    """0: a script that looks at the exit code must not think that nothing was halted."""
    command = f"{shlex.join(alpha('halt', '--state', str(tmp_path)))} {closed}"
    done = subprocess.run(["sh", "-c", command], env=environment(), cwd=ROOT, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "HALT").exists()


@pytest.mark.parametrize(
    "command", [["halt"], ["resume", "--reason", "x"], ["rearm", "m", "--reason", "x"], ["status"], ["risk"], ["paper"],
                ["run-strategy", "momentum"], ["paper", "trades"]],
)  # fmt: skip
def test_a_state_folder_without_a_name_is_refused(tmp_path, command):
    """`--state "$UNSET"` is not the current folder, and `ALPHA_STATE=` is not none."""
    place = [command[0], "--state", "", *command[1:]]
    done = run_alpha(place, cwd=tmp_path)
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert b"--state is empty: name the folder" in done.stderr
    done = run_alpha(command, env={"ALPHA_STATE": ""}, cwd=tmp_path)
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert b"ALPHA_STATE is empty: name the folder" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_resume_that_fails_changes_nothing(state):
    """Neither a HALT that cannot be removed nor a history that cannot be written leaves half of it done."""
    risk_on(state, tick(0), a_signal(1, quantity=10), tick(10, 88))
    (state / "HALT").mkdir()
    done = halted("resume", "--state", state, "--reason", "x")
    assert done.returncode == 74
    assert b"still halted" in done.stderr
    assert not (state / "halts.ndjson").exists()
    (state / "HALT").rmdir()
    assert risk_on(state, tick(20, 88), a_signal(2, at=20, quantity=10))[0] == 80  # what the loss stopped, is stopped
    halted("halt", "--state", state, "--reason", "lunch")
    (state / "halts.ndjson").unlink()
    (state / "halts.ndjson").mkdir()
    done = halted("resume", "--state", state, "--reason", "x")
    assert done.returncode == 74
    assert b"still halted, nothing was changed" in done.stderr
    assert halt_reason(state).endswith(": lunch")


def test_half_a_record_does_not_spoil_the_next(looped):
    """A history that another program left without its last newline: the request stands on a line of its own."""
    (looped / "halts.ndjson").write_bytes(b'{"action":"halt"')
    assert halted("rearm", "momentum", "--state", looped, "--reason", "x").returncode == 0
    assert risk_on(looped, tick(1), a_signal(4, at=1, strategy_id="momentum")) == (0, ["rearm", "order"])


# --- what stopped by itself ------------------------------------------------------------------

STOPS = {
    "max_daily_loss": 100,
    "assume_market_fills": True,
    "repeated_execution": {"orders": 2, "seconds": 60, "round_trips": 9},
}


def risk_on(folder, *events, name="risk"):
    """Risk with limits that are soon reached, run to its end; what it decided, as types and codes."""
    config = folder.parent / f"{folder.name}.yaml"
    config.write_text(json.dumps({"brokers": {"paper": STOPS}}))
    done = run_alpha(["risk", "--state", str(folder), "--as", name, "--config", str(config)], stream(events))
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    said = {"order": "order", "denial": "code", "control": "action"}
    return done.returncode, [
        "order" if line["type"] == "order" else line[said[line["type"]]] for line in lines if line["type"] in said
    ]


@pytest.fixture
def state(tmp_path):
    """A folder for what risk keeps."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def looped(state):
    """A state folder in which the strategy `momentum` was stopped because it repeated itself."""
    loop = [a_signal(number, strategy_id="momentum") for number in (1, 2, 3)]
    assert risk_on(state, tick(0), *loop) == (80, ["order", "order", "EXECUTION_REPEATED", "halt"])
    return state


def requests(folder):
    return [json.loads(line) for line in (folder / "halts.ndjson").read_text().splitlines()]


def test_rearm_lets_a_strategy_go_on(looped):
    """It says what was wrong; who, when and why is kept; risk acts on it once, when it starts."""
    done = halted("rearm", "momentum", "--state", looped, "--reason", "threshold was 0")
    assert done.returncode == 0
    said = done.stdout.decode()
    assert said.startswith("momentum may go on; it was HALTED: too many orders on one side of one instrument")
    assert said.endswith("(EXECUTION_REPEATED)\n")
    (kept,) = requests(looped)
    assert (kept["action"], kept["target"], kept["reason"]) == ("rearm", "momentum", "threshold was 0")
    assert kept["by"]
    assert kept["at"].endswith("+05:30")
    assert (looped / "halts.ndjson").stat().st_mode & 0o777 == 0o600
    more = [a_signal(number, at=1, strategy_id="momentum") for number in (4, 5, 6)]
    again = (80, ["rearm", "order", "order", "EXECUTION_REPEATED", "halt"])
    assert risk_on(looped, tick(1), *more) == again
    assert risk_on(looped, tick(2), a_signal(7, at=2, strategy_id="momentum")) == (80, ["STRATEGY_HALTED"])


def test_rearm_of_a_name_that_is_not_stopped_suggests_one_that_is(looped):
    """2, and nothing is asked for."""
    done = halted("rearm", "momentun", "--state", looped, "--reason", "x")
    assert done.returncode == 2
    assert b"'momentun' is not stopped, did you mean 'momentum'" in done.stderr
    assert not (looped / "halts.ndjson").exists()


def test_rearm_where_nothing_is_stopped_changes_nothing(state):
    """Neither in an empty folder nor in one where risk ran and stopped nobody."""
    for _ in range(2):
        done = halted("rearm", "momentum", "--state", state, "--reason", "x")
        assert (done.returncode, done.stdout.decode()) == (0, f"nothing to do: no strategy is stopped in {state}\n")
        assert not (state / "halts.ndjson").exists()
        assert risk_on(state, tick(0), a_signal(1))[0] == 0


def test_rearm_asks_for_a_reason(looped):
    for options in ([], ["--reason", " "]):
        done = halted("rearm", "momentum", "--state", looped, *options)
        assert done.returncode == 2
        assert b"--reason" in done.stderr
    assert not (looped / "halts.ndjson").exists()


def test_rearm_finds_the_strategy_in_the_database_of_a_second_gate(state):
    """All of the folder's risk databases are asked; those of other stages are none of them."""
    risk_on(state, tick(0), *(a_signal(number, strategy_id="momentum") for number in (1, 2, 3)), name="other")
    assert run_alpha(["paper", "--state", str(state)], stream([tick(0)])).returncode == 0
    assert b"momentum may go on" in halted("rearm", "momentum", "--state", state, "--reason", "x").stdout
    again = a_signal(4, at=1, strategy_id="momentum")
    assert risk_on(state, tick(1), again, name="other") == (0, ["rearm", "order"])


@pytest.mark.parametrize("command", [["rearm", "momentum"], ["resume"]])
def test_a_database_that_cannot_be_read_does_not_stand_in_the_way(state, command):
    """It is said, and the request is kept all the same: risk reads that, not the answer."""
    (state / "risk.db").write_bytes(b"no database at all, and longer than a header would be" * 40)
    done = halted(*command, "--state", state, "--reason", "checked by hand")
    assert done.returncode == 0
    assert b"risk.db cannot be asked" in done.stderr
    (kept,) = requests(state)
    assert (kept["action"], kept["reason"]) == (command[0], "checked by hand")


def test_a_request_that_cannot_be_kept_lets_nothing_go_on(looped):
    """74, and that it is still stopped."""
    (looped / "halts.ndjson").symlink_to(looped / "elsewhere")
    done = halted("rearm", "momentum", "--state", looped, "--reason", "x")
    assert (done.returncode, done.stdout) == (74, b"")
    assert b"still stopped" in done.stderr


def test_resume_names_each_account_that_a_loss_stopped(state):
    """What was lost and of which limit; a strategy that repeated itself does not go on with it."""
    loop = [a_signal(number, strategy_id="momentum", quantity=10) for number in (1, 2, 3)]
    ended = risk_on(state, tick(0), *loop, tick(10, 90))
    assert ended == (80, ["order", "order", "EXECUTION_REPEATED", "halt", "halt"])
    done = halted("resume", "--state", state, "--reason", "looked at it")
    assert (done.returncode, done.stdout.decode()) == (
        0,
        "paper may go on; it was HALTED: too much was lost today (LOSS_ABOVE_LIMIT)\n",
    )
    after = [tick(20, 90), a_signal(4, at=20), a_signal(5, at=20, strategy_id="momentum")]
    assert risk_on(state, *after) == (80, ["resume", "order", "STRATEGY_HALTED"])


def test_resume_lifts_the_file_and_what_a_loss_stopped_together(state):
    """One request, one line for each."""
    risk_on(state, tick(0), a_signal(1, quantity=10), tick(10, 88))
    halted("halt", "--state", state, "--reason", "lunch")
    done = halted("resume", "--state", state, "--reason", "back")
    first, second = done.stdout.decode().splitlines()
    assert first.startswith("trading may go on; it was halted: ")
    assert second == "paper may go on; it was REDUCING: too much was lost today (LOSS_ABOVE_LIMIT)"
    assert not (state / "HALT").exists()
    assert [one["action"] for one in requests(state)] == ["halt", "resume"]
    assert risk_on(state, tick(20, 88), a_signal(2, at=20)) == (0, ["resume", "order"])


def test_a_line_that_is_no_request_is_passed_over(looped):
    """It is told of, and those after it count."""
    (looped / "halts.ndjson").write_bytes(b'{"action":\n[1]\n\xff\n{"action":"fly","reason":"x"}\n')
    assert halted("rearm", "momentum", "--state", looped, "--reason", "x").returncode == 0
    assert risk_on(looped, tick(1), a_signal(4, at=1, strategy_id="momentum")) == (0, ["rearm", "order"])


def test_requests_from_before_the_first_run_ask_for_nothing(state):
    """A folder whose history is older than its risk database: nothing in it was stopped by this one."""
    halted("halt", "--state", state, "--reason", "one")
    halted("resume", "--state", state, "--reason", "two")
    assert risk_on(state, tick(0), a_signal(1)) == (0, ["order"])
