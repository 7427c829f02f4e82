"""`alpha strategies check`: does a strategy keep to the contract of `alpha_cli.strategy.protocols`?

Every check is a function from a `Subject` to why it holds; it raises `Verdict` for anything else. They
run one after another in a process of their own, because a strategy may hang or crash and an audit hook
cannot be taken away again. Each verdict comes back at once, as a line of JSON.

What is asked, it is asked of the runner that `run-strategy` has, on ticks that have the fields which the
strategy declares and no others. Its orders are filled at once, so that it has positions to look at.
"""

from __future__ import annotations

import datetime as datetime_module
import gc
import inspect
import json
import os
import select
import signal as signals_of_os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cached_property, partial
from importlib import import_module
from math import ceil
from pathlib import Path
from time import perf_counter_ns
from types import FrameType, FunctionType, ModuleType
from typing import Any, NoReturn

import msgspec

from alpha_cli.batch import tick_view
from alpha_cli.errors import AlphaError, printable
from alpha_cli.events import IST, Fill, Signal, Tick, encode
from alpha_cli.library import pipe
from alpha_cli.stage import Stage
from alpha_cli.strategies.listing import INSTRUMENTS, target
from alpha_cli.strategy import snapshot
from alpha_cli.strategy.capabilities import CAPABILITIES, adapted, capability
from alpha_cli.strategy.config import StrategyConfig
from alpha_cli.strategy.context import Context
from alpha_cli.strategy.engine import StrategyRunner
from alpha_cli.strategy.executor import Disabled, Executor, Strategy
from alpha_cli.strategy.factory import STRATEGIES, create_processor, told
from alpha_cli.strategy.host import limit_memory
from alpha_cli.strategy.protocols import SignalResult
from alpha_cli.wire import rupees

OK, FAIL, WARNING, SKIPPED = "ok", "FAIL", "warning", "skipped"

BROKER = "paper"
MOST_HISTORY = 20_000  # ticks that a configuration may ask for
MEMORY = 2048  # MiB that the process may allocate, as with run-strategy
MARKET = 6_000  # ticks of the synthetic market; more for a strategy that needs a long history
LONG = 10_000  # ticks before the memory is looked at for the first time; then come twice as many
GROWTH = 64 << 10, 0.1  # bytes and share by which what a strategy holds may grow over these
CUTS = (0.0002, 0.1531, 0.5003, 0.9717)  # of the ticks, after which it is stopped and started again; not round
SLOW = 1_000  # µs a tick
HOSTS = ({"PYTHONHASHSEED": "1", "TZ": "Asia/Kolkata"}, {"PYTHONHASHSEED": "2", "TZ": "America/New_York"})
_PATIENT = 1 << 60  # failures in a row that open no circuit
_GRACE = 5  # seconds after which a process ends itself if whoever started it is gone


class Result(msgspec.Struct):
    """What came of a check: one of the marks above, and why."""

    check: str
    mark: str
    why: str


class Verdict(Exception):
    """A check that did not simply hold."""

    def __init__(self, mark: str, why: str) -> None:
        super().__init__(why)
        self.mark = mark


# --- in the process of the command ------------------------------------------------------------


def run(name: str, parameters: dict[str, Any], timeout: float) -> Iterator[Result]:
    """The results of the checks in their order, each as soon as it is there. Raises `ConfigurationError`."""
    target(name)  # whether there is such a thing at all
    given_up = ""
    with _process("check", name, parameters, timeout) as process:
        for check in CHECKS:
            if given_up:
                yield Result(check, SKIPPED, f"because {given_up} failed")
                continue
            line = _line(process, timeout)
            result = msgspec.json.decode(line, type=Result) if line else Result(check, FAIL, _end_of(process, timeout))
            if result.mark == FAIL and (not line or check in FIRST):
                given_up = check
            yield result


#: The program of the other process. What can be imported here can be imported there.
_PROGRAM = """
import json, sys
task = json.load(sys.stdin)
sys.path[:] = task.pop("path")
from alpha_cli.strategies.conformance import serve
serve(**task)
"""


