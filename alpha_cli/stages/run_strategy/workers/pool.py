"""`--workers N`: strategies in processes of their own, so that none can hold up or bring down the others.

Every worker hosts some of the strategies and is sent every batch as it came; what its strategies answer
comes back with the line that caused it. Answers are put together line by line in the order of the
strategies, so that the bytes are those of a run without workers.

At a reload the main process reads configurations and the files of strategies, once for all, and hands each
worker what all of them know of its instruments: a strategy that begins there begins as in one process. What
was read stays with the worker: one that is started again runs what it ran, whatever the files say by then.
What such a file imports, or a model that it loads, is read anew.

A worker breaks off a call that is over its deadline by itself. One that does not come back at all is
killed. A worker that died is started again: from the last checkpoint, with what it was sent since, its
answers thrown away; then it is asked again. The strategy that it died in is asked once more, and paused
if that ends the same way. So the others wait for a strategy that hangs for at most

    1.25 × deadline                     where Python can interrupt it
    2 × deadline + 1 s, and a new start where it has to be killed

once, because after that it stands still until a person resumes it. One that stays just below the deadline
holds the others up at every tick, and so does catching up with the log after a death.
"""

from __future__ import annotations

import mmap
import os
import pickle
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any
from zlib import crc32

import msgspec

from alpha_cli.core.codec import decode, encode
from alpha_cli.core.errors import AlphaError, BadLine, InvariantBroken
from alpha_cli.core.events import RISK, RUNNER, Control, Event
from alpha_cli.market.calendar import OutOfCoverage
from alpha_cli.stages.run_strategy import snapshot
from alpha_cli.stages.run_strategy.factory import sources_of
from alpha_cli.stages.run_strategy.host import Host, HostOptions, total
from alpha_cli.stages.run_strategy.requests import BY_THE_CLOCK, not_reloaded, nothing_changed
from alpha_cli.stages.run_strategy.selection import Wanted
from alpha_cli.stages.run_strategy.snapshot import RunnerState
from alpha_cli.stages.run_strategy.status import StrategyStatus
from alpha_cli.stages.run_strategy.workers.child import Added, Answer, Ask, Marks, Reload, Stop, together, work
from alpha_cli.stream.batch import Batch

Report = Callable[[str], None]
Reread = Callable[[], Sequence[Wanted]]

#: After so many bytes or requests a worker is asked for a checkpoint: what it takes to start it again stays little.
_CHECKPOINT_BYTES, _CHECKPOINT_REQUESTS = 8 << 20, 2_000
_LOOK = 0.05  # seconds between two looks at a worker that does not answer
_STARTS = 12  # of one worker for one request that nobody can be blamed for
_BIRTHS = 5  # tries to start a process that dies before any strategy is made
_DEATHS = 5  # in one strategy, between two checkpoints
_CONTROL = b'{"type":"control"'


