"""The loop as processes know it: pipes, signals, torn input, full disks, and the codes they end with."""

from __future__ import annotations

import json
import os
import pty
import signal as signals
import stat
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from support.events import BANK, NIFTY, order, signal, stream, tick, ticks
from support.examples import rest_nightly
from support.processes import DEADLINE, ROOT, Pipeline, alpha, counters, environment, run_alpha

from alpha_cli.core.codec import decode, encode
from alpha_cli.core.events import Denial, Eof, Fill, Gap, OrderUpdate, Portfolio

MOMENTUM = ("run-strategy", "momentum")
FEED = ("feed", "-")
FILTERS = [MOMENTUM, ("risk",), ("paper", "--forward")]
SINKS = [("paper",), ("show",)]
STAGES = [*FILTERS, *SINKS]
BOOKED = {Fill, OrderUpdate, Portfolio}  # what paper adds
EARLY = b'{"type":"eof","ok":false,"code":75}'

by_name = pytest.mark.parametrize("stage", STAGES, ids=" ".join)
by_filter = pytest.mark.parametrize("stage", FILTERS, ids=" ".join)

#: A source that paces itself, and on a signal writes `eof` with its count and stops, as a feed does.
SOURCE = """
import os, select, signal, sys

asked = []
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda number, _: asked.append(number))
def write(line):
    data = line.encode() + b"\\n"
    while data:
        data = data[os.write(1, data):]
write('{"type":"hello","wire":1,"source":"slow","version":"0"}')
count = 0
while not asked:
    for _ in range(20):
        second, price = divmod(count, 60)[::-1][0], 100 + count % 37 / 10
        write('{"type":"tick","instrument_token":256265,"timestamp":"2024-06-03T%02d:%02d:%02d+05:30","last_price":%.2f}'
              % (10 + count // 3600 % 5, count // 60 % 60, second, price))
        count += 1
    select.select([], [], [], 0.001)
write('{"type":"eof","ok":true,"code":0,"count":%d}' % count)
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
"""


@pytest.fixture
def source(tmp_path: Path) -> list[str]:
    """The command line of `SOURCE`."""
    path = tmp_path / "source.py"
    path.write_text(SOURCE)
    return [sys.executable, str(path)]


def ending(output: bytes) -> Eof:
    """The `eof` that ends `output`."""
    event = decode(output.splitlines()[-1])
    assert type(event) is Eof
    return event


# --- when bytes come and go ------------------------------------------------------------------


@pytest.mark.parametrize("stage", [*FILTERS, FEED], ids=" ".join)
def test_what_comes_in_goes_out_at_once(stage: tuple[str, ...]) -> None:
    """While the input stays open, with no flush option: nothing is unsent while the stage waits."""
    with Pipeline(alpha(*stage)) as pipeline:
        for number in range(3):
            line = encode(tick(number)) + b"\n"
            pipeline.write(line)
            pipeline.wait_for(line)
        assert pipeline.finish() == [0]


def test_half_a_line_waits_for_its_other_half() -> None:
    """And then goes out whole, through several stages."""
    line = encode(tick()) + b"\n"
    with Pipeline(alpha(*MOMENTUM), alpha("risk")) as pipeline:
        pipeline.write(encode(tick(1)) + b"\n" + line[:30])
        assert pipeline.wait_for(b"\n") == encode(tick(1)) + b"\n"
        pipeline.write(line[30:])
        pipeline.wait_for(line)
        assert pipeline.finish() == [0, 0]