@contextmanager
def _process(
    job: str, name: str, parameters: dict[str, Any], timeout: float, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that does `job`, killed at the end if it still runs."""
    process = subprocess.Popen(  # noqa: S603  (this very interpreter)
        [sys.executable, "-P", "-c", _PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        bufsize=0, env=None if env is None else os.environ | env,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    task = {"job": job, "name": name, "parameters": parameters, "timeout": timeout, "path": sys.path}
    try:
        with suppress(BrokenPipeError), process.stdin:
            process.stdin.write(json.dumps(task).encode())
        process.stdin = None  # else `communicate` would look at it
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def _line(process: subprocess.Popen[bytes], timeout: float) -> bytes:
    """Its next line; nothing if it ended, or took too long."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], timeout)
    return process.stdout.readline() if ready else b""


def _end_of(process: subprocess.Popen[bytes], timeout: float) -> str:
    """Why there is no line."""
    try:
        code = process.wait(1)
    except subprocess.TimeoutExpired:
        return f"it took longer than {timeout:g} s (--timeout)"
    assert process.stderr is not None
    return _ended(code, process.stderr.read())


def _ended(code: int, errors: bytes) -> str:
    said = errors.decode(errors="replace").strip().splitlines()
    ended = f"of signal {-code}" if code < 0 else f"with code {code}"
    return f"its process ended {ended}" + (f": {said[-1]}" if said else "")


# --- in a process of its own ------------------------------------------------------------------


def serve(job: str, name: str, parameters: dict[str, Any], timeout: float) -> NoReturn:
    """Do one job, and leave: `check` writes a result a line, `signals` the signals on a synthetic market."""
    output = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):  # what a strategy prints is not for us
        os.dup2(nowhere, fd)
    for number in (signals_of_os.SIGINT, signals_of_os.SIGALRM):
        signals_of_os.signal(number, signals_of_os.SIG_DFL)
    limit_memory(MEMORY)
    try:
        subject = Subject(name, parameters, timeout)
        for line in _checked(subject) if job == "check" else _signals(subject):
            output.write(line + b"\n")
            output.flush()
    except BrokenPipeError:  # nobody listens any more
        pass
    os._exit(0)  # and do not wait for what a strategy may have started


def _checked(subject: Subject) -> Iterator[bytes]:
    for name, check in CHECKS.items():
        signals_of_os.alarm(ceil(subject.timeout) + _GRACE)
        try:
            result = Result(name, OK, check(subject))
        except Verdict as verdict:
            result = Result(name, verdict.mark, str(verdict))
        except AlphaError as error:
            result = Result(name, FAIL, str(error).removeprefix(f"strategy {subject.config.id}: "))
        except (Exception, SystemExit) as error:
            result = Result(name, FAIL, told(error))
        yield msgspec.json.encode(result)
        if result.mark == FAIL and name in FIRST:
            return


def _signals(subject: Subject) -> Iterator[bytes]:
    signals_of_os.alarm(ceil(subject.timeout) + _GRACE)
    subject.prepare()
    yield from subject.trial().run(subject.market())


