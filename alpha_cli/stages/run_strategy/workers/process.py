"""One worker as the main process sees it: its process, and what it takes to restart it."""

from __future__ import annotations

import mmap
import os
import pickle
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection

import msgspec

from alpha_cli.core.codec import decode
from alpha_cli.core.errors import AlphaError, InvariantBroken
from alpha_cli.core.events import RUNNER
from alpha_cli.stages.run_strategy.host import HostOptions
from alpha_cli.stages.run_strategy.requests import BY_THE_CLOCK
from alpha_cli.stages.run_strategy.selection import Wanted
from alpha_cli.stages.run_strategy.workers.child import work
from alpha_cli.stages.run_strategy.workers.marks import Marks
from alpha_cli.stages.run_strategy.workers.messages import Added, Answer, Request, Stop

#: A checkpoint is taken after so many bytes or requests, so that there is little to repeat after a death.
_CHECKPOINT_BYTES, _CHECKPOINT_REQUESTS = 8 << 20, 2_000
_LOOK = 0.05  # seconds between two looks at a worker that does not answer
_STARTS = 12  # of one worker for one request, if no strategy can be blamed
_BIRTHS = 5  # attempts to start a process that dies before any strategy is made
_DEATHS = 5  # in one strategy, between two checkpoints
_CONTROL = b'{"type":"control"'


