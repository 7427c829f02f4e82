"""The process of one worker: it hosts its share of the strategies and answers what `workers` asks."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from mmap import mmap
from multiprocessing.connection import Connection
from typing import Any, NoReturn

import msgspec

from alpha_cli.core.codec import decode, encode
from alpha_cli.core.errors import AlphaError
from alpha_cli.core.events import Control, Signal, Tick
from alpha_cli.core.text import printable
from alpha_cli.stages.run_strategy import snapshot
from alpha_cli.stages.run_strategy.config import PINNED
from alpha_cli.stages.run_strategy.engine import Known
from alpha_cli.stages.run_strategy.executor import Cause, Process, Strategy
from alpha_cli.stages.run_strategy.factory import loaded_sources, told
from alpha_cli.stages.run_strategy.host import Host, HostOptions
from alpha_cli.stages.run_strategy.requests import refusal
from alpha_cli.stages.run_strategy.selection import Wanted
from alpha_cli.stream.bad_lines import SKIP_LINES, BadLines
from alpha_cli.stream.decoder import LineDecoder
from alpha_cli.stream.log import log_line
from alpha_cli.stream.stage import Options, Stage


class Stop(msgspec.Struct, frozen=True):
    """A strategy that has to stand still from a line of a batch on, because of what it did there."""

    strategy: str
    line: int
    kind: str
    reason: str


class Reload(msgspec.Struct):
    """What a reload brings, so that it brings the same whenever and wherever it is done again.

    wanted   the strategies of this worker, pickled
    sources  path -> what a file with strategies says
    known    what all workers together know of instruments, as JSON
    """

    wanted: bytes
    sources: dict[str, bytes]
    known: bytes


class Ask(msgspec.Struct):
    """What a worker is told to do.

    kind    batch: handle the lines of `data`; restore: go on from the state in `data`, again: that of this run;
            checkpoint, instruments, statuses: say what there is; finish: there are no more ticks
    beside  lines that arrived beside the stream, before the batch
    fields  of a tick that strategies use, those of the other workers too: what is remembered has them
    reload  for a batch that is the request to reload
    """

    kind: str = "batch"
    data: bytes = b""
    beside: list[bytes] = []
    stops: list[Stop] = []
    fields: tuple[str, ...] | None = ()
    reload: Reload | None = None


class Added(msgspec.Struct, array_like=True):
    """A line that a strategy added after the line `index` of the batch; `key` puts them in order."""

    index: int
    key: str
    line: bytes


class Answer(msgspec.Struct):
    """What came of it."""

    added: list[Added] = []
    data: bytes = b""  # a state or statuses, as JSON: it keeps the offsets of times
    wanted: bytes = b""  # with a checkpoint: the strategies that it is of, those that are disabled, and the sources
    disabled: dict[str, str] = {}
    sources: dict[str, bytes] = {}
    outside: dict[int, int] = {}  # token -> ticks outside the session
    beyond: str | None = None  # why some of them are in no session that a calendar knows
    tick_fields: tuple[str, ...] | None = ()
    error: str | None = None  # that ends the run, and its exit code
    code: int = 0


class Marks:
    """What a worker is doing, in memory that outlives it: which strategy it calls, at which line of the batch."""

    SIZE = 96
    _NAME = 24

    def __init__(self, memory: mmap) -> None:
        self._memory = memory
        self._numbers = memoryview(memory)[: self._NAME].cast("Q")  # calls so far, line, length of the name

    def clear(self) -> None:
        """Nothing is called."""
        self._numbers[2] = 0

    def at(self, line: int) -> None:
        """The worker turns to a line of the batch."""
        self._numbers[1] = line

    def guard(self, strategy: Strategy, call: Process) -> Process:
        """`call`, with a mark left while it runs."""
        numbers, memory, first = self._numbers, self._memory, self._NAME
        name = strategy.id.encode()
        length, last = len(name), first + len(name)

        def marked(*given: Any) -> Any:
            before = numbers[2]  # of the strategy itself, or of nobody
            memory[first:last] = name
            numbers[0] += 1
            numbers[2] = length
            try:
                return call(*given)
            finally:
                numbers[2] = before

        return marked

    def making(self, name: str | None) -> None:
        """A strategy is being made, or none any more."""
        if name is not None:
            data = name.encode()
            self._memory[self._NAME : self._NAME + len(data)] = data
        self._numbers[2] = 0 if name is None else len(name)

    @property
    def strategy(self) -> str | None:
        """The strategy that is being called, None between two calls."""
        length = self._numbers[2]
        return self._memory[self._NAME : self._NAME + length].decode() if length else None

    @property
    def line(self) -> int:
        """The line of the batch that it is called for."""
        return self._numbers[1]

    @property
    def calls(self) -> int:
        """Calls so far: the same number at two looks means the same call."""
        return self._numbers[0]


def work(
    connection: Connection,
    options: HostOptions,
    wanted: Sequence[Wanted],
    *,
    marks: Marks,
    broken: Mapping[str, str],
    sources: Mapping[str, bytes],
    again: bool,
) -> NoReturn:
    """All that the process does, up to its end. `broken` are strategies that cannot be made, and why.

    The files of strategies say what `sources` has of them. `again`: its strategies ran before.
    """
    code = 1
    try:
        _settle_in(connection.fileno())
        _pin(sources)
        _serve(connection, options, wanted, marks=marks, broken=broken, again=again)
        code = 0
    except BaseException as error:
        _report(f"a worker ends: {told(error)}")
    finally:
        os._exit(code)  # nothing of what the main process would do at its end is to be done here


def _serve(
    connection: Connection,
    options: HostOptions,
    wanted: Sequence[Wanted],
    *,
    marks: Marks,
    broken: Mapping[str, str],
    again: bool,
) -> None:
    """Answer until the other end is closed. Whatever goes wrong at the start is told in the first answer."""
    brought: list[Wanted] = []  # by the reload at hand
    try:
        host = Host(options, wanted, lambda: brought, _report, guard=marks.guard, making=marks.making, again=again)
        for name, why in broken.items():
            host.runner.disable(name, why)
        host.manager.unknown = lambda _: None  # it may run in another worker
        handler = _Handler(host, marks, brought)
        host.start()
        first = Answer(tick_fields=host.tick_fields)
    except AlphaError as error:
        _send(connection, Answer(error=str(error), code=error.exit_code))
        return
    _send(connection, first)
    while True:
        try:
            ask = msgspec.msgpack.decode(connection.recv_bytes(), type=Ask)
        except (EOFError, OSError):  # the run is over, however it ended
            return
        try:
            answer = handler.answer(ask)
        except AlphaError as error:
            answer = Answer(error=str(error), code=error.exit_code)
        _send(connection, answer)


class _Handler:
    """What to do for each kind of request."""

    def __init__(self, host: Host, marks: Marks, brought: list[Wanted]) -> None:
        self._host = host
        self._marks = marks
        self._brought = brought
        self._fields: tuple[str, ...] | None = ()
        # It decodes as the loop would: what is bad there is skipped here.
        self._stage = Stage(
            "run-strategy",
            host.steps,
            Options(),
            every_tick=True,
            tick_fields=lambda: together([host.tick_fields, self._fields]),
        )
        bad = BadLines("run-strategy", SKIP_LINES)
        bad.reject = lambda *_: None  # type: ignore[method-assign]  # the loop tells of it
        self._decoder = LineDecoder([self._stage], bad)

    def answer(self, ask: Ask) -> Answer:
        host = self._host
        answer = Answer()
        if ask.kind != "batch":
            for stop in ask.stops:  # it did not come back from its snapshot, or from its shutdown
                if (strategy := host.runner.strategies.get(stop.strategy)) is not None:
                    strategy.is_mute = True
        if ask.kind == "batch":
            answer.added = self._batch(ask)
        elif ask.kind in {"restore", "again"}:
            host.restore(snapshot.decode(ask.data), whole=ask.kind == "again")
        elif ask.kind == "instruments":
            answer.data = snapshot.encode(snapshot.of_instruments(host.runner))
        elif ask.kind == "checkpoint":
            answer.data = snapshot.encode(host.snapshot())
            answer.wanted = pickle.dumps(host.manager.running)
            answer.disabled = dict(host.runner.disabled)
            answer.sources = loaded_sources()
        elif ask.kind == "statuses":
            answer.data = msgspec.json.encode(host.statuses())
            beyond = host.verdict()
            answer.beyond = None if beyond is None else str(beyond)
            answer.outside = {token: lane.outside for token, lane in host.runner.lanes.items() if lane.outside}
        elif ask.kind == "finish" and not ask.stops:  # else one did not come back from it; the rest was told
            host.finish()
        answer.tick_fields = host.tick_fields
        return answer

    def _batch(self, ask: Ask) -> list[Added]:
        for line in ask.beside:
            self._host.arrive(decode(line))
        self._fields = ask.fields
        if self._decoder.outdated:
            self._decoder.look()
        if ask.reload is not None:
            self._brought[:] = pickle.loads(ask.reload.wanted)  # noqa: S301  (the main process wrote it)
            self._host.runner.elsewhere = snapshot.known(snapshot.decode(ask.reload.known))
            _pin(ask.reload.sources)
        try:
            return self._handled(ask)
        finally:
            self._host.runner.elsewhere = Known()

    def _handled(self, ask: Ask) -> list[Added]:
        stops: dict[int, list[Stop]] = {}
        for stop in ask.stops:
            stops.setdefault(stop.line, []).append(stop)
        lines = ask.data.split(b"\n")
        lines.pop()
        events = self._decoder.events(lines)
        steps, at = self._host.steps, self._marks.at
        steps = {**steps, self._decoder.tick_type: steps[Tick]}
        added: list[Added] = []
        for index in range(len(lines)):
            event = self._decoder.verified(index, lines[index], events[index])
            for stop in stops.get(index, ()):
                added += self._stopped(stop, event)
            step = steps.get(type(event))
            if step is None:
                continue
            if index in stops and isinstance(event, Control):  # the process did not survive what it asks for
                refused = refusal(event)
                added.append(Added(index, self._key(refused, event), encode(refused)))
                continue
            at(index)
            made = step(event)
            if made:
                added += [Added(index, self._key(one, event), encode(one)) for one in made]
            if type(event) is Control and self._decoder.outdated:
                self._decoder.look()
                steps = {**steps, self._decoder.tick_type: steps[Tick]}
                events[index + 1 :] = self._decoder.events(lines[index + 1 :], index + 1)
        return added

    def _stopped(self, stop: Stop, event: Any) -> Iterable[Added]:
        """Have a strategy stand still at `event`, and say so at its time."""
        runner = self._host.runner
        strategy = runner.strategies.get(stop.strategy)
        if strategy is not None and strategy.stopped is None:
            now = getattr(event, "timestamp", None) or runner.now(strategy)
            if stop.kind == "memory":
                runner.forget(strategy)
            control = runner.stop(strategy, Cause(stop.kind, stop.reason), now)
            yield Added(stop.line, self._key(control, None), encode(control))

    def _key(self, event: Any, cause: Any) -> str:
        """Strategies speak in their order; what became of a reload is told by name."""
        name = event.strategy_id if isinstance(event, Signal) else event.target
        if isinstance(cause, Control) and cause.action == "reload":
            return name or ""
        strategy = self._host.runner.strategies.get(name or "")
        return "" if strategy is None else f"{strategy.place:09d}"


def together(fields: Iterable[tuple[str, ...] | None]) -> tuple[str, ...] | None:
    """The fields of a tick that any of several uses; None: all."""
    fields = list(fields)
    if any(one is None for one in fields):
        return None
    return tuple(sorted({name for one in fields for name in one or ()}))


def _pin(sources: Mapping[str, bytes]) -> None:
    PINNED.clear()
    PINNED.update(sources)


_SET_PARENT_DEATH_SIGNAL = 1


def _settle_in(ours: int) -> None:
    """Leave to the main process what is its own: signals, the input, the output, and every other file.

    With a copy of another worker's line in its hands that one would never see the end of the run, and with a
    copy of a lock the next run would find it held.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    os.closerange(3, ours)
    os.closerange(ours + 1, 1 << 16)
    if sys.platform == "linux":  # one that is stuck in a call would not see that the run is over
        import ctypes

        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    with suppress(OSError):
        os.dup2(2, 1)
    sys.stdout = sys.stderr


def _send(connection: Connection, answer: Answer) -> None:
    with suppress(OSError):  # nobody there: reading will tell
        connection.send_bytes(msgspec.msgpack.encode(answer))


def _report(message: str) -> None:
    log_line(f"alpha run-strategy: {printable(message, 500)}")