class Subject:
    """What is checked, and how it sees the market.

    several  whether one processor sees all instruments
    needed   ticks of history that it needs
    modules  those that the strategy is made of
    """

    def __init__(self, name: str, parameters: dict[str, Any], timeout: float) -> None:
        config, self._path = target(name)
        self.config = config.model_copy(update={"parameters": config.parameters | parameters})
        self.name = name
        self.parameters = parameters
        self.timeout = timeout
        self.several = False
        self.needed = 0
        self.modules: list[ModuleType] = []
        self._synthetic: list[Tick] = []

    def prepare(self) -> Any:
        """Look at a processor, and see to it that there are two instruments. Raises `ConfigurationError`."""
        config = self.config
        free = self._path is None or bool(self.parameters)  # nobody said how much history there is to be
        if free:
            config = config.model_copy(update={"max_history": MOST_HISTORY})
        processor = create_processor(config)
        self.needed = getattr(processor, "min_history", 0)
        self.several = bool(getattr(processor, "multi_instrument", False))
        if free:
            config = config.model_copy(update={"max_history": max(self.config.max_history, self.needed)})
        if not self.several:
            tokens = tuple(dict.fromkeys((*config.instruments, *INSTRUMENTS)))[:2]
            config = config.model_copy(update={"instruments": tokens})
        self.config = config
        self.modules = _own_modules(STRATEGIES.factory(config.strategy_type), processor)
        return processor

    @cached_property
    def view(self) -> Any:
        """The type of the ticks that it is given."""
        return tick_view([Stage("run-strategy", {}, tick_fields=self.trial().runner.tick_fields)])

    def trial(self, config: StrategyConfig | None = None, **options: Any) -> Trial:
        """A new `Trial` of the strategy."""
        return Trial(config or self.config, **options)

    def synthetic(self, count: int = 0) -> list[Tick]:
        """At least `MARKET` ticks of the synthetic market, the instruments of the strategy in turn."""
        tokens = self.config.instruments
        count = count or max(MARKET, 2 * self.needed * len(tokens))
        if len(self._synthetic) != count:
            text = f"feed --ticks {count} --mode full --instruments {','.join(map(str, tokens))}"
            self._synthetic = [event for event in pipe(text) if isinstance(event, Tick)]
        return self._synthetic

    def market(self, count: int = 0) -> list[Any]:
        """The same with the fields that the strategy is given."""
        return self.seen(self.synthetic(count))

    def seen(self, ticks: Iterable[Tick]) -> list[Any]:
        """`ticks` with the fields that the strategy is given."""
        names = self.view.__struct_fields__
        return [self.view(*(getattr(one, name) for name in names)) for one in ticks]

    def where(self, frames: Iterable[tuple[str, int]]) -> str:
        """` (mine.py:12)`: the first of these places, file and line, that is in the strategy's own code."""
        own = {Path(module.__file__ or "").absolute() for module in self.modules}
        return next((f" ({Path(file).name}:{line})" for file, line in frames if Path(file).absolute() in own), "")


class Trial:
    """The strategy in a runner that never loses patience with it.

    watch  is given each of its methods that answer to events, and gives what is called instead
    fills  whether its orders are filled, each at once at the price of the tick that caused it
    """

    def __init__(
        self,
        config: StrategyConfig,
        *,
        watch: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None,
        fills: bool = True,
    ) -> None:
        self.said: list[str] = []
        self.runner = StrategyRunner(
            report=self.said.append, failures=_PATIENT, opening_cash={BROKER: Decimal(1_000_000)}
        )
        self.strategy = Strategy(config, (BROKER,), portfolio=self.runner.portfolio)
        self._fills = fills
        for executor in self.executors if watch else ():
            assert watch is not None
            executor.now = watch(executor.now)
            executor.on_bar = None if executor.on_bar is None else watch(executor.on_bar)
            executor.on_fill = None if executor.on_fill is None else watch(executor.on_fill)
        self.runner.add(self.strategy)
        if self.runner.disabled:
            raise Disabled(self.runner.disabled[self.strategy.id])

    @property
    def executors(self) -> list[Executor]:
        """One for each instrument."""
        return list(self.strategy.executors.values())

    def run(self, ticks: Iterable[Any]) -> list[bytes]:
        """The signals on `ticks`, as lines of the wire."""
        lines = []
        for tick in ticks:
            for signal in _of_signals(self.runner.on_tick(tick)):
                lines.append(encode(signal))
                if self._fills:
                    answers = self.runner.on_fill(_fill(signal, tick.last_price))
                    lines += map(encode, _of_signals(answers))
        return lines


def _of_signals(events: Iterable[Any]) -> Iterator[Signal]:
    return (event for event in events if isinstance(event, Signal))


def _fill(signal: Signal, price: float) -> Fill:
    return Fill(
        fill_id=f"fill-{signal.signal_id}",
        order_id=f"order-{signal.signal_id}",
        signal_id=signal.signal_id,
        strategy_id=signal.strategy_id,
        broker=signal.broker,
        instrument_token=signal.instrument_token,
        side="BUY" if signal.signal_type == "BUY" else "SELL",
        quantity=signal.quantity or 1,
        price=rupees(price),
        charges={"total": Decimal(0)},
        timestamp=signal.timestamp,
        product=signal.product,
    )


# --- the checks -------------------------------------------------------------------------------

#: How many arguments each method is given. `snapshot` and `restore` are called as they are.
_GIVEN = {
    "load_model": 0, "warmup": 1, "process_tick": 2, "extract_features": 2, "predict_signal": 1, "on_bar": 2,
    "on_fill": 1, "shutdown": 0,
}  # fmt: skip


