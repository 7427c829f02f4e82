"""Every way a stage can fail, with its exit code.

    AlphaError              1  a bug in alpha
    ├─ UsageError           2  the command line is wrong
    ├─ BadData             65  the input is wrong
    │  └─ BadLine          65  one line of it is
    ├─ NoInput             66  a file to read is not there
    ├─ Unavailable         69  a service is down
    ├─ InvariantBroken     70  the state contradicts itself: stop
    ├─ StrategiesFailed    70  every call of every strategy failed
    ├─ InputOutputError    74  the disk or a pipe failed
    ├─ TryAgain            75  locked, or upstream ended early
    ├─ AuthenticationError 77  a token or a key was refused
    ├─ ConfigurationError  78  a configuration file is wrong
    ├─ Halted              80  risk stopped trading
    └─ ReaderGone         141  the program that reads our output ended

The numbers are sysexits(3) where one fits; a service manager restarts on 1, 69, 74, 75 and 141 and
on nothing else. A message is one line: what is wrong, where, and how to fix it.
"""

from __future__ import annotations


class AlphaError(Exception):
    """The root of the tree. By itself it means a bug."""

    exit_code = 1


class UsageError(AlphaError):
    """The command line is wrong."""

    exit_code = 2


class BadData(AlphaError):
    """The input breaks the wire contract, and the stage is set to stop on that."""

    exit_code = 65


class BadLine(BadData):
    """One line that is not an event; the stage's `--bad` decides whether it stops or skips."""


class NoInput(AlphaError):
    """A file or folder to read is missing or unreadable."""

    exit_code = 66


class Unavailable(AlphaError):
    """A needed service does not answer."""

    exit_code = 69


class InvariantBroken(AlphaError):
    """State contradicts itself; continuing would make it worse."""

    exit_code = 70


class StrategiesFailed(AlphaError):
    """Every call of every strategy failed: the run did nothing."""

    exit_code = 70


class InputOutputError(AlphaError):
    """Reading or writing failed: disk full, device error."""

    exit_code = 74


class TryAgain(AlphaError):
    """The same command may work later: a lock is held, or the input ended before its `eof`."""

    exit_code = 75


class AuthenticationError(AlphaError):
    """Credentials are missing, wrong or expired."""

    exit_code = 77


class ConfigurationError(AlphaError):
    """A configuration file is missing, unreadable or does not validate."""

    exit_code = 78


class Halted(AlphaError):
    """Trading is halted and stays so until a person resumes it."""

    exit_code = 80


class ReaderGone(AlphaError):
    """The program that reads our output ended; end too, without a message."""

    exit_code = 141


#: code -> (name, meaning), for `--help` and the README.
EXIT_CODES: dict[int, tuple[str, str]] = {
    0: ("ok", "the input was read to its end"),
    1: ("bug", "an error alpha did not foresee"),
    2: ("usage", "the command line is wrong"),
    65: ("bad data", "a line breaks the wire contract under --bad fail"),
    66: ("no input", "a file to read is missing, or nothing came of the instruments asked for"),
    69: ("service unavailable", "a service that is needed is down"),
    70: ("failed", "every call of every strategy failed, or state contradicts itself"),
    74: ("input/output", "a read or write failed"),
    75: ("try again", "a lock is held, or the input ended before its eof"),
    77: ("authentication", "credentials are missing or refused"),
    78: ("configuration", "a configuration file does not validate, or no strategy could start"),
    80: ("halted by risk", "trading is halted until a person resumes it"),
    130: ("interrupted", "a person pressed Ctrl-C"),
    141: ("reader gone", "the reader of our output left"),
}
