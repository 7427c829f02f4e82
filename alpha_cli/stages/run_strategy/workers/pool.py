"""`--workers N`: strategies in processes of their own, so that none can delay or crash the others.

Each worker hosts some of the strategies and gets every batch as it came; the lines that its strategies add come
back with the number of the line that caused them. The pool merges them line by line in the order of the
strategies, so that the bytes are those of a run without workers.

At a reload the main process reads configurations and strategies' files once for all, and gives each worker what
all of them know of its instruments: a new strategy starts as it would in a single process. The content that was
read stays with the worker: a restarted one runs the same code, even if the files have changed; its imports and
models are read again.

A worker interrupts a call that is over its deadline by itself. One that does not return at all is killed. A dead
worker is restarted: from the latest checkpoint, with the requests since then, whose answers are discarded; then it
is asked again. The strategy in which it died is tried once more, and paused if that ends the same way. So the
others wait for a strategy that hangs for at most

    1.25 × deadline                     where Python can interrupt it
    2 × deadline + 1 s, and a restart   where it has to be killed

once, because it is then paused until a person resumes it. A strategy that stays just below the deadline delays
the others at every tick, and so does catching up after a death.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any
from zlib import crc32

import msgspec

from alpha_cli.core.codec import decode, encode
from alpha_cli.core.errors import AlphaError, BadLine
from alpha_cli.core.events import RISK, RUNNER, Control, Event
from alpha_cli.market.calendar import OutOfCoverage
from alpha_cli.stages.run_strategy import snapshot
from alpha_cli.stages.run_strategy.factory import sources_of
from alpha_cli.stages.run_strategy.host import Host, HostOptions, total
from alpha_cli.stages.run_strategy.requests import not_reloaded, nothing_changed
from alpha_cli.stages.run_strategy.selection import Wanted
from alpha_cli.stages.run_strategy.snapshot import RunnerState
from alpha_cli.stages.run_strategy.status import StrategyStatus
from alpha_cli.stages.run_strategy.workers.messages import Added, Answer, Reload, Request, union_of_fields
from alpha_cli.stages.run_strategy.workers.process import Worker
from alpha_cli.stream.batch import Batch

Report = Callable[[str], None]
Reread = Callable[[], Sequence[Wanted]]


class WorkerPool:
    """Like `Host`, with the strategies spread over at most `count` processes in turn."""

    def __init__(
        self, options: HostOptions, wanted: Sequence[Wanted], reread: Reread, report: Report, count: int
    ) -> None:
        self._wanted = list(wanted)
        self._reread = reread
        count = max(min(count, len(wanted)), 1)
        self._homes = {strategy.config.id: place % count for place, strategy in enumerate(wanted)}
        self._count = count
        self._workers: list[Worker] = []
        self._batch: Batch | None = None  # the latest one that was handled, and how far the loop has come in it
        self._line = 0
        self._prepared: dict[int, list[bytes]] = {}  # line number -> lines added after it
        self._side_events: list[bytes] = []
        self._beyond: str | None = None
        self.stranger: int | None = None  # see `Host.stranger`
        self._last: tuple[Mapping[str, int], list[StrategyStatus]] | None = None
        self._report = report
        self._busy = False  # a request has no answer yet
        sources = sources_of(strategy.config for strategy in wanted)
        try:
            for number in range(count):
                share = self._share(number, self._wanted)
                self._workers.append(Worker(number, options, share, sources=sources, report=report))
        except BaseException:
            self._end(patient=False)
            raise

    @property
    def steps(self) -> Mapping[type[Event], Callable[[Any], Iterable[Event]]]:
        """Return the step for each type of event."""
        steps: dict[type[Event], Callable[[Any], Iterable[Event]]] = dict.fromkeys(Host.READS, self._on_event)
        return steps | {Control: self._on_control}

    @property
    def tick_fields(self) -> tuple[str, ...] | None:
        """Return the fields that all workers decode: the loop has to find the same lines bad."""
        return union_of_fields(worker.tick_fields for worker in self._workers)

    def ahead(self, batch: Batch) -> None:
        """Let the workers handle a whole batch; the steps then return the events of each line."""
        self._prepared = {}
        for first, data, reload in _parts(batch):
            self._prepared |= {first + index: lines for index, lines in self._handled(data, reload).items()}
        self._batch, self._line = batch, 0

    def enqueue(self, event: Any) -> None:
        """Take an event from a side input; the workers get it before the next batch."""
        self._side_events.append(encode(event))

    def on_quiet_input(self) -> Iterable[Event]:
        """Return nothing: workers hear of side events with the next batch."""
        return ()

    def restore(self, state: RunnerState) -> None:
        """Continue an earlier run from its state."""
        self._all(Request("restore", snapshot.encode(state)))

    def snapshot(self) -> RunnerState:
        """Return the merged state of all workers."""
        states = [snapshot.decode(worker.query("checkpoint").data) for worker in self._workers]
        order = [strategy.config.id for strategy in self._wanted]
        known = [name for state in states for name in state.strategies]
        return snapshot.merged(states, [*order, *sorted({*known} - {*order})])

    def start(self) -> None:
        """Do nothing: the workers began when they were made."""

    def finish(self) -> None:
        """Shut the strategies down after the last tick."""
        self._all(Request("finish"))
        self._last = self.counts(), self.statuses()

    def release(self) -> None:
        """End the processes. A run that is interrupted in a request has no figures."""
        patient = not self._busy
        if self._last is None and patient:
            with suppress(AlphaError):
                self._last = self.counts(), self.statuses()
        self._last = self._last or ({}, [])
        self._end(patient=patient)

    def counts(self) -> Mapping[str, int]:
        """Return the totals over all strategies."""
        if self._last is not None:
            return self._last[0]
        outside: dict[int, int] = {}
        strangers: list[int | None] = []
        for worker in self._workers:
            answer = worker.query("statuses")
            outside.update(answer.outside)
            self._beyond = self._beyond or answer.beyond
            strangers.append(answer.stranger)
        # What one worker does not follow may be an instrument of another; all of them see every line.
        self.stranger = None if None in strangers else strangers[0]
        return total(self.statuses(), sum(outside.values()))

    def verdict(self) -> AlphaError | None:
        """Return the error with which the stage ends after all its input: a calendar did not know some days."""
        self.counts()
        return None if self._beyond is None else OutOfCoverage(self._beyond)

    def statuses(self) -> list[StrategyStatus]:
        """Return the figures of each strategy, in order, the disabled ones last."""
        if self._last is not None:
            return self._last[1]
        found = [status for worker in self._workers for status in _statuses(worker.query("statuses").data)]
        order = {strategy.config.id: place for place, strategy in enumerate(self._wanted)}
        last = len(order)
        return sorted(found, key=lambda status: (status.state == "disabled", order.get(status.id, last), status.id))

    # --- requests ----------------------------------------------------------------------------

    def _on_event(self, event: Any) -> Iterable[Event]:
        """Return the events that strategies add after `event`."""
        lines = self._lines_after(event)
        lines = [line for worker in self._workers for line in worker.late_lines()] + lines
        return [decode(line) for line in lines] if lines else ()

    def _on_control(self, control: Control) -> Iterable[Event]:
        """Return the answers to a request; to a reload every worker answers for its own strategies."""
        made = [decode(line) for line in dict.fromkeys(self._lines_after(control))]
        if control.by in {RUNNER, RISK}:
            return made
        if control.action == "reload":
            return made or nothing_changed(control)
        of_one_strategy = control.target is not None and control.action in {"pause", "resume", "set"}
        if of_one_strategy and not made and control.target not in {status.id for status in self.statuses()}:
            self._report(f"control {control.action}: no strategy {control.target!r} runs here")
        return made

    def _lines_after(self, event: Any) -> list[bytes]:
        """Return the lines to add after `event`."""
        batch = self._batch
        if batch is not None and batch.events is not None:
            for index in range(self._line, len(batch.lines)):
                if batch.events[index] is event:
                    self._line = index
                    return self._prepared.pop(index, [])
        # Not in the batch: made by an earlier stage, or from a side input.
        return self._handled(encode(event) + b"\n", event if _is_reload(event) else None).get(0, [])

    def _handled(self, data: bytes, reload: Control | None = None) -> dict[int, list[bytes]]:
        """Return, by line number, the lines that strategies add, in their order. A request to reload comes alone."""
        request = Request("batch", data, self._side_events, fields=self.tick_fields)
        if reload is None:
            answers = self._all(request)
        else:
            reloads = self._read_again()
            if reloads is None:
                return {0: [encode(not_reloaded(reload))]}
            answers = self._all(*(msgspec.structs.replace(request, reload=part) for part in reloads))
        self._side_events = []
        lines: list[Added] = [added for answer in answers for added in answer.added]
        lines.sort(key=lambda added: (added.index, added.key))
        by_number: dict[int, list[bytes]] = {}
        for added in lines:
            by_number.setdefault(added.index, []).append(added.line)
        for worker in self._workers:
            worker.checkpoint(now=reload is not None)
        return by_number

    def _read_again(self) -> list[Reload] | None:
        """Read all configurations again. Return what each worker needs; None if they cannot be read.

        They are read once, here, so that all workers use the same, and so does a restarted one.
        """
        try:
            wanted = self._reread()
        except AlphaError as error:
            self._report(f"not reloaded: {error}")
            return None
        self._wanted = list(wanted)
        sources = sources_of(strategy.config for strategy in wanted)
        known = snapshot.merged([snapshot.decode(worker.query("instruments").data) for worker in self._workers], [])
        shares = [self._share(number, wanted) for number in range(self._count)]
        return [Reload(pickle.dumps(share), sources, snapshot.encode(_about(known, share))) for share in shares]

    def _all(self, *requests: Request) -> list[Answer]:
        """Return the answers of all workers to one request, or to one each."""
        self._busy = True
        for number, worker in enumerate(self._workers):
            worker.ask(requests[number % len(requests)])
        answers = [worker.answer() for worker in self._workers]
        self._busy = False
        return answers

    def _end(self, *, patient: bool) -> None:
        for worker in self._workers:
            worker.close(patient=patient)
        self._workers = []

    # --- shares ------------------------------------------------------------------------------

    def _share(self, number: int, wanted: Sequence[Wanted]) -> list[Wanted]:
        """Return the strategies of one worker. The worker of a new strategy follows from its id."""
        return [strategy for strategy in wanted if self._home(strategy.config.id) == number]

    def _home(self, name: str) -> int:
        return self._homes.get(name, crc32(name.encode()) % self._count)


def _parts(batch: Batch) -> Iterator[tuple[int, bytes, Control | None]]:
    """Cut `batch` where strategies may change. Yield the number of the first line, the lines, the reload if any.

    Between two parts the workers learn what the others know: the fields of a tick in use, the histories.
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


#: One of these is in every line that asks for a change of strategies, and in some others. JSON may escape it.
_CUTS = (b"reload", b'"set"', b"\\u")


def _request_on(line: bytes) -> Control | None:
    """Return the request to change strategies in a line, if it is one."""
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
    """Return what is known of the instruments that the strategies of `share` follow."""
    tokens = {token for strategy in share for token in strategy.config.instruments}
    bars = known.bars
    if bars is not None:
        bars = {**bars, "series": [series for series in bars["series"] if series["token"] in tokens]}
    queues = {token: queue for token, queue in known.queues.items() if int(token) in tokens}
    return RunnerState(queues=queues, strategies={}, bars=bars)


_statuses = msgspec.json.Decoder(list[StrategyStatus]).decode