def check_factory(subject: Subject) -> str:
    """It makes processors, each a new one, that can be called as the runner calls them."""
    processor = subject.prepare()
    if processor is create_processor(subject.config):
        raise Verdict(FAIL, "it makes the same object twice; each instrument needs one of its own")
    _check_fields(processor)
    for name, count in _GIVEN.items():
        method = capability(processor, name)
        if method is not None:
            adapted(method, count, None)
    for name, given in (("snapshot", ()), ("restore", ({},))):
        method = capability(processor, name)
        if method is not None:
            _check_call(name, method, given)
    Strategy(subject.config, (BROKER,))
    return ", ".join(name for name in CAPABILITIES if capability(processor, name))


def _check_fields(processor: object) -> None:
    fields = getattr(processor, "tick_fields", None)
    for name in fields or ():
        if name not in Tick.__struct_fields__:
            raise Verdict(FAIL, f"tick_fields names {name!r}, which a tick has not; see alpha schema tick")


def _check_call(name: str, method: Callable[..., Any], given: Sequence[object]) -> None:
    try:
        inspect.signature(method).bind(*given)
    except TypeError as error:
        raise Verdict(FAIL, f"{CAPABILITIES[name].partition(':')[0]} cannot be called so: {error}") from None
    except ValueError:  # written in C
        pass


def check_model(subject: Subject) -> str:
    """Its model can be loaded."""
    strategy = Strategy(subject.config, (BROKER,))
    if capability(strategy.processors[0], "load_model") is None:
        raise Verdict(SKIPPED, "it has none")
    try:
        strategy.load_model()
    except Disabled as why:
        raise Verdict(FAIL, str(why)) from None
    return "loaded"


def check_answers(subject: Subject) -> str:
    """It answers a `SignalResult` or None and never raises, also where the market is strange."""
    answers = Answers(subject)
    for series, ticks in _series(subject):
        answers.begin(series)
        trial = subject.trial(watch=answers.watch)
        trial.run(subject.seen(ticks))
        answers.signals += trial.strategy.signals
        answers.refused += trial.strategy.rejected
        if trial.strategy.errors and not answers.faults:  # of an answer that cannot be put on the wire
            raise Verdict(FAIL, trial.said[-1])
        for executor in trial.executors:
            answers.attempt("warmup", executor.warmup)
        for processor in trial.strategy.processors:
            shutdown = capability(processor, "shutdown")
            if shutdown is not None:
                answers.attempt("shutdown", adapted(shutdown, 0, None))
    if answers.faults:
        raise Verdict(FAIL, f"{answers.faults[0]}; {len(answers.faults):,} such in all")
    refused = f", {answers.refused:,} refused by its validator" if answers.refused else ""
    said = f"{answers.total:,} calls, {answers.signals:,} signals{refused}"
    if not answers.signals:
        raise Verdict(WARNING, f"{said}: where checks compare signals, they have little to compare")
    return said