@pytest.mark.parametrize("env", [{}, {"PYTHONUNBUFFERED": "1"}], ids=["plain", "unbuffered"])
@pytest.mark.parametrize("size", rest_nightly(1, [7, 1, 4096, 65536]))
def test_the_output_does_not_depend_on_how_the_input_was_cut(size: int, env: dict[str, str]) -> None:
    """The same bytes for any sizes of writes, also where PYTHONUNBUFFERED makes Python's own streams raw."""
    data = stream([*ticks(150, (NIFTY, BANK)), b"", b'{"type":"tomorrow"}', signal(), *ticks(30)])
    expected = run_alpha(["risk"], run_alpha(MOMENTUM, data).stdout).stdout
    assert expected.count(b'"order"') > 10
    with Pipeline(alpha(*MOMENTUM), alpha("risk"), env=env) as pipeline:
        for start in range(0, len(data), size):
            pipeline.write(data[start : start + size])
        assert pipeline.finish() == [0, 0]
        assert pipeline.output == expected


@by_filter
def test_a_reader_that_leaves_is_no_error_message(stage: tuple[str, ...]) -> None:
    """`| head -1`: the stage ends with 141 and says nothing."""
    with Pipeline(alpha(*stage), ["head", "-1"]) as pipeline:
        with suppress(BrokenPipeError):
            pipeline.write(stream(ticks(60_000, (7,)), eof=None))
        assert pipeline.finish() == [141, 0]
        assert pipeline.stderr(0) == ""


@by_name
def test_a_terminal_for_input_is_a_mistake(stage: tuple[str, ...]) -> None:
    """Help on stderr and 2 at once, instead of waiting for someone to type JSON."""
    master, slave = pty.openpty()
    try:
        with Pipeline(alpha(*stage), stdin=slave) as pipeline:
            assert pipeline.wait() == [2]
            assert pipeline.output == b""
            assert f"Usage: alpha {stage[0]}" in pipeline.stderr()
            assert f"alpha feed | alpha {stage[0]}" in pipeline.stderr()
    finally:
        os.close(master)
        os.close(slave)


@by_filter
def test_a_full_disk_is_one_line(stage: tuple[str, ...]) -> None:
    """74 and one line before the counters, also within a session that can no longer be ended."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        with Pipeline(alpha(*stage), stdout=full) as pipeline:
            pipeline.write(stream([tick()]))
            assert pipeline.finish() == [74]
            complaint, counted = pipeline.stderr().splitlines()
            assert complaint == f"alpha {stage[0]}: writing standard output failed: No space left on device"
            assert " in=3 " in counted
    finally:
        os.close(full)


@pytest.mark.parametrize("tool", [["schema"], ["--help"]], ids=" ".join)
def test_a_tool_that_cannot_print_says_so(tool: list[str]) -> None:
    """Also what is no stage: one line and 74, or silence and no bug where nobody listens."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    with Path("/dev/full").open("wb") as full, Pipeline(alpha(*tool), stdout=full.fileno()) as pipeline:
        assert pipeline.finish() == [74]
        assert pipeline.stderr().count("\n") == 1
        assert "No space left on device" in pipeline.stderr()
    closed = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *alpha(*tool)], env=environment(), capture_output=True, timeout=20,
        check=False, cwd=ROOT, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert b"bug" not in closed.stderr
    assert b"Traceback" not in closed.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-"])
@by_filter
def test_a_closed_descriptor_is_named(stage: tuple[str, ...], closed: str) -> None:
    """Whoever starts a stage without stdin or stdout is told; no other file slips into their place."""
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *alpha(*stage)], input=stream([tick()]), env=environment(),
        capture_output=True, timeout=20, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 74
    assert b"Bad file descriptor" in done.stderr


# --- gates -----------------------------------------------------------------------------------

#: A filter of one gate: orders of more than five units are denied, after others the stream is told something.
GATE = """
from alpha_cli.core.events import Denial, Gap, Order
from alpha_cli.stream.loop import run
from alpha_cli.stream.stage import Flow, Program, Reads, Stage

def judge(order):
    if order.quantity > 5:
        return [Denial(order.signal_id, order.strategy_id, order.broker, "TOO_MUCH", "more than 5")]
    return [Gap(reason="before"), order, Gap(reason="after")]

raise SystemExit(run(Program.of(Stage("gate", Reads({Order: judge}), flow=Flow(gates=frozenset({Order}))))))
"""


