"""The check that a strategy is pure: no input or output, no clock, no randomness."""

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
    """Check for input, output, clocks and randomness, and that it does not change its arguments."""
    guard = Guard(subject)
    ticks = subject.market()
    trial = subject.trial(watch=guard.watch)
    sys.addaudithook(guard.on_audit_event)
    with guard.reporting():
        trial.run(ticks)
    if guard.found:
        raise Verdict(FAIL, "; ".join(f"it {what}{where}" for what, where in guard.found.items()))
    return f"{guard.calls:,} calls without input, output, clock or chance"


#: Audit events of input and output.
_AUDITED = (
    "open", "socket.", "subprocess.", "os.", "shutil.", "tempfile.", "sqlite3.", "urllib.", "http.", "ftplib.",
    "smtplib.", "builtins.input", "fcntl.", "mmap.", "pty.", "webbrowser.",
)  # fmt: skip

#: Module -> its functions that read a clock or are random, or that raise no audit event.
_FUNCTIONS = {
    "time": (
        "time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time",
        "process_time_ns", "thread_time", "thread_time_ns", "clock_gettime", "clock_gettime_ns", "sleep",
    ),
    "os": ("urandom", "getrandom", "read", "write"),
    "uuid": ("uuid1", "uuid4"),
    "random": ("_urandom",),  # behind SystemRandom and secrets
    "threading": ("_start_new_thread", "_start_joinable_thread"),
}  # fmt: skip
#: Functions that read the clock only without arguments.
_WITHOUT_ARGUMENTS = {"time": ("localtime", "gmtime", "ctime", "asctime")}
#: Modules whose functions are methods of one hidden generator.
_GENERATORS = ("random", "numpy.random")


class Guard:
    """Detects impure actions while a strategy is called, by audit events and by replaced functions."""

    def __init__(self, subject: Subject) -> None:
        self.found: dict[str, str] = {}  # what it did, and where
        self.calls = 0
        self._subject = subject
        self._inside = False

    def watch(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """Return `method`, guarded."""

        def guarded(*given: Any) -> Any:
            self.calls += 1
            before = [_content(argument) for argument in given]
            self._inside = True
            try:
                return method(*given)
            finally:
                self._inside = False
                for argument, content in zip(given, before, strict=True):
                    if _content(argument) != content:
                        self.found.setdefault(f"changes the {'history' if type(content) is list else 'event'}", "")

        return guarded

    def on_audit_event(self, event: str, _: tuple[Any, ...]) -> None:
        """Handle an audit event; a hook of Python's."""
        if self._inside and event.startswith(_AUDITED):
            self.note(f"does input or output, {event}" if event != "open" else "opens a file")

    def note(self, what: str) -> None:
        """Record an action, unless it was part of an import: a module may be loaded at its first use."""
        if not self._inside:
            return
        self._inside = False  # what follows causes audit events, too
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
        """Replace clocks, random functions and standard streams by ones that record their use."""
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
        """Yield module, name, original and replacement."""
        for table, only_without in ((_FUNCTIONS, False), (_WITHOUT_ARGUMENTS, True)):
            for module_name, names in table.items():
                module = import_module(module_name)
                for name in names:
                    original = getattr(module, name, None)
                    if original is not None:
                        description = f"calls {module_name}.{name.lstrip('_')}()"
                        yield module, name, original, self._function(original, description, only_without=only_without)
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

    def _function(
        self, original: Callable[..., Any], description: str, *, only_without: bool = False
    ) -> Callable[..., Any]:
        def stand_in(*args: Any, **kwargs: Any) -> Any:
            if not (args and only_without):
                self.note(description)
            return original(*args, **kwargs)

        return stand_in

    def _calendar(self, original: Any, methods: Iterable[str]) -> Any:
        """Return a class that stands for `original`, makes objects of it, and records requests for the current time."""
        stand_ins = {
            name: staticmethod(self._function(getattr(original, name), f"calls {original.__name__}.{name}()"))
            for name in methods
        }
        made = {"__new__": lambda _, *args, **kwargs: original(*args, **kwargs), **stand_ins}
        return _Passing(original.__name__, (original,), made)


class _Passing(type):
    """The metaclass of a class that stands for its base: instances of the base are its instances."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, cls.__base__ or object)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, cls.__base__ or object)


class _Stream:
    """Replaces a standard stream: records each use and does nothing."""

    def __init__(self, record: Callable[[], None]) -> None:
        self._record = record

    def __getattr__(self, name: str) -> Any:
        self._record()
        return lambda *_, **__: 0 if name == "write" else ""


def _content(given: Any) -> Any:
    """Return what must be the same after a call: the ticks in a history, the fields of an event."""
    return list(given) if isinstance(given, list) else msgspec.structs.astuple(given)