class Answers:
    """Looks at what a strategy answers."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._series = ""
        self._count = 0  # calls on it
        self.total = self.signals = self.refused = 0
        self.faults: list[str] = []

    def begin(self, series: str) -> None:
        """What comes now is the series of that name."""
        self._series, self._count = series, 0

    def watch(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """`method`, looked at."""

        def watched(*given: Any) -> Any:
            self._count += 1
            self.total += 1
            answer = self.attempt(f"call {self._count:,}", method, *given)
            if answer is not None and not isinstance(answer, SignalResult):
                self._fault(f"answers {type(answer).__name__}, not SignalResult or None, in call {self._count:,}")
            return answer

        return watched

    def attempt(self, what: str, method: Callable[..., Any], *given: Any) -> Any:
        """What `method` answers; None, and a fault, if it raises."""
        try:
            return method(*given)
        except (Exception, SystemExit) as error:
            self._fault(f"{what} raises {told(error)}{self._subject.where(_frames_of(error))}")
            return None

    def _fault(self, text: str) -> None:
        self.faults.append(f"on {self._series}: {text}")


def _frames_of(error: BaseException) -> list[tuple[str, int]]:
    frames = []
    trace = error.__traceback__
    while trace is not None:
        frames.append((trace.tb_frame.f_code.co_filename, trace.tb_lineno))
        trace = trace.tb_next
    return frames[::-1]


def _series(subject: Subject) -> Iterator[tuple[str, list[Tick]]]:
    """What every strategy has to live through, with its name."""
    yield "the synthetic market", subject.synthetic()
    walk = [1_000 + (7 * step % 83) / 20 - (11 * step % 37) / 10 for step in range(600)]
    yield "ticks with nothing but a price", _ticks(subject, walk)
    yield "a single tick", _ticks(subject, [100.0] * len(subject.config.instruments))
    yield "prices that stand still", _ticks(subject, [100.0] * 600)
    jumps = [price * (1, 1_000, 1, 0.001)[place // 40 % 4] for place, price in enumerate(walk)]
    yield "prices that jump a thousandfold", _ticks(subject, jumps)
    yield "the least and the largest prices", _ticks(subject, [(0.01, 9e11)[place // 3 % 2] for place in range(300)])
    yield "ticks all at one moment", _ticks(subject, walk, step=0)


def _ticks(subject: Subject, prices: Iterable[float], step: float = 1) -> list[Tick]:
    tokens = subject.config.instruments
    opening = datetime(2026, 1, 5, 9, 15, tzinfo=IST)
    return [
        Tick(tokens[place % len(tokens)], opening + timedelta(seconds=step * place), price)
        for place, price in enumerate(prices)
    ]


def check_purity(subject: Subject) -> str:
    """No input or output, no clock, no chance; and what it is given stays as it was."""
    guard = Guard(subject)
    ticks = subject.market()
    trial = subject.trial(watch=guard.watch)
    sys.addaudithook(guard.hear)
    with guard.reporting():
        trial.run(ticks)
    if guard.found:
        raise Verdict(FAIL, "; ".join(f"it {what}{where}" for what, where in guard.found.items()))
    return f"{guard.calls:,} calls without input, output, clock or chance"


#: Audit events of input and output.
_HEARD = (
    "open", "socket.", "subprocess.", "os.", "shutil.", "tempfile.", "sqlite3.", "urllib.", "http.", "ftplib.",
    "smtplib.", "builtins.input", "fcntl.", "mmap.", "pty.", "webbrowser.",
)  # fmt: skip

#: module -> its functions that read a clock or make chance, or that Python's audit does not tell of.
_FUNCTIONS = {
    "time": (
        "time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time",
        "process_time_ns", "thread_time", "thread_time_ns", "clock_gettime", "clock_gettime_ns", "sleep",
    ),
    "os": ("urandom", "getrandom", "read", "write"),
    "uuid": ("uuid1", "uuid4"),
    "random": ("_urandom",),  # behind SystemRandom and secrets
    "threading": ("_start_new_thread",),
}  # fmt: skip
#: Those that read the clock only if they are given nothing.
_WITHOUT_ARGUMENTS = {"time": ("localtime", "gmtime", "ctime", "asctime")}
#: Modules whose functions are methods of one hidden generator.
_GENERATORS = ("random", "numpy.random")


class Guard:
    """Notices what a strategy must not do, while it is called: by audit events and by stand-ins for functions."""

    def __init__(self, subject: Subject) -> None:
        self.found: dict[str, str] = {}  # what it did, and where
        self.calls = 0
        self._subject = subject
        self._inside = False

    def watch(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """`method`, guarded."""

        def guarded(*given: Any) -> Any:
            self.calls += 1
            before = [_content(one) for one in given]
            self._inside = True
            try:
                return method(*given)
            finally:
                self._inside = False
                for one, content in zip(given, before, strict=True):
                    if _content(one) != content:
                        self.found.setdefault(f"changes the {'history' if type(content) is list else 'event'}", "")

        return guarded

    def hear(self, event: str, _: tuple[Any, ...]) -> None:
        """Python's audit hook."""
        if self._inside and event.startswith(_HEARD):
            self.note(f"does input or output, {event}" if event != "open" else "opens a file")

    def note(self, what: str) -> None:
        """It did `what`, unless it was importing: a module may be loaded when it is used first."""
        if not self._inside:
            return
        self._inside = False  # looking around is heard, too
        frames = []
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            frames.append((frame.f_code.co_filename, frame.f_lineno))
            frame = frame.f_back
        if not any(file.startswith("<frozen importlib") for file, _ in frames):
            self.found.setdefault(what, self._subject.where(frames))
        self._inside = True

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """While this lasts, clocks, chance and standard streams tell of their use."""
        stand_ins = list(self._stand_ins())
        by_original = {id(original): stand_in for _, _, original, stand_in in stand_ins}
        places = [(vars(holder), name, stand_in) for holder, name, _, stand_in in stand_ins]
        places += [
            (vars(module), name, by_original[id(value)])
            for module in self._subject.modules
            for name, value in vars(module).items()
            if id(value) in by_original  # `from time import time`
        ]
        before = [space[name] for space, name, _ in places]
        for space, name, stand_in in places:
            space[name] = stand_in
        try:
            yield
        finally:
            for (space, name, _), original in zip(places, before, strict=True):
                space[name] = original

    def _stand_ins(self) -> Iterator[tuple[ModuleType, str, Any, Any]]:
        """Module, name, what is there and what is to be there."""
        for table, only_without in ((_FUNCTIONS, False), (_WITHOUT_ARGUMENTS, True)):
            for module_name, names in table.items():
                module = import_module(module_name)
                for name in names:
                    original = getattr(module, name, None)
                    if original is not None:
                        said = f"calls {module_name}.{name.lstrip('_')}()"
                        yield module, name, original, self._function(original, said, only_without=only_without)
        for module_name in _GENERATORS:
            generators = sys.modules.get(module_name)
            if generators is None:
                continue
            for name, original in list(vars(generators).items()):
                hidden = getattr(original, "__self__", None)
                if callable(original) and hidden is not None and not isinstance(hidden, ModuleType | type):
                    yield generators, name, original, self._function(original, f"calls {module_name}.{name}()")
        for name, methods in (("datetime", ("now", "today", "utcnow")), ("date", ("today",))):
            original = getattr(datetime_module, name)
            yield datetime_module, name, original, self._calendar(original, methods)
        for name in ("stdin", "stdout", "stderr"):
            yield sys, name, getattr(sys, name), _Stream(partial(self.note, f"uses sys.{name}"))

    def _function(self, original: Callable[..., Any], said: str, *, only_without: bool = False) -> Callable[..., Any]:
        def stand_in(*args: Any, **kwargs: Any) -> Any:
            if not (args and only_without):
                self.note(said)
            return original(*args, **kwargs)

        return stand_in

    def _calendar(self, original: Any, methods: Iterable[str]) -> Any:
        """A class that passes for `original`, makes objects of it, and tells who asks it for now."""
        stand_ins = {
            name: staticmethod(self._function(getattr(original, name), f"calls {original.__name__}.{name}()"))
            for name in methods
        }
        made = {"__new__": lambda _, *args, **kwargs: original(*args, **kwargs), **stand_ins}
        return _Passing(original.__name__, (original,), made)


