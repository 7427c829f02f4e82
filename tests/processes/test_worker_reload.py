"""A reload under `--workers`: what it adds and changes begins with what a run without workers would give it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.events import BANK, NIFTY, stream, tick
from support.examples import rest_nightly
from support.misdeeds import configured, signals_in, written
from support.processes import Pipeline, alpha, run_alpha
from support.workers import closing, control, frugal, kill, live, until, workers_of

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc to find the workers in")

THIRD = 408065

#: What they say depends on all that they are shown when they begin.
KINDS = """
class Looks:
    tick_fields = ()
    def __init__(self, fields=0):
        self.warm = []
    def warmup(self, history):
        self.warm.append(len(history))
    def process_tick(self, tick, history):
        told = len(history), sum(one.last_price for one in history), self.warm
        return SignalResult("BUY", quantity=1, reasoning=f"{told}")
    def snapshot(self):
        return self.warm
    def restore(self, state):
        self.warm = state

class Sums(Looks):
    tick_fields = ("volume_traded", "oi")
    def process_tick(self, tick, history):
        told = len(history), sum((one.volume_traded + one.oi) * place for place, one in enumerate(history))
        return SignalResult("SELL", quantity=1, reasoning=f"{told}")

class Bars:
    bars = ("1m", "3m")
    def process_tick(self, tick, history):
        return None
    def on_bar(self, bar, history):
        told = bar.start.isoformat(), bar.interval, bar.open, bar.high, bar.low, bar.volume, bar.ticks, len(history)
        return SignalResult("SELL", quantity=1, price=bar.close, reasoning=f"{told}")