def test_what_a_gate_withholds_reaches_nobody() -> None:
    """In a process of its own before paper: the denial stands in the line's place, the rest is the original bytes."""
    odd = encode(order(1)).replace(b'","', b'", "')
    before, after = encode(Gap(reason="before")), encode(Gap(reason="after"))
    denial = encode(Denial("s2", "test", "paper", "TOO_MUCH", "more than 5"))
    with Pipeline([sys.executable, "-c", GATE], alpha("paper", "--forward")) as pipeline:
        pipeline.write(stream([tick(), odd, order(2, quantity=6), tick(1)]))
        assert pipeline.finish() == [0, 0]
        passed = [line for line in pipeline.output.splitlines() if decode(line).__class__ not in BOOKED]
        assert passed == stream([tick(), before, odd, after, denial, tick(1)]).splitlines()
        assert [one.order_id for one in map(decode, pipeline.output.splitlines()) if type(one) is Fill] == ["o1"]
        counted = counters(pipeline.stderr(0))
        assert (counted["in"], counted["out"]) == (6, 8)


# --- bad lines -------------------------------------------------------------------------------


@by_filter
def test_a_bad_line_ends_a_filter_with_65(stage: tuple[str, ...]) -> None:
    """All before it is written, then an eof with the cause; one line on stderr says where and how to mend it."""
    before = [tick(), tick(1)]
    done = run_alpha(stage, stream([*before, b"{oops", tick(2)]))
    assert done.returncode == 65
    assert done.stdout.startswith(stream(before, eof=None))
    assert encode(tick(2)) not in done.stdout
    assert (ending(done.stdout).ok, ending(done.stdout).code) == (False, 65)
    complaint, counted = done.stderr.decode().splitlines()
    assert " in=4 accepted=3 rejected=1 " in counted
    assert complaint.startswith(f"alpha {stage[0]}: line 4: not JSON: ")
    assert complaint.endswith("{oops (--bad skip or --bad FILE goes on)")
    after = run_alpha(["risk"], done.stdout)
    assert after.returncode == 65
    assert after.stdout.endswith(done.stdout.splitlines(keepends=True)[-1])


@by_filter
def test_a_bad_line_outside_a_session_promises_no_eof(stage: tuple[str, ...]) -> None:
    """Without hello there is no eof to write."""
    done = run_alpha(stage, encode(tick()) + b"\n{oops\n")
    assert done.returncode == 65
    assert b'"eof"' not in done.stdout


@by_name
def test_skipped_lines_are_counted(stage: tuple[str, ...]) -> None:
    """`--bad skip`: 0, the good lines go on, and what came in is accepted or rejected; blank lines are neither."""
    done = run_alpha([*stage, "--bad", "skip"], stream([tick(), b"{oops", b"", b"[]", b"\xff", b" ", tick(1)]))
    assert done.returncode == 0
    counted = counters(done.stderr.decode())
    assert (counted["in"], counted["accepted"], counted["rejected"]) == (7, 4, 3)
    if stage in FILTERS:
        assert [line for line in done.stdout.splitlines() if b'"portfolio"' not in line] == stream(
            [tick(), tick(1)]
        ).splitlines()


@by_name
def test_dead_letters_are_kept(stage: tuple[str, ...], tmp_path: Path) -> None:
    """`--bad FILE`: 0, and each line with the reason and its number, exact even if it is not UTF-8."""
    path = tmp_path / "dead.ndjson"
    done = run_alpha([*stage, "--bad", str(path)], stream([tick(), b"{oops", b"\xff\xfe"]))
    assert done.returncode == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    first, second = map(json.loads, path.read_bytes().splitlines())
    assert set(first) == {"error", "line_number", "raw"}
    assert (first["line_number"], first["raw"]) == (3, "{oops")
    assert second["line_number"] == 4
    assert second["raw_base64"] == "//4="