class _Passing(type):
    """Of a class that passes for its base: whatever is one of those is one of these."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, cls.__base__ or object)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, cls.__base__ or object)


class _Stream:
    """In place of a standard stream: whatever is asked of it, it tells and does nothing."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell

    def __getattr__(self, name: str) -> Any:
        self._tell()
        return lambda *_, **__: 0 if name == "write" else ""


def _content(given: Any) -> Any:
    """What must be the same after a call: the ticks in a history, the fields of an event."""
    return list(given) if isinstance(given, list) else msgspec.structs.astuple(given)


def check_determinism(subject: Subject) -> str:
    """The same ticks give the same signals: again, with another hash seed and in another time zone."""
    ticks = subject.market()
    first = subject.trial().run(ticks)
    _compare(first, subject.trial().run(ticks), "a second run")
    with (
        _process("signals", subject.name, subject.parameters, subject.timeout, HOSTS[0]) as one,
        _process("signals", subject.name, subject.parameters, subject.timeout, HOSTS[1]) as other,
    ):
        outputs = []
        for process in (one, other):
            output, errors = process.communicate()  # it ends by itself, if need be by its alarm
            outputs.append(output.splitlines())
            if process.returncode:
                raise Verdict(FAIL, f"another process: {_ended(process.returncode, errors)}")
    _compare(first, outputs[0], "another process")
    _compare(outputs[0], outputs[1], "a process with another hash seed and time zone")
    return f"{len(first):,} signals, the same in 3 processes with different hash seeds and time zones"


