"""Measure alpha as ratios to bare loops of the same run, because machines differ.

    scripts/bench                      everything, about six minutes
    scripts/bench --only speed start   some of it: speed hosting resting risk latency quiet memory start imports
    scripts/bench --ticks 200000       smaller; start-up then weighs more

`speed` compares whole processes, with their start-up, to a loop inside a running process that only
decodes the same lines: `for line in file: decode(line)`. The two sides of a ratio run in turn. The
exit code is 1 if a bound is exceeded.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path

from bench_hosting import hosting
from bench_quiet import quiet
from bench_resting import resting
from bench_risk import signals, write

BIN = Path(sys.executable).parent
ALPHA = str(BIN / "alpha")
STAGES = (["run-strategy", "momentum"], ["risk"], ["paper"])
INSTRUMENTS = "256265,260105"
MIB = 1 << 20

missed: list[str] = []


def report(
    what: str, values: Iterable[float], *, bound: float | None = None, aim: float | None = None, unit: str = "×"
) -> None:
    """Print one figure: median (min to max), and whether it is within its bound."""
    figures = sorted(values)
    middle = statistics.median(figures)
    line = f"  {what:<58} {middle:8.2f} {unit:<3} ({figures[0]:.2f} to {figures[-1]:.2f})"
    if bound is not None:
        line += f"  bound {bound:g}" + (f", aim {aim:g}" if aim else "") + ("  ok" if middle <= bound else "  MISSED")
        if middle > bound:
            missed.append(what)
    print(line, flush=True)


def wall(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def quietly(*command: str, stdin: Path | None = None) -> bytes:
    with Path(stdin or os.devnull).open("rb") as file:
        return subprocess.run(command, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout


# --- speed -------------------------------------------------------------------------------------

FLOOR = """
import sys, time
from alpha_cli.core import codec
decode = {decode}
start = time.perf_counter()
with open(sys.argv[1], "rb") as file:
    for line in file:
        decode(line)
print(time.perf_counter() - start)
"""

#: Momentum over prices in memory, without events: the base of the figures that other projects publish.
PRICES = """
import sys, time
from collections import deque
from alpha_cli.core.codec import decode
from alpha_cli.core.events import Tick
with open(sys.argv[1], "rb") as file:
    ticks = [(e.instrument_token, e.last_price) for e in map(decode, file) if type(e) is Tick]
start = time.perf_counter()
history, beyond, signals = {}, {}, 0
for token, price in ticks:
    past = history.get(token)
    if past is None:
        past = history[token] = deque(maxlen=20)
    if len(past) == 20:
        change = price / past[0] - 1
        side = 1 if change > 0.0005 else -1 if change < -0.0005 else 0
        if side and side != beyond.get(token):
            signals += 1
        beyond[token] = side
    past.append(price)
