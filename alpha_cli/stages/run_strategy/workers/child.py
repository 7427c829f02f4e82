"""The process of one worker: it hosts its share of the strategies and answers requests."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, NoReturn

import msgspec

from alpha_cli.core.codec import decode, encode
from alpha_cli.core.errors import AlphaError
from alpha_cli.core.events import Control, Signal, Tick
from alpha_cli.core.text import printable
from alpha_cli.stages.run_strategy import snapshot
from alpha_cli.stages.run_strategy.config import PINNED
from alpha_cli.stages.run_strategy.executor import Cause
from alpha_cli.stages.run_strategy.factory import loaded_sources
from alpha_cli.stages.run_strategy.failures import describe_failure
from alpha_cli.stages.run_strategy.host import Host, HostOptions
from alpha_cli.stages.run_strategy.requests import refusal
from alpha_cli.stages.run_strategy.roster import KnownInstruments
from alpha_cli.stages.run_strategy.selection import Wanted
from alpha_cli.stages.run_strategy.workers.marks import Marks
from alpha_cli.stages.run_strategy.workers.messages import Added, Answer, Request, Stop, union_of_fields
from alpha_cli.stream.bad_lines import SKIP_LINES, BadLines
from alpha_cli.stream.decoder import LineDecoder
from alpha_cli.stream.log import log_line
from alpha_cli.stream.stage import Reads, Stage


def work(
    connection: Connection,
    options: HostOptions,
    wanted: Sequence[Wanted],
    *,
    marks: Marks,
    broken: Mapping[str, str],
    sources: Mapping[str, bytes],
    restarted: bool,
) -> NoReturn:
    """Run the process up to its end.

    broken     strategies that cannot be made, and why
    sources    content to use in place of the files of strategies
    restarted  the strategies ran before
    """
    code = 1
    try:
        _settle_in(connection.fileno())
        PINNED.pin(sources)
        _serve(connection, options, wanted, marks=marks, broken=broken, restarted=restarted)
        code = 0
    except BaseException as error:
        _report(f"a worker ends: {describe_failure(error)}")
    finally:
        os._exit(code)  # without the exit handlers of the main process


def _serve(
    connection: Connection,
    options: HostOptions,
    wanted: Sequence[Wanted],
    *,
    marks: Marks,
    broken: Mapping[str, str],
    restarted: bool,
) -> None:
    """Answer requests until the other end is closed. An error at the start is in the first answer."""
    reloaded: list[Wanted] = []  # by the current request
    try:
        host = Host(
            options,
            wanted,
            lambda: reloaded,
            _report,
            guard=marks.guard,
            making=marks.making,
            restarted=restarted,
            for_unknown=lambda _: None,  # it may run in another worker
        )
        for name, why in broken.items():
            host.runner.roster.disable(name, why)
        handler = _Handler(host, marks, reloaded)
        host.start()
        first = Answer(tick_fields=host.tick_fields)
    except AlphaError as error:
        _send(connection, Answer(error=str(error), code=error.exit_code))
        return
    _send(connection, first)
    while True:
        try:
            request = msgspec.msgpack.decode(connection.recv_bytes(), type=Request)
        except (EOFError, OSError):  # the run is over, however it ended
            return
        try:
            answer = handler.answer(request)
        except AlphaError as error:
            answer = Answer(error=str(error), code=error.exit_code)
        _send(connection, answer)


class _MainProcessReports(BadLines):
    """Ignores bad lines: the main process, which reads the same lines, handles them."""

    def reject(self, line_number: int | None, raw: bytes, reason: str, instrument_token: int | None = None) -> None:
        """Ignore a bad line."""


class _Handler:
    """Handles each kind of request."""

    def __init__(self, host: Host, marks: Marks, reloaded: list[Wanted]) -> None:
        self._host = host
        self._marks = marks
        self._reloaded = reloaded
        self._fields: tuple[str, ...] | None = ()
        # It decodes as the loop does.
        reads = Reads(
            host.steps,
            every_tick=True,
            tick_fields=lambda: union_of_fields([host.tick_fields, self._fields]),
        )
        stage = Stage("run-strategy", reads)
        self._decoder = LineDecoder([stage], _MainProcessReports("run-strategy", SKIP_LINES))
        self._kinds: dict[str, Callable[[Request, Answer], None]] = {
            "batch": self._handle_batch,
            "restore": self._restore,
            "again": self._restore,
            "instruments": self._instruments,
            "checkpoint": self._checkpoint,
            "statuses": self._statuses,
            "finish": self._finish,
        }

    def answer(self, request: Request) -> Answer:
        """Carry out a request."""
        answer = Answer()
        if request.kind != "batch":
            for stop in request.stops:  # its snapshot or its shutdown hung
                if (strategy := self._host.runner.strategies.get(stop.strategy)) is not None:
                    strategy.cannot_snapshot = True
        self._kinds[request.kind](request, answer)
        answer.tick_fields = self._host.tick_fields
        return answer

    def _restore(self, request: Request, _: Answer) -> None:
        self._host.restore(snapshot.decode(request.data), whole=request.kind == "again")

    def _instruments(self, _: Request, answer: Answer) -> None:
        answer.data = snapshot.encode(snapshot.of_instruments(self._host.runner))

    def _checkpoint(self, _: Request, answer: Answer) -> None:
        answer.data = snapshot.encode(self._host.snapshot())
        answer.wanted = pickle.dumps(self._host.manager.running)
        answer.disabled = dict(self._host.runner.disabled)
        answer.sources = loaded_sources()

    def _statuses(self, _: Request, answer: Answer) -> None:
        answer.data = msgspec.json.encode(self._host.statuses())
        beyond = self._host.verdict()
        answer.beyond = None if beyond is None else str(beyond)
        answer.stranger = self._host.stranger
        answer.outside = {token: queue.outside for token, queue in self._host.runner.queues.items() if queue.outside}

    def _finish(self, request: Request, _: Answer) -> None:
        if not request.stops:  # else a shutdown hung, and the others were called before it
            self._host.finish()

    def _handle_batch(self, request: Request, answer: Answer) -> None:
        for line in request.side_events:
            self._host.enqueue(decode(line))
        self._fields = request.fields
        if self._decoder.outdated:
            self._decoder.rebuild()
        roster = self._host.runner.roster
        if request.reload is not None:
            self._reloaded[:] = pickle.loads(request.reload.wanted)  # noqa: S301  (the main process wrote it)
            roster.elsewhere = snapshot.known(snapshot.decode(request.reload.known))
            PINNED.pin(request.reload.sources)
        try:
            answer.added = self._added(request)
        finally:
            roster.elsewhere = KnownInstruments()

    def _added(self, request: Request) -> list[Added]:
        """Return what strategies add to the lines of a batch."""
        stops: dict[int, list[Stop]] = {}
        for stop in request.stops:
            stops.setdefault(stop.line, []).append(stop)
        lines = request.data.split(b"\n")
        lines.pop()
        events = self._decoder.events(lines)
        steps = self._steps()
        added: list[Added] = []
        for index in range(len(lines)):
            event = self._decoder.verified(index, lines[index], events[index])
            for stop in stops.get(index, ()):
                added += self._paused(stop, event)
            step = steps.get(type(event))
            if step is None:
                continue
            if index in stops and isinstance(event, Control):  # the process did not survive this request
                refused = refusal(event)
                added.append(Added(index, self._key(refused, event), encode(refused)))
                continue
            self._marks.at(index)
            made = step(event)
            if made:
                added += [Added(index, self._key(new, event), encode(new)) for new in made]
            if type(event) is Control and self._decoder.outdated:
                self._decoder.rebuild()
                steps = self._steps()
                events[index + 1 :] = self._decoder.events(lines[index + 1 :], index + 1)
        return added

    def _steps(self) -> dict[type, Callable[[Any], Iterable[Any]]]:
        """Return the steps, with the one for ticks under the type that the decoder makes."""
        steps: dict[type, Callable[[Any], Iterable[Any]]] = {**self._host.steps}
        return steps | {self._decoder.tick_type: steps[Tick]}

    def _paused(self, stop: Stop, event: Any) -> Iterable[Added]:
        """Pause a strategy at `event` and yield the line that says so, at its time."""
        circuits = self._host.runner.circuits
        strategy = self._host.runner.strategies.get(stop.strategy)
        if strategy is not None and strategy.stopped is None:
            now = getattr(event, "timestamp", None) or circuits.last_time(strategy)
            if stop.kind == "memory":
                circuits.discard(strategy)
            control = circuits.pause(strategy, Cause(stop.kind, stop.reason), now)
            yield Added(stop.line, self._key(control, None), encode(control))

    def _key(self, event: Any, cause: Any) -> str:
        """Return the sort key of an event: the place of its strategy, or its name after a reload."""
        name = event.strategy_id if isinstance(event, Signal) else event.target
        if isinstance(cause, Control) and cause.action == "reload":
            return name or ""
        strategy = self._host.runner.strategies.get(name or "")
        return "" if strategy is None else f"{strategy.place:09d}"


_SET_PARENT_DEATH_SIGNAL = 1


def _settle_in(ours: int) -> None:
    """Leave signals, input, output and every other file to the main process.

    A copy of another worker's connection would keep that worker from seeing the end of the run, and a copy of a
    lock would keep it locked for the next run.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    os.closerange(3, ours)
    os.closerange(ours + 1, 1 << 16)
    if sys.platform == "linux":  # a call that hangs would not notice that the run is over
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
    with suppress(OSError):  # the main process has ended, which reading will show
        connection.send_bytes(msgspec.msgpack.encode(answer))


def _report(message: str) -> None:
    log_line(f"alpha run-strategy: {printable(message, 500)}")