def check_separation(subject: Subject) -> str:
    """An instrument gets the same signals whether or not there are others beside it."""
    if subject.several:
        raise Verdict(SKIPPED, "multi_instrument: one processor is meant to see all of them")
    ticks = subject.market()
    together = subject.trial(fills=False).run(ticks)  # a fill changes the cash of all
    for token in subject.config.instruments:
        alone = subject.config.model_copy(update={"instruments": (token,)})
        own = [line for line in together if msgspec.json.decode(line)["instrument_token"] == token]
        _compare(subject.trial(alone, fills=False).run(ticks), own, f"{token} beside another instrument")
    return f"{len(subject.config.instruments)} instruments, together and alone"


def check_memory(subject: Subject) -> str:
    """What it holds does not grow with the number of ticks."""
    trial = subject.trial(fills=False)
    count = max(LONG, 2 * subject.needed * len(subject.config.instruments))
    ticks = subject.market(3 * count)
    trial.run(ticks[:count])
    before = _footprint(trial, subject)
    trial.run(ticks[count:])
    growth = _footprint(trial, subject) - before
    if growth > GROWTH[0] + GROWTH[1] * before:
        raise Verdict(FAIL, f"it holds {growth / 1024:,.0f} KiB more after {3 * count:,} ticks than after {count:,}")
    kept = sum(len(msgspec.json.encode(one)) for one in _snapshots(trial).values())
    snapshots = f"; snapshots of {kept:,} bytes" if kept else ""
    return f"{max(growth, 0):,} bytes more after {3 * count:,} ticks than after {count:,}{snapshots}"


def _footprint(trial: Trial, subject: Subject) -> int:
    """Bytes of all that the processors hold, and of what their modules keep at the top."""
    tops = [value for module in subject.modules for name, value in vars(module).items() if not name.startswith("__")]
    return sum(sys.getsizeof(one, 0) for one in _reachable([*trial.strategy.processors, *tops], subject.modules))


def _reachable(roots: Iterable[Any], modules: Iterable[ModuleType]) -> Iterator[Any]:
    """The objects that can be reached from `roots`, but not by way of other people's classes and functions."""
    own = {module.__name__ for module in modules}
    seen: set[int] = set()
    ahead = list(roots)
    while ahead and len(seen) < 2_000_000:
        one = ahead.pop()
        if not gc.is_tracked(one) and not isinstance(one, (tuple, dict)):
            yield one  # it holds no others
            continue
        if id(one) in seen or isinstance(one, ModuleType | Context):  # a context is the runner's, however it is kept
            continue
        seen.add(id(one))
        if isinstance(one, type):
            if one.__module__ in own:
                ahead += vars(one).values()
        elif isinstance(one, FunctionType):
            ahead += [*(one.__closure__ or ()), *(one.__defaults__ or ()), vars(one)]
        else:
            yield one
            ahead += gc.get_referents(one)


def _snapshots(trial: Trial) -> dict[str, Any]:
    return snapshot.snapshot(trial.runner).strategies[trial.strategy.id].processors


def check_state(subject: Subject) -> str:
    """Stopped and started again from what it kept, it goes on as if nothing had been."""
    (processor, *_) = subject.trial().strategy.processors
    takes, gives_back = (capability(processor, name) is not None for name in ("snapshot", "restore"))
    if takes != gives_back:
        here, missing = ("snapshot", "restore") if takes else ("restore", "snapshot")
        raise Verdict(FAIL, f"it has {here}() but no {missing}()")
    ticks = subject.market()
    whole = subject.trial().run(ticks)
    try:
        for cut in CUTS:
            stayed, restarted = _cut(subject, ticks, ceil(cut * len(ticks)))
            _compare(whole, restarted, "a restart")
            _compare(whole, stayed, "going on after snapshot()")  # as with --workers, where it is taken now and then
    except Verdict as verdict:
        if takes:
            raise
        raise Verdict(WARNING, f"it keeps state but offers no snapshot(): a restart forgets it; {verdict}") from None
    if takes:
        return f"{len(whole):,} signals, the same after each of {len(CUTS)} restarts"
    if capability(processor, "warmup") is None and _remembers(subject, ticks):
        raise Verdict(WARNING, "it keeps state but offers no snapshot(): a restart forgets it")
    return "no snapshot(), and none needed: the history says it all"