class Worker:
    """One process, and what it takes to start it again."""

    def __init__(
        self,
        number: int,
        options: HostOptions,
        wanted: Sequence[Wanted],
        *,
        sources: Mapping[str, bytes],
        report: Report,
    ) -> None:
        self._number = number
        self._options = options
        self._wanted = wanted
        self._sources = sources  # what the files of its strategies said when it read them
        self._report = report
        self._marks = Marks(mmap.mmap(-1, Marks.SIZE))
        self._state: Ask | None = None  # the newest checkpoint
        self._asked: list[Ask] = []  # since then
        self._at = 0  # the one of these that is being answered
        self._bytes = 0
        self._strikes: dict[tuple[str, int], int] = {}  # strategy, request -> deaths there
        self._broken: dict[str, str] = {}  # strategies that cannot even be made -> why
        self._pid: int | None = None
        self._connection: Connection | None = None
        self._hung = False
        self._late: list[bytes] = []
        self.tick_fields: tuple[str, ...] | None = ()
        self._start()

    def ask(self, ask: Ask) -> None:
        """Ask for something; `answer` follows."""
        self._asked.append(ask)
        self._at = len(self._asked) - 1
        self._bytes += len(ask.data)
        self._send(ask)

    def answer(self) -> Answer:
        """The answer to what was asked last, however often the process has to be started for it.

        Raises `AlphaError` if a strategy ends the run, or if starting again does not help.
        """
        starts = 0
        while True:
            answer = self._received()
            if answer is None:
                starts += 1
                if self._start_again():
                    starts = 0  # it was somebody, who stands still now
                if starts >= _STARTS:
                    raise InvariantBroken(
                        f"worker {self._number} died {starts} times over one batch; run fewer strategies to see why"
                    )
            elif self._at < len(self._asked) - 1:  # an old one: its lines were said before
                self._late += [one.line for one in self._note_stops(answer)]
                self._at += 1
                self._send(self._asked[self._at])
            else:
                self.tick_fields = answer.tick_fields
                self._note_stops(answer)
                return answer

    def late(self) -> list[bytes]:
        """What stopped a strategy while the process caught up, and is not said yet."""
        late, self._late = self._late, []
        return late

    def query(self, kind: str) -> Answer:
        """The answer to something that changes nothing."""
        self.ask(Ask(kind))
        answer = self.answer()
        self._asked.pop()
        return answer

    def keep(self, *, now: bool = False) -> None:
        """Take a checkpoint if it is time to, or `now`."""
        if not now and len(self._asked) < _CHECKPOINT_REQUESTS and self._bytes < _CHECKPOINT_BYTES:
            return
        answer = self.query("checkpoint")
        self._state = Ask("again", answer.data)
        self._wanted = pickle.loads(answer.wanted)  # noqa: S301  (our own process wrote it)
        self._broken, self._sources = answer.disabled, answer.sources
        self._asked, self._bytes, self._strikes = [], 0, {}

    def close(self, *, patient: bool) -> None:
        """End the process; if `patient`, give it a moment to end by itself."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._reap(0.5 if patient else 0)

    def _start(self) -> None:
        """Start the process and, from the second time on, give it the checkpoint. Raises what its strategies raise."""
        suspects: dict[str | None, int] = {}
        while suspects.get(None, 0) < _BIRTHS:
            first = self._started()
            if first is not None:
                self.tick_fields = first.tick_fields
                return
            culprit = self._marks.strategy
            ending = self._reap(0)
            suspects[culprit] = suspects.get(culprit, 0) + 1
            if culprit is not None and suspects[culprit] > 1:
                self._broken[culprit] = f"its process died ({ending}) while it was made, twice"
        raise InvariantBroken(
            f"worker {self._number} died at its start; run its strategies without --workers to see why"
        )

    def _started(self) -> Answer | None:
        """The first answer of a new process; None if it died before."""
        ours, theirs = Pipe()
        self._marks.clear()
        wanted = [one for one in self._wanted if one.config.id not in self._broken]
        self._pid = os.fork()
        if self._pid == 0:  # what it inherits it need not be told: strategies may be anything
            work(
                theirs, self._options, wanted, marks=self._marks, broken=self._broken, sources=self._sources,
                again=self._state is not None,
            )  # fmt: skip
        theirs.close()
        self._connection = ours
        first = self._received(patient=True)
        if first is not None and self._state is not None:
            self._send(self._state)
            first = self._received(patient=True)
        return first

    def _start_again(self) -> bool:
        """Start the process anew and ask again what it was asked since the checkpoint.

        Whether a strategy has to stand still for it.
        """
        strategy, line, hung = self._marks.strategy, self._marks.line, self._hung
        ending = self._reap(0 if hung else 1)
        assert self._connection is not None
        self._connection.close()
        self._connection = None
        what = "did not come back and was killed" if hung else f"died ({ending})"
        where = "" if strategy is None else f" in {strategy}"
        self._report(f"worker {self._number} {what}{where}; it is started again")
        accused = strategy is not None and self._accuse(strategy, line, hung=hung)
        self._start()
        self._at = 0
        self._send(self._asked[0])
        return accused

    def _accuse(self, strategy: str, line: int, *, hung: bool) -> bool:
        """Have a strategy stand still from where it hung, or where the process died in it once too often."""
        key = (strategy, self._at)
        self._strikes[key] = self._strikes.get(key, 0) + 1
        deaths = sum(count for (name, _), count in self._strikes.items() if name == strategy)
        if hung:
            why = Stop(
                strategy, line, "deadline", f"it did not come back within {self._options.deadline:g} s (--deadline)"
            )
        elif self._strikes[key] > 1:
            why = Stop(strategy, line, "process", "its process died in it, twice over one batch")
        elif deaths >= _DEATHS:
            why = Stop(strategy, line, "process", f"its process died in it {_DEATHS} times")
        else:
            return False
        return self._stop(why)

    def _note_stops(self, answer: Answer) -> list[Added]:
        """What the clock decided must not be decided anew when the process is started again. What was new."""
        new = []
        for added in answer.added:
            if added.line.startswith(_CONTROL):
                control = decode(added.line)
                kind = control.value.get("cause") if isinstance(control.value, dict) else None
                if control.by == RUNNER and control.action == "pause" and kind in BY_THE_CLOCK:
                    new += [added] * self._stop(Stop(control.target, added.index, kind, control.reason))
        return new

    def _stop(self, stop: Stop) -> bool:
        """Note a stop; whether it was not known."""
        ask = self._asked[self._at]
        if any((one.strategy, one.line) == (stop.strategy, stop.line) for one in ask.stops):
            return False
        self._asked[self._at] = msgspec.structs.replace(ask, stops=[*ask.stops, stop])
        return True

    def _reap(self, patience: float) -> str:
        """Wait for the end of the process, for so many seconds; then kill it. How it ended."""
        if self._pid is None:
            return "not started"
        deadline = time.monotonic() + patience
        while True:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() >= deadline:
                os.kill(self._pid, signal.SIGKILL)
                _, status = os.waitpid(self._pid, 0)
                break
            time.sleep(0.002)
        self._pid = None
        return _ending(os.waitstatus_to_exitcode(status))

    def _send(self, ask: Ask) -> None:
        assert self._connection is not None
        with suppress(OSError):  # it is gone; reading will tell
            self._connection.send_bytes(msgspec.msgpack.encode(ask))

    def _received(self, *, patient: bool = False) -> Answer | None:
        """What the process says; None if it died, or has been in one call for too long. Raises what it raises."""
        assert self._connection is not None
        calls, waited = self._marks.calls, 0.0
        self._hung = False
        while True:
            try:
                if self._connection.poll(_LOOK):
                    answer = msgspec.msgpack.decode(self._connection.recv_bytes(), type=Answer)
                    break
            except (EOFError, OSError):
                return None
            # Looks are counted, not seconds: a process that was stopped and goes on has not overrun anything.
            same = self._marks.strategy is not None and self._marks.calls == calls
            waited = waited + _LOOK if same else 0.0
            calls = self._marks.calls
            if self._options.deadline and not patient and waited > 2 * self._options.deadline + 1:
                self._hung = True
                return None
        if answer.error is not None:
            raise _told(answer)
        return answer


class WorkerPool:
    """As `Host`, with the strategies spread over at most `count` processes, one after the other."""

    def __init__(
        self, options: HostOptions, wanted: Sequence[Wanted], reread: Reread, report: Report, count: int
    ) -> None:
        self._wanted = list(wanted)
        self._reread = reread
        count = max(min(count, len(wanted)), 1)
        self._homes = {one.config.id: place % count for place, one in enumerate(wanted)}
        self._count = count
        self._workers: list[Worker] = []
        self._batch: Batch | None = None  # the one that was asked about, and how far the loop has come in it
        self._line = 0
        self._prepared: dict[int, list[bytes]] = {}
        self._beside: list[bytes] = []
        self._beyond: str | None = None
        self._last: tuple[Mapping[str, int], list[StrategyStatus]] | None = None
        self._report = report
        self._busy = False  # with a request that has no answer yet
        sources = sources_of(one.config for one in wanted)
        try:
            for number in range(count):
                share = self._share(number, self._wanted)
                self._workers.append(Worker(number, options, share, sources=sources, report=report))
        except BaseException:
            self._end(patient=False)
            raise

    @property
    def steps(self) -> Mapping[type[Event], Callable[[Any], Iterable[Event]]]:
        """Type of event -> the step for it."""
        steps: dict[type[Event], Callable[[Any], Iterable[Event]]] = dict.fromkeys(Host.READS, self._on_event)
        return steps | {Control: self._on_control}

    @property
    def tick_fields(self) -> tuple[str, ...] | None:
        """What all workers decode: the loop has to find the same lines bad."""
        return together(worker.tick_fields for worker in self._workers)

    def ahead(self, batch: Batch) -> None:
        """Have the workers handle a whole batch; the steps then say what came of each line."""
        self._prepared = {}
        for first, data, reload in _parts(batch):
            self._prepared |= {first + index: lines for index, lines in self._asked(data, reload).items()}
        self._batch, self._line = batch, 0

    def arrive(self, event: Any) -> None:
        """Something from beside the stream; the workers get it before the next batch."""
        self._beside.append(encode(event))

    def restore(self, state: RunnerState) -> None:
        """Go on from where an earlier run ended."""
        self._all(Ask("restore", snapshot.encode(state)))

    def snapshot(self) -> RunnerState:
        """What all remember now."""
        states = [snapshot.decode(worker.query("checkpoint").data) for worker in self._workers]
        order = [one.config.id for one in self._wanted]
        known = [name for state in states for name in state.strategies]
        return snapshot.merged(states, [*order, *sorted({*known} - {*order})])

    def start(self) -> None:
        """The workers began when they were made."""

    def finish(self) -> None:
        """There are no more ticks."""
        self._all(Ask("finish"))
        self._last = self.counts(), self.statuses()

    def release(self) -> None:
        """End the processes. Of one that is in the middle of something there are no figures."""
        patient = not self._busy
        if self._last is None and patient:
            with suppress(AlphaError):
                self._last = self.counts(), self.statuses()
        self._last = self._last or ({}, [])
        self._end(patient=patient)

    def counts(self) -> Mapping[str, int]:
        """Figures of all strategies together."""
        if self._last is not None:
            return self._last[0]
        outside: dict[int, int] = {}
        for worker in self._workers:
            answer = worker.query("statuses")
            outside.update(answer.outside)
            self._beyond = self._beyond or answer.beyond
        return total(self.statuses(), sum(outside.values()))

    def verdict(self) -> AlphaError | None:
        """With what the stage ends although it came to the end of its input: a calendar did not know some days."""
        self.counts()
        return None if self._beyond is None else OutOfCoverage(self._beyond)

    def statuses(self) -> list[StrategyStatus]:
        """Figures of each, in order, the disabled ones last."""
        if self._last is not None:
            return self._last[1]
        found = [one for worker in self._workers for one in _statuses(worker.query("statuses").data)]
        order = {one.config.id: place for place, one in enumerate(self._wanted)}
        return sorted(found, key=lambda one: (one.state == "disabled", order.get(one.id, len(order)), one.id))

    # --- asking ------------------------------------------------------------------------------

    def _on_event(self, event: Any) -> Iterable[Event]:
        """What the strategies add after `event`."""
        lines = self._answer_to(event)
        lines = [line for worker in self._workers for line in worker.late()] + lines
        return [decode(line) for line in lines] if lines else ()

    def _on_control(self, control: Control) -> Iterable[Event]:
        """What became of a request: of a reload every worker tells, each of its own strategies."""
        made = [decode(line) for line in dict.fromkeys(self._answer_to(control))]
        if control.by in {RUNNER, RISK}:
            return made
        if control.action == "reload":
            return made or nothing_changed(control)
        asked_of_one = control.target is not None and control.action in {"pause", "resume", "set"}
        if asked_of_one and not made and control.target not in {one.id for one in self.statuses()}:
            self._report(f"control {control.action}: no strategy {control.target!r} runs here")
        return made

    def _answer_to(self, event: Any) -> list[bytes]:
        batch = self._batch
        if batch is not None and batch.events is not None:
            for index in range(self._line, len(batch.lines)):
                if batch.events[index] is event:
                    self._line = index
                    return self._prepared.pop(index, [])
        # Not of the batch: made by a stage before, or come from beside the stream.
        return self._asked(encode(event) + b"\n", event if _is_reload(event) else None).get(0, [])

    def _asked(self, data: bytes, reload: Control | None = None) -> dict[int, list[bytes]]:
        """Line number -> what strategies added after it, in their order. A request to reload comes alone."""
        ask = Ask("batch", data, self._beside, fields=self.tick_fields)
        if reload is None:
            answers = self._all(ask)
        else:
            brought = self._brought()
            if brought is None:
                return {0: [encode(not_reloaded(reload))]}
            answers = self._all(*(msgspec.structs.replace(ask, reload=one) for one in brought))
        self._beside = []
        added: list[Added] = [one for answer in answers for one in answer.added]
        added.sort(key=lambda one: (one.index, one.key))
        made: dict[int, list[bytes]] = {}
        for one in added:
            made.setdefault(one.index, []).append(one.line)
        for worker in self._workers:
            worker.keep(now=reload is not None)
        return made

    def _brought(self) -> list[Reload] | None:
        """What a reload brings to each worker; None if it is refused.

        Read once, here: so all read the same, and so does a process that is started again.
        """
        try:
            wanted = self._reread()
        except AlphaError as error:
            self._report(f"not reloaded: {error}")
            return None
        self._wanted = list(wanted)
        sources = sources_of(one.config for one in wanted)
        known = snapshot.merged([snapshot.decode(worker.query("instruments").data) for worker in self._workers], [])
        shares = [self._share(number, wanted) for number in range(self._count)]
        return [Reload(pickle.dumps(share), sources, snapshot.encode(_about(known, share))) for share in shares]

    def _all(self, *asks: Ask) -> list[Answer]:
        """The answers of all workers to one request, or to one each."""
        self._busy = True
        for number, worker in enumerate(self._workers):
            worker.ask(asks[number % len(asks)])
        answers = [worker.answer() for worker in self._workers]
        self._busy = False
        return answers

    def _end(self, *, patient: bool) -> None:
        for worker in self._workers:
            worker.close(patient=patient)
        self._workers = []

    # --- whose is whose ----------------------------------------------------------------------

    def _share(self, number: int, wanted: Sequence[Wanted]) -> list[Wanted]:
        """The strategies of one worker. A new one's home follows from its id: every worker finds the same."""
        return [one for one in wanted if self._home(one.config.id) == number]

    def _home(self, name: str) -> int:
        return self._homes.get(name, crc32(name.encode()) % self._count)