def test_a_broken_tick_that_risk_needs_stops_it() -> None:
    """It is kept unread until a signal asks for the price; then it is a bad line like any other."""
    bad_tick = b'{"type":"tick","instrument_token":256265,"timestamp":"2024-06-03'
    data = stream([tick(), bad_tick, signal(), signal(2)])
    done = run_alpha(["risk"], data)
    assert done.returncode == 65
    assert done.stdout.startswith(stream([tick(), bad_tick], eof=None))
    assert b'"order"' not in done.stdout
    skipped = run_alpha(["risk", "--bad", "skip"], data)
    assert skipped.returncode == 0
    assert counters(skipped.stderr.decode())["rejected"] == 1
    assert skipped.stdout.count(b'"denial"') == 2


# --- how input ends --------------------------------------------------------------------------


@by_name
def test_a_torn_last_line_is_bad(stage: tuple[str, ...]) -> None:
    """Without hello nobody promised more, so the line itself is wrong; a whole one only lacks its newline."""
    torn = encode(tick()) + b"\n" + encode(tick(1))[:-20]
    assert run_alpha([*stage, "--bad", "fail"], torn).returncode == 65
    whole = run_alpha([*stage, "--bad", "fail"], encode(tick()) + b"\n" + encode(tick(1)))
    assert whole.returncode == 0
    if stage in FILTERS:
        assert whole.stdout.startswith(encode(tick()) + b"\n" + encode(tick(1)) + b"\n")


@by_name
@pytest.mark.parametrize("torn", [b"", b'{"type":"tick","instr'], ids=["between lines", "within a line"])
def test_input_that_ends_early_is_75(stage: tuple[str, ...], torn: bytes) -> None:
    """A hello promised an eof; what was read is finished all the same."""
    data = stream([*ticks(100), signal()], eof=None) + torn
    done = run_alpha([*stage, "--bad", "fail"], data)
    assert done.returncode == 75
    if stage in FILTERS:
        assert b"tick" in done.stdout
        assert encode(signal()) in done.stdout
        assert torn == b"" or not done.stdout.endswith(torn)
        assert b'"eof"' not in done.stdout


@by_name
@pytest.mark.parametrize("code", [69, 77, 80])
def test_an_eof_tells_every_stage_its_code(stage: tuple[str, ...], code: int) -> None:
    """The cause of a failure goes through the whole pipeline, as the line and as the exit code."""
    done = run_alpha(stage, stream([tick()], eof=code))
    assert done.returncode == code
    if stage in FILTERS:
        assert done.stdout.endswith(stream(hello=False, eof=code))


@by_name
@pytest.mark.parametrize("after", [encode(tick()) + b"\n", b"oops\n"], ids=["tick", "bad line"])
def test_a_newer_wire_is_refused(stage: tuple[str, ...], after: bytes) -> None:
    """65, and both versions are named, whatever follows: it may be wrong only to this version."""
    done = run_alpha(stage, b'{"type":"hello","wire":2,"source":"x","version":"9"}\n' + after)
    assert done.returncode == 65
    assert b"wire version 2, this alpha reads 1" in done.stderr
    assert encode(tick()) not in done.stdout


# --- signals ---------------------------------------------------------------------------------

PIPE = (alpha(*MOMENTUM), alpha("risk"), alpha("paper", "--forward"))


def flowing(output: bytearray) -> bool:
    """Enough has come through for every stage to be in its loop."""
    return output.count(b"\n") > 300


def test_sigterm_to_all_loses_no_line(source: list[str]) -> None:
    """Only the source stops; the others drain, and all end with 0."""
    with Pipeline(source, *PIPE) as pipeline:
        pipeline.wait_for(flowing)
        pipeline.signal(signals.SIGTERM)
        assert pipeline.wait() == [0, 0, 0, 0]
        assert pipeline.output.count(b'{"type":"tick"') == ending(pipeline.output).count


