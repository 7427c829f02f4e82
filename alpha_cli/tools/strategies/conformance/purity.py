"""The check that a strategy keeps to itself: no input or output, no clock, no chance."""

from __future__ import annotations

import datetime as datetime_module
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from types import FrameType, ModuleType
from typing import Any

import msgspec

from alpha_cli.tools.strategies.conformance.subject import Subject
from alpha_cli.tools.strategies.conformance.verdict import FAIL, Verdict


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

    def __init__(self, log_line: Callable[[], None]) -> None:
        self._tell = log_line

    def __getattr__(self, name: str) -> Any:
        self._tell()
        return lambda *_, **__: 0 if name == "write" else ""


def _content(given: Any) -> Any:
    """What must be the same after a call: the ticks in a history, the fields of an event."""
    return list(given) if isinstance(given, list) else msgspec.structs.astuple(given)