print(time.perf_counter() - start)
"""


def speed(ticks: int, rounds: int, folder: Path) -> None:
    path = folder / "ticks.ndjson"
    with path.open("wb") as file:
        subprocess.run(
            [ALPHA, "feed", "--ticks", str(ticks), "--instruments", INSTRUMENTS, "-q"], stdout=file, check=True
        )
    print(f"speed: {ticks:,} ticks of {path.stat().st_size / ticks:.0f} bytes")
    fused = [ALPHA, "pipe", f"feed {path} -q | run-strategy momentum -q | risk -q | paper -q"]
    shell = [
        "bash",
        "-o",
        "pipefail",
        "-c",
        f"{ALPHA} feed {path} -q" + "".join(f" | {ALPHA} {' '.join(s)} -q" for s in STAGES),
    ]
    one, several = quietly(*fused), quietly(*shell)
    if one != several:
        sys.exit("bench: fused and shell outputs differ")
    counted = {kind: one.count(b'{"type":"%s"' % kind.encode()) for kind in ("fill", "portfolio")}
    print(f"  {counted['fill']:,} fills; output of both {hashlib.sha256(one).hexdigest()[:16]}")
    ratios: dict[str, list[float]] = {}
    for _ in range(rounds):
        floor = float(quietly(sys.executable, "-c", FLOOR.format(decode="codec.decode"), str(path)))
        raw = float(quietly(sys.executable, "-c", FLOOR.format(decode="codec._decode_strictly"), str(path)))
        prices = float(quietly(sys.executable, "-c", PRICES, str(path)))
        in_one, in_four = wall(lambda: quietly(*fused)), wall(lambda: quietly(*shell))
        for name, value in {
            "fused ÷ decode": in_one / floor,
            "shell ÷ decode": in_four / floor,
            "fused ÷ raw": in_one / raw,
            "shell ÷ raw": in_four / raw,
            "fused ÷ prices": in_one / prices,
            "decode": floor / ticks * 1e6,
            "fused": in_one / ticks * 1e6,
            "shell": in_four / ticks * 1e6,
        }.items():
            ratios.setdefault(name, []).append(value)
    report("fused pipeline ÷ bare loop of decode", ratios["fused ÷ decode"], bound=2.2, aim=1.7)
    report("shell pipeline of four ÷ bare loop of decode", ratios["shell ÷ decode"], bound=4.5, aim=3.5)
    report("fused pipeline ÷ bare loop of the C decoder alone", ratios["fused ÷ raw"])
    report("shell pipeline ÷ bare loop of the C decoder alone", ratios["shell ÷ raw"])
    report("fused pipeline ÷ bare loop over preloaded prices", ratios["fused ÷ prices"])
    for name in ("decode", "fused", "shell"):
        report(f"{name}, for orientation", ratios[name], unit="µs")


def all_controls(ticks: int, rounds: int, folder: Path) -> None:
    """Compare pipelines with every control on and a signal at every hundredth tick to the decoding loop."""
    path = folder / "risk.ndjson"
    with path.open("wb") as file:
        subprocess.run(
            [ALPHA, "feed", "--ticks", str(ticks), "--instruments", INSTRUMENTS, "-q"], stdout=file, check=True
        )
    limits, config = write(folder)
    stages = (
        f"feed {path} -q", f"run-strategy --config {config} -q", f"risk --config {limits} -q",
        "paper --cash 100000000000 -q",
    )  # fmt: skip
    fused = [ALPHA, "pipe", " | ".join(stages)]
    shell = ["bash", "-o", "pipefail", "-c", " | ".join(f"{ALPHA} {stage}" for stage in stages)]
    one, several = quietly(*fused), quietly(*shell)
    if one != several:
        sys.exit("bench: fused and shell outputs differ")
    fills = one.count(b'{"type":"fill"')
    print(f"risk: {ticks:,} ticks, {fills:,} fills, every control on")
    if fills < ticks // 110:  # the last minutes are after the square-off of MIS: no entries
        sys.exit("bench: risk passed too few orders")
    decode = FLOOR.format(decode="codec.decode")
    ratios: list[tuple[float, float]] = []
    for _ in range(rounds):
        floor = float(quietly(sys.executable, "-c", decode, str(path)))
        ratios.append((wall(lambda: quietly(*fused)) / floor, wall(lambda: quietly(*shell)) / floor))
    in_one, in_four = zip(*ratios, strict=True)
    report("fused pipeline, every control on ÷ bare loop of decode", in_one, bound=2.2)
    report("shell pipeline, every control on ÷ the same", in_four, bound=4.5)


# --- latency -----------------------------------------------------------------------------------


def latency(seconds: int, rate: int, rounds: int) -> None:
    """Measure the time from the write of a tick to the read of its fill, over three processes."""
    print(f"latency: run-strategy | risk | paper --forward, {rate:,} ticks a second, {rounds} times {seconds} s")
    runs = [time_to_fill(seconds, rate) for _ in range(rounds)]
    print(f"  {sum(map(len, runs))} fills")
    report("p50 of each run", [taken[len(taken) // 2] * 1e3 for taken in runs], bound=0.5, unit="ms")
    report("p99 of each run", [taken[len(taken) * 99 // 100] * 1e3 for taken in runs], bound=3, unit="ms")


def time_to_fill(seconds: int, rate: int) -> list[float]:
    """Return the seconds that each fill took, sorted."""
    command = f"{ALPHA} run-strategy momentum -q | {ALPHA} risk -q | {ALPHA} paper --forward -q"
    process = subprocess.Popen(["bash", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    into, out = process.stdin.fileno(), process.stdout.fileno()
    written: dict[bytes, float] = {}
    taken: list[float] = []
    seen = b""

    def read() -> None:
        nonlocal seen
        seen += os.read(out, 1 << 16)
        now = time.perf_counter()
        *lines, seen = seen.split(b"\n")
        for line in lines:
            if line.startswith(b'{"type":"fill"'):
                moment = line.split(b'"timestamp":"', 1)[1].split(b'"', 1)[0]
                taken.append(now - written[moment])

    open_at = datetime.fromisoformat("2026-01-05T09:15:00+05:30")
    start = time.perf_counter() + 1.0  # by then the stages have started
    for number in range(seconds * rate):
        due = start + number / rate
        while (left := due - time.perf_counter()) > 0:
            if select.select([out], [], [], left)[0]:
                read()
        price = 25000.0 if number // 30 % 2 else 25050.0  # a square wave: a signal at every step
        moment = (open_at + timedelta(microseconds=number * (1_000_000 // rate))).isoformat().encode()
        written[moment] = time.perf_counter()
        os.write(
            into, b'{"type":"tick","instrument_token":256265,"timestamp":"%s","last_price":%.2f}\n' % (moment, price)
        )
    process.stdin.close()
    while select.select([out], [], [], 5)[0] and (before := len(seen), read()) and (seen or before):
        pass
    process.stdout.close()
    process.wait()
    taken.sort()
    if len(taken) < seconds * rate // 40:
        sys.exit(f"bench: only {len(taken)} fills came back")
    return taken


# --- memory ------------------------------------------------------------------------------------


def peak_memory(ticks: int, limits: Path) -> dict[str, float]:
    """Return the peak resident memory of each stage of a shell pipeline, in MiB."""
    processes = []
    upstream = None
    strategy, risk, paper = STAGES
    for words in (
        ["feed", "--ticks", str(ticks), "--instruments", INSTRUMENTS], strategy, [*risk, "--config", str(limits)], paper
    ):  # fmt: skip
        last = words[0] == "paper"
        process = subprocess.Popen(
            [ALPHA, *words, "-q"],
            stdin=upstream or subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if last else subprocess.PIPE,
        )
        if upstream:
            upstream.close()
        upstream = process.stdout
        processes.append((words[0], process))
    peaks = {}
    for name, process in processes:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"bench: {name} ended with {process.returncode}")
        peaks[name] = usage.ru_maxrss * 1024 / MIB
    return peaks


def memory(ticks: int, folder: Path) -> None:
    """Measure memory with the packaged limits, except that of losses, which so many days of momentum exceed."""
    print(f"memory: peak resident, {ticks:,} and {5 * ticks:,} ticks")
    limits = folder / "risk.yaml"
    packaged = (Path(__file__).parent.parent / "configs" / "risk.yaml").read_text().splitlines(keepends=True)
    limits.write_text("".join(line for line in packaged if "max_daily_loss:" not in line))
    small, large = peak_memory(ticks, limits), peak_memory(5 * ticks, limits)
    for name, peak in large.items():
        report(f"{name}", [peak], bound=64, unit="MiB")
        report(f"{name}: five times the ticks (and orders)", [peak / small[name]], bound=1.1)


# --- start-up ----------------------------------------------------------------------------------

STARTS: tuple[tuple[str, list[str], float | None], ...] = (
    ("alpha --help", [ALPHA, "--help"], 6),
    ("alpha feed, one tick", [ALPHA, "feed", "--ticks", "1", "-q"], 9),
    ("alpha paper, no input", [ALPHA, "paper", "-q"], 9),
    ("alpha show, no input", [ALPHA, "show", "-q"], 9),
    ("alpha risk, no input", [ALPHA, "risk", "-q"], 18),
    ("alpha run-strategy momentum, no input", [ALPHA, "run-strategy", "momentum", "-q"], 18),
)


def start(rounds: int) -> None:
    print("start-up: ÷ python -c pass")
    ratios: dict[str, list[float]] = {}
    for _ in range(rounds):
        bare = wall(lambda: quietly(sys.executable, "-c", "pass"))
        for name, command, _ in STARTS:
            ratios.setdefault(name, []).append(wall(lambda command=command: quietly(*command)) / bare)
    for name, _, bound in STARTS:
        report(name, ratios[name], bound=bound)


LOADED = """
import sys
from alpha_cli.cli.app import execute
execute(sys.argv[1:])
names = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)
own = sorted(name for name in sys.modules if name.startswith("alpha_cli."))
others = sorted(name for name in names if name[:1] != "_" and name != "alpha_cli")
sys.stderr.write(", ".join(others) + "|" + str(len(sys.modules)) + "|" + " ".join(own))
"""


def imports() -> None:
    print("imports: third-party packages, number of modules, modules of alpha")
    for name, command, _ in STARTS:
        loaded = subprocess.run(
            [sys.executable, "-c", LOADED, *command[1:]], stdin=subprocess.DEVNULL, capture_output=True, check=True
        ).stderr.decode()
        packages, modules, own = loaded.rsplit("|", 2)
        print(f"  {name}: {packages.splitlines()[-1]}; {modules} modules")
        print(f"    {own.replace('alpha_cli.', '')}")


def main() -> None:
    parts = ("speed", "hosting", "resting", "risk", "latency", "quiet", "memory", "start", "imports")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ticks", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if "speed" in options.only:
            speed(options.ticks, options.rounds, Path(folder))
        if "risk" in options.only:
            all_controls(options.ticks, options.rounds, Path(folder))
            signals(report, options.rounds, Path(folder))
    if "hosting" in options.only:
        hosting(report, options.rounds)
    if "resting" in options.only:
        resting(report, min(options.rounds, 3))
    if "latency" in options.only:
        latency(seconds=8, rate=1000, rounds=options.rounds)
    if "quiet" in options.only:
        quiet(report, ALPHA)
    if "memory" in options.only:
        with tempfile.TemporaryDirectory() as folder:
            memory(options.ticks, Path(folder))
    if "start" in options.only:
        start(rounds=4 * options.rounds)
    if "imports" in options.only:
        imports()
    if missed:
        sys.exit(f"bench: bounds exceeded: {', '.join(missed)}")


if __name__ == "__main__":
    main()