@pytest.mark.parametrize("number", [signals.SIGTERM, signals.SIGINT])
def test_a_feed_stops_its_pipeline_without_loss(number: int) -> None:
    """The real source: a signal to all ends it with an eof that counts every tick which came through."""
    with Pipeline(alpha("feed", "synthetic", "--speed", "2000"), *PIPE) as pipeline:
        pipeline.wait_for(flowing)
        pipeline.signal(number)
        assert pipeline.wait() == [0 if number == signals.SIGTERM else -number] * 4
        assert pipeline.output.count(b'{"type":"tick"') == ending(pipeline.output).count
        assert ending(pipeline.output).reason == signals.Signals(number).name


def test_a_feed_whose_reader_left_is_silent() -> None:
    """`alpha feed | head -1`."""
    with Pipeline(alpha("feed", "synthetic"), ["head", "-1"]) as pipeline:
        assert pipeline.finish() == [141, 0]
        assert pipeline.stderr(0) == ""


def test_a_whole_pipeline_is_the_same_in_one_process() -> None:
    """`alpha pipe` gives the bytes of the shell's pipeline."""
    feed = ("feed", "--ticks", "5000", "--seed", "3")
    with Pipeline(alpha(*feed), *PIPE) as pipeline:
        assert pipeline.finish() == [0, 0, 0, 0]
        fused = run_alpha(["pipe", f"{' '.join(feed)} | run-strategy momentum | risk | paper --forward"])
        assert fused.returncode == 0
        assert fused.stdout == pipeline.output


def test_twelve_sigterms_while_draining_are_one(source: list[str]) -> None:
    """A manager and a shell both signal; a late one must not turn a good end into a bad one."""
    with Pipeline(source, *PIPE) as pipeline:
        pipeline.wait_for(flowing)
        for _ in range(12):
            pipeline.signal(signals.SIGTERM)
            threading.Event().wait(0.003)
        assert pipeline.wait() == [0, 0, 0, 0]
        assert pipeline.output.count(b'{"type":"tick"') == ending(pipeline.output).count


def test_sigint_ends_a_drained_stage_by_sigint(source: list[str]) -> None:
    """No line is lost, and a shell loop around the pipeline sees how its children died and stops."""
    with Pipeline(source, *PIPE) as pipeline:
        pipeline.wait_for(flowing)
        pipeline.signal(signals.SIGINT)
        assert pipeline.wait() == [0, -signals.SIGINT, -signals.SIGINT, -signals.SIGINT]
        assert pipeline.output.count(b'{"type":"tick"') == ending(pipeline.output).count


def test_a_killed_source_is_told_from_a_finished_one(source: list[str]) -> None:
    """kill -9 leaves no eof: every stage after it ends with 75."""
    with Pipeline(source, *PIPE) as pipeline:
        pipeline.wait_for(flowing)
        pipeline.processes[0].kill()
        assert pipeline.wait() == [-9, 75, 75, 75]


def signalled(pipeline: Pipeline, number: int, at: int) -> None:
    """Signal a filter and wait until it has taken notice: it goes on reading, which its output shows."""
    pipeline.signal(number)
    line = encode(tick(at)) + b"\n"
    pipeline.write(line)
    pipeline.wait_for(line)


@by_filter
def test_a_second_sigint_leaves_at_once(stage: tuple[str, ...]) -> None:
    """The first drains; a person who insists is obeyed with 130, and told so in a line."""
    with Pipeline(alpha(*stage, "--drain", "60")) as pipeline:
        pipeline.write(stream([tick()], eof=None))
        pipeline.wait_for(encode(tick()))
        signalled(pipeline, signals.SIGINT, 1)
        pipeline.signal(signals.SIGINT)
        assert pipeline.wait() == [130]
        assert pipeline.stderr().count("\n") == 1
        assert "interrupted twice" in pipeline.stderr()