"""


def put(folder: Path, name: str, kind: str, *tokens: int, **fields: Any) -> None:
    """The configuration of a strategy."""
    lines = {"id": name, "strategy_type": f"../mis.py:{kind}", "instruments": list(tokens), **fields}
    (folder / "strategies" / f"{name}.yaml").write_text("".join(f"{key}: {value}\n" for key, value in lines.items()))


def drop(folder: Path, *names: str) -> None:
    for name in names:
        (folder / "strategies" / f"{name}.yaml").unlink()


def market(first: int, last: int) -> list[Any]:
    """Ticks of three instruments: several of one moment, some out of order, some outside the session."""
    made = []
    for number in range(first, last):
        at = number // 3 * 1.5
        for token in (NIFTY, BANK, THIRD):
            fields = {"volume_traded": 1000 + number * 10 + token % 7, "oi": 100 + number}
            late = at - 3 if number % 7 == 5 else at
            made.append(tick(late, price=100 + (number * 37 + token) % 23, token=token, **fields))
    return made


def begin(folder: Path) -> None:
    """What runs before the first reload: each instrument has followers in one worker only, or in several."""
    (folder / "strategies").mkdir(parents=True)
    written(folder, more=KINDS)
    put(folder, "a", "Looks", NIFTY)
    put(folder, "b", "Looks", BANK, max_history=5)
    put(folder, "c", "Sums", NIFTY, BANK, max_history=90)
    put(folder, "d", "Bars", BANK)
    put(folder, "e", "Looks", NIFTY, max_history=3)
    put(folder, "f", "Bars", THIRD)
    put(folder, "g", "Looks", THIRD, max_history=120)


def change(folder: Path) -> None:
    """Adds on every instrument, for every worker; follows more; removes who alone kept so much."""
    for number in range(6):
        put(folder, f"n{number}", "Looks", NIFTY, BANK, THIRD)
        put(folder, f"o{number}", "Bars", THIRD, BANK)
        put(folder, f"p{number}", "Sums", THIRD)
    put(folder, "a", "Looks", NIFTY, THIRD, max_history=110)
    put(folder, "d", "Bars", BANK, NIFTY)
    drop(folder, "g", "c")


def change_again(folder: Path) -> None:
    """Now that lanes and bars are left of those that were removed."""
    drop(folder, "n0", "n3", "o1", "f", "p0", "d")
    for number in range(4):
        put(folder, f"q{number}", "Bars", NIFTY, THIRD, BANK)
        put(folder, f"r{number}", "Looks", BANK, THIRD, max_history=64)


def managed(folder: Path, workers: int, *, command: Sequence[str] = (), killing: str = "") -> tuple[bytes, list[str]]:
    """Output and closing lines of a run with two reloads, each in the middle of a batch and of a moment."""
    begin(folder)
    run = [*(command or alpha()), "run-strategy", "--all", "--workers", str(workers)]
    with Pipeline(run, env={"ALPHA_CONFIG_DIR": str(folder)}) as pipeline:

        def together(*events: Any, **ends: Any) -> None:
            nonlocal sent
            sent += len(events)
            pipeline.write(stream(events, **ends))
            pipeline.wait_for(lambda output: output.count(b'"type":"tick"') + output.count(b'"by":"me"') >= sent)

        def death(when: str) -> None:
            if workers and when in killing:
                found = workers_of(pipeline)
                for process in found:
                    kill(process)
                assert until(lambda: not any(one.runs for one in found))

        asked, sent = control("reload"), 0
        together(*market(-10, 0), *market(0, 111), eof=None)
        change(folder)
        death("before")
        together(*market(111, 190), asked, *market(190, 260), hello=False, eof=None)
        death("between")
        change_again(folder)
        together(*market(260, 301), asked, *market(301, 350), hello=False, eof=None)
        death("after")
        together(*market(350, 400), hello=False)
        assert pipeline.finish() == [0]
        return pipeline.output, closing(pipeline.stderr().encode())


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[str]]:
    """The run without workers."""
    found = managed(tmp_path_factory.mktemp("reload") / "configs", 0)
    assert found[0].count(b'"by":"run-strategy"') > 30
    for name in (b"n0", b"o0", b"p0", b"q0", b"r0", b"a", b"d"):
        assert b'"strategy_id":"%s"' % name in found[0], name
    return found


@pytest.mark.parametrize("count", rest_nightly(1, [3, 1, 2, 7]))
def test_what_a_reload_adds_or_changes_says_what_it_says_without_workers(
    count: int, plain: tuple[bytes, list[str]], tmp_path: Path
) -> None:
    """Histories, fields in them, bars at hand, and which tick of a moment it is; in whichever worker it lives."""
    output, lines = managed(tmp_path / "configs", count)
    assert output == plain[0]
    assert lines == plain[1]


@pytest.mark.parametrize("killing", rest_nightly(1, ["before between after", "before", "between", "after"]))
@pytest.mark.parametrize("requests", [1, 2_000])
def test_a_worker_that_dies_around_a_reload_goes_on_as_if_nothing_had_been(
    killing: str, requests: int, plain: tuple[bytes, list[str]], tmp_path: Path
) -> None:
    """Started again from before it or from after it; also with the bars and instruments that nobody wants any more."""
    command = frugal(tmp_path, requests)
    assert managed(tmp_path / "configs", 2, command=command, killing=killing)[0] == plain[0]


def test_a_reload_from_beside_the_stream_and_one_line_at_a_time_are_no_different(tmp_path: Path) -> None:
    """Each event a request of its own."""
    outputs = []
    for count in (0, 2):
        folder = tmp_path / str(count)
        begin(folder)
        run = alpha("run-strategy", "--all", "--workers", str(count))
        with Pipeline(run, env={"ALPHA_CONFIG_DIR": str(folder)}) as pipeline:
            live(pipeline, stream(market(0, 13), eof=None))
            change(folder)
            live(pipeline, stream([control("reload"), *market(13, 30)], hello=False))
            assert pipeline.finish() == [0]
            outputs.append(pipeline.output)
    assert outputs[1] == outputs[0]
    assert len(signals_in(outputs[0])) > 500


def test_a_worker_reads_configurations_and_files_once_for_all(tmp_path: Path) -> None:
    """What is said of them is said once; what cannot be read leaves all as it is, with one line."""
    begin(tmp_path)
    put(tmp_path, "z", "Looks", NIFTY, is_active="false")
    run = alpha("run-strategy", "--all", "--workers", "3", "-q")
    with Pipeline(run, env={"ALPHA_CONFIG_DIR": str(tmp_path)}) as pipeline:
        live(pipeline, stream([*market(0, 2), control("reload"), *market(2, 4)], eof=None))
        (tmp_path / "strategies" / "y.yaml").write_text("id: [")
        live(pipeline, stream([control("reload"), *market(4, 6)], hello=False))
        assert pipeline.finish() == [0]
        said = pipeline.stderr()
    assert said.count("z is not active") == 2
    assert said.count("not reloaded: ") == 1
    assert pipeline.output.count(b"refused, see the log; all goes on as before") == 1


def test_what_a_reload_refused_goes_on_also_in_a_new_process(tmp_path: Path) -> None:
    """As it was before that reload, configuration and file."""
    (tmp_path / "strategies").mkdir()
    written(tmp_path, more=KINDS)
    put(tmp_path, "mine", "Looks", NIFTY)
    put(tmp_path, "last", "Looks", NIFTY)
    outputs = []
    for count in (0, 1):
        path = tmp_path / "mis.py"
        written(tmp_path, more=KINDS)
        put(tmp_path, "mine", "Looks", NIFTY)
        with Pipeline(
            alpha("run-strategy", "--all", "--workers", str(count)), env={"ALPHA_CONFIG_DIR": str(tmp_path)}
        ) as pipeline:
            live(pipeline, stream(market(0, 3), eof=None))
            path.write_text("def (")
            put(tmp_path, "mine", "Looks", NIFTY, parameters="{often: 1}")
            live(pipeline, stream([control("reload"), *market(3, 6)], hello=False, eof=None))
            for process in workers_of(pipeline):
                kill(process)
            live(pipeline, stream(market(6, 9), hello=False))
            assert pipeline.finish() == [0]
            outputs.append(pipeline.output)
    assert outputs[0].count(b"refused, see the log; it goes on as before") == 2
    assert len(signals_in(outputs[0])) == 16  # one of the nine ticks lies before the session
    assert outputs[1] == outputs[0]


def test_which_of_the_ticks_of_a_moment_it_is_does_not_depend_on_who_else_follows(tmp_path: Path) -> None:
    """A late one, that is: the ids of a strategy with a short history are those that it has beside one with a long."""
    written(tmp_path)
    events = [tick(9), *(tick(number % 4, price=100 + number) for number in range(40))]
    outputs = []
    for others in ((), ("long",)):
        options = [*configured(tmp_path, "short", max_history=2), *configured(tmp_path, *others)]
        done = run_alpha(["run-strategy", *options], stream(events))
        outputs.append([line for line in signals_in(done.stdout) if b'"short"' in line])
    assert len({line.split(b'"')[7] for line in outputs[0]}) == 41
    assert outputs[1] == outputs[0]