class Worker:
    """One process and its latest checkpoint, with the requests since then."""

    def __init__(
        self,
        number: int,
        options: HostOptions,
        wanted: Sequence[Wanted],
        *,
        sources: Mapping[str, bytes],
        report: Callable[[str], None],
    ) -> None:
        self._number = number
        self._options = options
        self._wanted = wanted
        self._sources = sources  # content of the strategies' files when they were read
        self._report = report
        self._marks = Marks(mmap.mmap(-1, Marks.SIZE))
        self._checkpoint: Request | None = None
        self._requests: list[Request] = []  # since the checkpoint
        self._at = 0  # index of the one that is being answered
        self._bytes = 0
        self._strikes: dict[tuple[str, int], int] = {}  # strategy, request -> deaths there
        self._broken: dict[str, str] = {}  # strategies that cannot even be made -> why
        self._pid: int | None = None
        self._connection: Connection | None = None
        self._hung = False
        self._late: list[bytes] = []
        self.tick_fields: tuple[str, ...] | None = ()
        self._start()

    def ask(self, request: Request) -> None:
        """Send a request; `answer` returns the answer."""
        self._requests.append(request)
        self._at = len(self._requests) - 1
        self._bytes += len(request.data)
        self._send(request)

    def answer(self) -> Answer:
        """Return the answer to the latest request, restarting the process as often as needed.

        Raise `AlphaError` if a strategy ends the run, or if restarting does not help.
        """
        starts = 0
        while True:
            answer = self._received()
            if answer is None:
                starts += 1
                if self._restart():
                    starts = 0  # a strategy was to blame, and is paused now
                if starts >= _STARTS:
                    raise InvariantBroken(
                        f"worker {self._number} died {starts} times over one batch; run fewer strategies to see why"
                    )
            elif self._at < len(self._requests) - 1:  # a repeated one: its lines were written before
                self._late += [added.line for added in self._note_stops(answer)]
                self._at += 1
                self._send(self._requests[self._at])
            else:
                self.tick_fields = answer.tick_fields
                self._note_stops(answer)
                return answer

    def late_lines(self) -> list[bytes]:
        """Return the lines about pauses while the process caught up, which are not written yet."""
        late, self._late = self._late, []
        return late

    def query(self, kind: str) -> Answer:
        """Return the answer to a request that changes nothing."""
        self.ask(Request(kind))
        answer = self.answer()
        self._requests.pop()
        return answer

    def checkpoint(self, *, now: bool = False) -> None:
        """Take a checkpoint if it is time to, or `now`."""
        if not now and len(self._requests) < _CHECKPOINT_REQUESTS and self._bytes < _CHECKPOINT_BYTES:
            return
        answer = self.query("checkpoint")
        self._checkpoint = Request("again", answer.data)
        self._wanted = pickle.loads(answer.wanted)  # noqa: S301  (our own process wrote it)
        self._broken, self._sources = answer.disabled, answer.sources
        self._requests, self._bytes, self._strikes = [], 0, {}

    def close(self, *, patient: bool) -> None:
        """End the process; if `patient`, give it a moment to end by itself."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._reap(0.5 if patient else 0)

    def _start(self) -> None:
        """Start the process and give it the checkpoint, if there is one. Raise what its strategies raise."""
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
        """Start a process once. Return its first answer; None if it died before."""
        ours, theirs = Pipe()
        self._marks.clear()
        wanted = [strategy for strategy in self._wanted if strategy.config.id not in self._broken]
        self._pid = os.fork()
        if self._pid == 0:  # forked, it needs no copies of strategies' objects, which may be anything
            work(
                theirs, self._options, wanted, marks=self._marks, broken=self._broken, sources=self._sources,
                restarted=self._checkpoint is not None,
            )  # fmt: skip
        theirs.close()
        self._connection = ours
        first = self._received(patient=True)
        if first is not None and self._checkpoint is not None:
            self._send(self._checkpoint)
            first = self._received(patient=True)
        return first

    def _restart(self) -> bool:
        """Restart the process and repeat the requests since the checkpoint.

        Return whether a strategy was paused for it.
        """
        strategy, line, hung = self._marks.strategy, self._marks.line, self._hung
        ending = self._reap(0 if hung else 1)
        assert self._connection is not None
        self._connection.close()
        self._connection = None
        what = "did not come back and was killed" if hung else f"died ({ending})"
        where = "" if strategy is None else f" in {strategy}"
        self._report(f"worker {self._number} {what}{where}; it is started again")
        paused = strategy is not None and self._accuse(strategy, line, hung=hung)
        self._start()
        self._at = 0
        self._send(self._requests[0])
        return paused

    def _accuse(self, strategy: str, line: int, *, hung: bool) -> bool:
        """Pause the strategy that hung or repeatedly killed its worker, from that line on. Return whether it is."""
        key = (strategy, self._at)
        self._strikes[key] = self._strikes.get(key, 0) + 1
        deaths = sum(count for (name, _), count in self._strikes.items() if name == strategy)
        if hung:
            why = f"it did not come back within {self._options.deadline:g} s (--deadline)"
        elif self._strikes[key] > 1:
            why = "its process died in it, twice over one batch"
        elif deaths >= _DEATHS:
            why = f"its process died in it {_DEATHS} times"
        else:
            return False
        return self._note_stop(Stop(strategy, line, "deadline" if hung else "process", why))

    def _note_stops(self, answer: Answer) -> list[Added]:
        """Record pauses caused by wall-clock limits so that a restarted worker repeats them. Return the new ones."""
        new = []
        for added in answer.added:
            if not added.line.startswith(_CONTROL):
                continue
            control = decode(added.line)
            kind = control.value.get("cause") if isinstance(control.value, dict) else None
            if control.by != RUNNER or control.action != "pause" or kind not in BY_THE_CLOCK:
                continue
            if self._note_stop(Stop(control.target, added.index, kind, control.reason)):
                new.append(added)
        return new

    def _note_stop(self, stop: Stop) -> bool:
        """Record a pause with its request. Return whether it is new."""
        request = self._requests[self._at]
        if any((known.strategy, known.line) == (stop.strategy, stop.line) for known in request.stops):
            return False
        self._requests[self._at] = msgspec.structs.replace(request, stops=[*request.stops, stop])
        return True

    def _reap(self, patience: float) -> str:
        """Wait so many seconds for the process to end, then kill it. Return how it ended."""
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
        code = os.waitstatus_to_exitcode(status)
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def _send(self, request: Request) -> None:
        assert self._connection is not None
        with suppress(OSError):  # the process has died, which reading will show
            self._connection.send_bytes(msgspec.msgpack.encode(request))

    def _received(self, *, patient: bool = False) -> Answer | None:
        """Return the next answer; None if the process died or hangs in one call. Raise the error in the answer."""
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
            # Looks are counted, not seconds: a process that was stopped and continues has not overrun anything.
            same = self._marks.strategy is not None and self._marks.calls == calls
            waited = waited + _LOOK if same else 0.0
            calls = self._marks.calls
            if self._options.deadline and not patient and waited > 2 * self._options.deadline + 1:
                self._hung = True
                return None
        if answer.error is not None:
            raise _error_of(answer)
        return answer


def _error_of(answer: Answer) -> AlphaError:
    """Return the error that a worker ended with, as it would have ended this process."""
    error = AlphaError(answer.error)
    error.exit_code = answer.code
    return error