def test_a_reader_that_takes_nothing_is_named_when_draining_ends() -> None:
    """The input had ended; what did not move was the output."""
    read, write = os.pipe()
    with Pipeline(alpha("bars", "--drain", "0.3"), stdout=write) as pipeline:
        os.close(write)
        threading.Thread(target=_give, args=(pipeline, stream(ticks(60_000))), daemon=True).start()
        os.read(read, 1)  # it has begun to write, and nobody reads on
        time.sleep(0.2)
        pipeline.signal(signals.SIGTERM)
        assert pipeline.processes[0].wait(DEADLINE) == 128 + signals.SIGTERM
        assert pipeline.stderr().startswith("alpha bars: the reader of the output did not take it within --drain")
        os.close(read)


def _give(pipeline: Pipeline, data: bytes) -> None:
    with suppress(OSError):
        pipeline.write(data)


@by_filter
@pytest.mark.parametrize("number", [signals.SIGTERM, signals.SIGINT])
def test_draining_has_a_deadline(stage: tuple[str, ...], number: int) -> None:
    """An input that does not end within --drain is left, with 128 + the signal and a line that says so."""
    with Pipeline(alpha(*stage, "--drain", "0.1")) as pipeline:
        pipeline.write(stream([tick()], eof=None))
        pipeline.wait_for(encode(tick()))
        pipeline.signal(number)
        assert pipeline.wait() == [128 + number]
        assert "did not end within 0.1 s" in pipeline.stderr()
        assert pipeline.stderr().count("\n") == 1


@by_filter
def test_a_signalled_filter_reads_on_to_the_end(stage: tuple[str, ...]) -> None:
    """Whatever still comes after SIGTERM is handled as before."""
    with Pipeline(alpha(*stage)) as pipeline:
        pipeline.write(stream([tick()], eof=None))
        pipeline.wait_for(encode(tick()))
        signalled(pipeline, signals.SIGTERM, 1)
        signalled(pipeline, signals.SIGTERM, 2)
        pipeline.write(stream([tick(3)], hello=False))
        assert pipeline.finish() == [0]
        assert encode(tick(3)) in pipeline.output


# --- memory ----------------------------------------------------------------------------------

LIMIT = 64 << 20


@pytest.mark.parametrize("mebibytes", [128, pytest.param(1024, marks=pytest.mark.stress)])
@pytest.mark.parametrize("stage", [*FILTERS, FEED], ids=" ".join)
def test_a_line_of_a_gigabyte_costs_no_memory(stage: tuple[str, ...], mebibytes: int) -> None:
    """Under --bad skip its neighbours are handled, and the stage never takes 64 MiB; in CI a shorter line will do."""
    part = b"x" * (1 << 20)
    with Pipeline(alpha(*stage, "--bad", "skip")) as pipeline:
        pipeline.write(stream([tick()], hello=False, eof=None))
        for _ in range(mebibytes):
            pipeline.write(part)
        pipeline.write(b"\n" + encode(tick(1)) + b"\n")
        pipeline.wait_for(encode(tick(1)))
        assert pipeline.peak_memory() < LIMIT
        assert pipeline.finish() == [0]
        assert encode(tick()) in pipeline.output
        assert counters(pipeline.stderr())["rejected"] == 1


@pytest.mark.stress
@by_filter
def test_memory_does_not_grow_with_the_stream(stage: tuple[str, ...]) -> None:
    """Ten times the ticks, the same peak."""
    peaks = []
    part = stream(ticks(10_000, (7, 8)), hello=False, eof=None)
    last = encode(tick(20_000)) + b"\n"
    for repeats in (2, 20):
        with Pipeline(alpha(*stage)) as pipeline:
            for _ in range(repeats):
                pipeline.write(part)
            pipeline.write(last)
            pipeline.wait_for(lambda output: output.endswith(last))
            peaks.append(pipeline.peak_memory())
            assert pipeline.finish() == [0]
    assert peaks[1] - peaks[0] < 4 << 20