def _cut(subject: Subject, ticks: Sequence[Any], cut: int) -> tuple[list[bytes], list[bytes]]:
    """The signals of a strategy of which a snapshot is taken after `cut` ticks; and of one that goes on from that."""
    first, second = subject.trial(), subject.trial()
    lines = first.run(ticks[:cut])
    said = len(first.said)
    kept = snapshot.decode(snapshot.encode(snapshot.snapshot(first.runner)))
    snapshot.restore(second.runner, kept)
    trouble = [*first.said[said:], *second.said]
    if trouble:
        raise Verdict(FAIL, f"at a restart after {cut:,} ticks: {trouble[0]}")
    return lines + first.run(ticks[cut:]), lines + second.run(ticks[cut:])


def _remembers(subject: Subject, ticks: Iterable[Any]) -> bool:
    """Whether anything in its processors changes from tick to tick."""
    trial = subject.trial()
    before = _portrait(trial)
    trial.run(ticks)
    return before != _portrait(trial)


def _portrait(trial: Trial) -> list[str]:
    """Everything in the processors that can be told."""
    return [
        type(one).__name__ if gc.is_tracked(one) else repr(one) for one in _reachable(trial.strategy.processors, ())
    ]


def check_speed(subject: Subject) -> str:
    """How long it takes for a tick; only for information."""
    taken: list[int] = []

    def watch(method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any) -> Any:
            begin = perf_counter_ns()
            try:
                return method(*given)
            finally:
                taken.append(perf_counter_ns() - begin)

        return timed

    subject.trial(watch=watch).run(subject.market())
    taken.sort()
    median, p99 = (taken[int(len(taken) * share)] / 1000 for share in (0.5, 0.99))
    said = f"median {median:,.1f} µs, p99 {p99:,.1f} µs"
    if median > SLOW:
        raise Verdict(WARNING, f"{said}: a slow strategy holds up the others, unless it runs with --workers")
    return said


#: name -> check, in the order in which they run. After one of the first two has failed none of the others can.
CHECKS: dict[str, Callable[[Subject], str]] = {
    "factory": check_factory,
    "model": check_model,
    "answers": check_answers,
    "purity": check_purity,
    "determinism": check_determinism,
    "separation": check_separation,
    "memory": check_memory,
    "state": check_state,
    "speed": check_speed,
}
FIRST = ("factory", "model")


# --- what the checks share --------------------------------------------------------------------


def _compare(expected: Sequence[bytes], found: Sequence[bytes], where: str) -> None:
    """Raise `Verdict` unless the signals are the same."""
    if list(expected) == list(found):
        return
    place = next(
        (place for place, (one, other) in enumerate(zip(expected, found, strict=False)) if one != other),
        min(len(expected), len(found)),
    )
    one, other = (_told_signal(lines[place]) if place < len(lines) else "nothing" for lines in (expected, found))
    raise Verdict(FAIL, f"{where}: signal {place + 1:,} is {other}, not {one}")


def _told_signal(line: bytes) -> str:
    signal = msgspec.json.decode(line)
    return printable(f"{signal['signal_type']} {signal['instrument_token']} at {signal['timestamp']}")


def _own_modules(factory: Callable[..., Any], processor: object) -> list[ModuleType]:
    """The modules that the strategy is made of: those of its factory and class, and what lies beside them."""
    names = {factory.__module__, *(cls.__module__ for cls in type(processor).__mro__[:-1])}
    made_of = [sys.modules[name] for name in names if name in sys.modules]
    folders = {Path(file).parent for module in made_of if (file := getattr(module, "__file__", None))}
    beside = [
        module
        for module in list(sys.modules.values())
        if (file := getattr(module, "__file__", None)) and Path(file).parent in folders
    ]
    return list({id(module): module for module in (*made_of, *beside)}.values())
