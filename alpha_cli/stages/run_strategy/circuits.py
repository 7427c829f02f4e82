"""What failures lead to: they are counted and reported, and after several in a row the strategy is paused."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta

from alpha_cli.core.events import RUNNER, Control, Event
from alpha_cli.core.times import later
from alpha_cli.stages.run_strategy.executor import Cause, Executor, Strategy
from alpha_cli.stages.run_strategy.failures import InvalidResult, Rejected, describe_failure
from alpha_cli.stages.run_strategy.instrument_queue import NEVER
from alpha_cli.stages.run_strategy.portfolio import FillsMissing
from alpha_cli.stages.run_strategy.roster import Roster
from alpha_cli.stages.run_strategy.runner_data import RunnerData
from alpha_cli.stages.run_strategy.watchdog import Overtime
from alpha_cli.stream.log import worth_logging

#: Characters of a reason that are repeated in a `control` line.
MAX_REASON = 500
_RECOVERED = "circuit closed: it did not fail this time"


class Circuits:
    """Pauses and resumes strategies.

    failures   in a row that open the circuit of a strategy
    cool_down  how long it stays open, in stream time
    """

    def __init__(self, data: RunnerData, roster: Roster, failures: int, cool_down: timedelta) -> None:
        self._data = data
        self._roster = roster
        self._failures = failures
        self._cool_down = cool_down

    def pause(self, strategy: Strategy, cause: Cause, now: datetime | None) -> Control:
        """Pause `strategy` and return the line that says so."""
        strategy.stopped = cause
        self._rearrange(strategy)
        self._data.report(f"{strategy.id} is paused: {cause.reason}")
        return Control(
            action="pause",
            target=strategy.id,
            by=RUNNER,
            reason=cause.reason[:MAX_REASON],
            value={"cause": cause.kind},
            timestamp=now,
        )

    def resume(self, strategy: Strategy, reason: str, now: datetime | None) -> Control:
        """Run `strategy` again, warmed up because it has missed ticks; return the line that says so."""
        strategy.stopped = None
        for executor in strategy.executors.values():
            self._roster.warm_up(executor)
        return self._resumed(strategy, reason, now)

    def recovered(self, strategy: Strategy, now: datetime) -> Control:
        """Close the circuit of `strategy`, which did not fail when it was tried; return the line that says so."""
        strategy.stopped = None
        strategy.callbacks += 1
        return self._resumed(strategy, _RECOVERED, now)

    def last_time(self, strategy: Strategy) -> datetime | None:
        """Return the newest time at which an instrument of `strategy` had a tick; None if none had."""
        queues = [self._data.queue_of(executor) for executor in strategy.executors.values()]
        newest = max((queue.time for queue in queues if queue is not None), default=NEVER)
        return None if newest == NEVER else newest

    def failed(self, executor: Executor, now: datetime, error: BaseException, *, in_callback: bool) -> list[Event]:
        """Count and report a failure; return the lines that pause or resume the strategy."""
        strategy = executor.strategy
        if isinstance(error, FillsMissing):
            strategy.errors += 1
            strategy.failed += 1
            return [self.pause(strategy, Cause("fills", str(error)), now)]
        if isinstance(error, Rejected):
            strategy.rejected += 1
        else:
            strategy.errors += 1
        try:
            self._log_failure(executor, now, error)
        except Overtime as late:  # its __str__ took too long
            error = late
        refused = isinstance(error, Rejected) and not isinstance(error, InvalidResult)
        strategy.failed += not refused
        if refused:
            # It answered. It may be at a limit that it does not know of, and must be able to reduce its position.
            on_trial = strategy.stopped is not None and strategy.stopped.until is not None
            return [self.recovered(strategy, now)] if on_trial else []
        if isinstance(error, Overtime):
            return [self.pause(strategy, Cause("deadline", str(error)), now)]
        if isinstance(error, MemoryError):
            error.__traceback__ = None  # it refers to what the call had allocated
            return [self._out_of_memory(strategy, now)]
        if strategy.stopped is not None:
            self._keep_open(strategy, now)
            return []
        if self._streak(executor, in_callback=in_callback) < self._failures:
            return []
        return [self.pause(strategy, self._opened(error, now), now)]

    def discard(self, strategy: Strategy) -> None:
        """Replace the processors of `strategy` by new ones, to free the memory that they hold."""
        with suppress(Exception):
            self._roster.reconfigure(strategy, strategy.config, strategy.brokers)
        with suppress(MemoryError):  # the failed call may still hold it
            self._data.refill_reserve()

    def _resumed(self, strategy: Strategy, reason: str, now: datetime | None) -> Control:
        strategy.streak = 0
        for executor in strategy.executors.values():
            executor.streak = executor.callback_streak = 0
        self._rearrange(strategy)
        self._data.report(f"{strategy.id} runs again: {reason}")
        return Control(action="resume", target=strategy.id, by=RUNNER, reason=reason[:MAX_REASON], timestamp=now)

    def _rearrange(self, strategy: Strategy) -> None:
        for executor in strategy.executors.values():
            queue = self._data.queue_of(executor)
            if queue is not None:
                queue.arrange()

    def _opened(self, error: BaseException, now: datetime) -> Cause:
        name = "Garbage" if isinstance(error, InvalidResult) else type(error).__name__  # as recordings have it
        reason = (
            f"circuit open after {self._failures} failures in a row, the last {name}; "
            f"tried again after {self._cool_down.total_seconds():g} s"
        )
        return Cause("circuit", reason, later(now, self._cool_down))

    def _keep_open(self, strategy: Strategy, now: datetime) -> None:
        """Keep the circuit of a strategy open that failed when it was tried again."""
        assert strategy.stopped is not None
        if strategy.stopped.until is not None:
            strategy.stopped = strategy.stopped._replace(until=later(now, self._cool_down))
            self._rearrange(strategy)

    def _streak(self, executor: Executor, *, in_callback: bool) -> int:
        """Return how often in a row `executor`, or its strategy on all instruments, failed, including this time.

        Successful calls are not counted anywhere; the number of ticks shows whether there were some.
        """
        strategy = executor.strategy
        if in_callback or executor.counter is None:  # bars and fills are few
            executor.callback_streak += 1
            return executor.callback_streak
        ticks, calls = executor.counter.ticks, strategy.calls
        if ticks > executor.failed_at + 1:
            executor.streak = 0
        if calls > strategy.failed_at + 1:
            strategy.streak = 0
        executor.failed_at, strategy.failed_at = ticks, calls
        executor.streak += 1
        strategy.streak += 1
        return max(executor.streak, strategy.streak)

    def _out_of_memory(self, strategy: Strategy, now: datetime) -> Control:
        self.discard(strategy)
        cause = Cause("memory", "it used up the memory (--memory); what it remembered is gone")
        return self.pause(strategy, cause, now)

    def _log_failure(self, executor: Executor, now: datetime, error: BaseException) -> None:
        """Report a failure, unless so many were that it is not worth a line. Raise `Overtime`."""
        strategy = executor.strategy
        strategy.reported += 1
        if not worth_logging(strategy.reported):
            return
        if isinstance(error, Rejected):
            text = f"rejected: {error}"
        else:  # the text of an exception comes from code of the strategy
            text = self._data.current.run(executor, strategy.guard(strategy, describe_failure), error)
        self._data.report(
            f"{strategy.id} on {executor.token} at {now.isoformat()}: {text} "
            f"(failure {strategy.reported}; other strategies go on)"
        )