def _parts(batch: Batch) -> Iterator[tuple[int, bytes, Control | None]]:
    """`batch` cut where strategies may change: the place of the first line, the lines, the reload if it is one.

    What the workers tell each other, fields of a tick or what a new strategy begins with, they tell between parts.
    """
    if not batch.lines:
        return
    first = 0
    if any(name in batch.data for name in _CUTS):
        for index, line in enumerate(batch.lines):
            event = _request_on(line) if any(name in line for name in _CUTS) else None
            if event is None:
                continue
            if first < index and _is_reload(event):
                yield first, _joined(batch.lines[first:index]), None
                first = index
            yield first, _joined(batch.lines[first : index + 1]), event if _is_reload(event) else None
            first = index + 1
    if first == 0:
        yield 0, batch.data, None
    elif first < len(batch.lines):
        yield first, _joined(batch.lines[first:]), None


#: What is on every line that asks for a change of strategies; another may have it too. JSON can hide it with a \.
_CUTS = (b"reload", b'"set"', b"\\u")


def _request_on(line: bytes) -> Control | None:
    """The request to change strategies that is on a line."""
    try:
        event = decode(line)
    except BadLine:
        return None
    change = isinstance(event, Control) and event.action in {"reload", "set"} and event.by != RUNNER
    return event if change else None


def _is_reload(event: Any) -> bool:
    return isinstance(event, Control) and event.action == "reload" and event.by != RUNNER


def _joined(lines: Iterable[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def _about(known: RunnerState, share: Sequence[Wanted]) -> RunnerState:
    """What is known of the instruments that the strategies of `share` follow."""
    tokens = {token for one in share for token in one.config.instruments}
    bars = known.bars
    if bars is not None:
        bars = {**bars, "series": [one for one in bars["series"] if one["token"] in tokens]}
    lanes = {token: lane for token, lane in known.lanes.items() if int(token) in tokens}
    return RunnerState(lanes=lanes, strategies={}, bars=bars)


_statuses = msgspec.json.Decoder(list[StrategyStatus]).decode


def _told(answer: Answer) -> AlphaError:
    """The error that a worker ended with, as it would have ended this process."""
    error = AlphaError(answer.error)
    error.exit_code = answer.code
    return error


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
