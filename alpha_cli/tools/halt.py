"""`alpha halt`, `alpha resume` and `alpha rearm`: stop all trading of a state folder, and resume it.

Trading is halted while `DIR/HALT` exists, whatever kind of file it is, so halting needs no database, no lock and no
free disk block: only a name in a folder. Every request is also appended to `DIR/halts.ndjson`, which risk follows: a
stop of its own is lifted when risk reads there, now or at its next start, that a person lifted it. These commands
read the clock; stages only look whether the file is there.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from alpha_cli.cli.options import given_state, state_option
from alpha_cli.core.errors import AlphaError, InputOutputError, NoInput, UsageError
from alpha_cli.core.text import printable
from alpha_cli.storage.files import sync_folder, write_all, write_synced
from alpha_cli.storage.halts import HALT, HISTORY, halt_reason, halt_record, remember, shown_path
from alpha_cli.stream.log import log_line

if TYPE_CHECKING:
    from alpha_cli.stages.risk.trading_state import TradingState

_LONGEST_LINE = 8192  # characters


@click.command()
@state_option()
@click.option("--reason", default="", metavar="TEXT", help="Why, for later readers.")
def halt(state: Path | None, reason: str) -> None:
    """Stop all trading: from now on risk denies every signal of the stages with this --state.

    The halt lasts until alpha resume, also over restarts. Halting twice changes nothing; the first reason is kept.

    \b
    Example:
        alpha halt --state ~/trading --reason "prices look wrong"
    """
    folder = _folder(state)
    path = folder / HALT
    # The name alone halts. Nothing that can fail comes before it, not even the reading of a clock.
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        _say(f"halted already: {halt_reason(folder)}")
        return
    except OSError as error:
        raise InputOutputError(
            f"NOT halted: {shown_path(path)} cannot be made: {error.strerror}; stop the stages"
        ) from None
    try:
        _record_halt(fd, folder, reason)
    except Exception as error:
        why = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        log_line(f"alpha halt: halted, but the reason could not be kept: {printable(str(why), 300)}")
    _say(f"halted: {shown_path(path)}")


def _record_halt(fd: int, folder: Path, reason: str) -> None:
    """Write who halted and why into the file at `fd`, and into the history."""
    try:
        record = halt_record("halt", reason)
    except BaseException:
        os.close(fd)
        raise
    write_synced(fd, record)
    sync_folder(folder)
    remember(folder, record)


@click.command()
@state_option()
@click.option("--reason", default="", metavar="TEXT", help="Why it is safe to trade again.  [required]")
def resume(state: Path | None, reason: str) -> None:
    """Resume trading after a halt, or after a loss that stopped an account. The reason is required, and kept.

    Losses are counted from zero again. Risk acts on it with the next batch it reads, or when it starts. A stopped
    strategy is restarted with alpha rearm.

    \b
    Example:
        alpha resume --state ~/trading --reason "feed restarted, prices checked"
    """
    folder = _folder(state)
    _check_reason(reason)
    why = halt_reason(folder)
    stopped = _stopped(folder)
    accounts = None if stopped is None else [one for one in stopped if not one.strategy_id]
    if why is None and accounts == []:
        names = ", ".join(sorted({one.strategy_id for one in stopped or ()}))
        hint = f"; of {names}, that is stopped: alpha rearm" if names else ""
        _say(f"not halted: there is no {folder / HALT}, and no account was stopped{hint}")
        return
    _lift(folder, halt_record("resume", reason), halted=why is not None)
    if why is not None:
        _say(f"trading may go on; it was halted: {why}")
    for account in accounts or ():
        _say(f"{account.broker} may go on; it was {account.state}: {account.reason} ({account.code})")


def _lift(folder: Path, record: bytes, *, halted: bool) -> None:
    """Take the file HALT away, if it is `halted`, and keep the request `record`: both, or neither.

    The file goes first: risk acts on a request as soon as it is there, and could not be told to forget it.
    """
    path, aside = folder / HALT, folder / f".{HALT}.lifted"
    try:
        if halted:
            if path.is_dir() and not path.is_symlink():
                raise InputOutputError(f"still halted: {shown_path(path)} is a folder; remove it (rmdir), then resume")
            path.rename(aside)
        try:
            remember(folder, record)
        except OSError:
            if halted:
                aside.rename(path)
            raise
        if halted:
            aside.unlink()
            sync_folder(folder)
    except OSError as error:
        where = shown_path(Path(os.fsdecode(error.filename)) if error.filename else path)
        raise InputOutputError(f"still halted, nothing was changed: {where}: {error.strerror}") from None


@click.command()
@click.argument("strategy")
@state_option()
@click.option("--reason", default="", metavar="TEXT", help="Why it is safe to trade again.  [required]")
def rearm(strategy: str, state: Path | None, reason: str) -> None:
    """Restart a strategy that risk stopped for repeated signals, rejections in a row or losses.

    Its counters start from zero. Risk acts on it with the next batch it reads, or when it starts.

    \b
    Example:
        alpha rearm momentum --state ~/trading --reason "threshold was 0, set to 0.0005"
    """
    folder = _folder(state)
    _check_reason(reason)
    stopped = _stopped(folder)
    found = [one for one in stopped or () if one.strategy_id == strategy]
    if stopped is not None and not found:
        _refuse_rearm(folder, strategy, stopped)
        return
    try:
        remember(folder, halt_record("rearm", reason, strategy))
    except OSError as error:
        raise InputOutputError(f"still stopped: {error.filename or folder / HISTORY}: {error.strerror}") from None
    _say(f"{strategy} may go on" + "".join(f"; it was {one.state}: {one.reason} ({one.code})" for one in found))


def _refuse_rearm(folder: Path, strategy: str, stopped: list[TradingState]) -> None:
    """Say that nothing of that name is stopped. Raise `UsageError` if another strategy is."""
    names = sorted({one.strategy_id for one in stopped if one.strategy_id})
    if names:
        from alpha_cli.core.text import did_you_mean

        raise UsageError(f"{strategy!r} is not stopped{did_you_mean(strategy, names)}")
    hint = "; an account is: alpha resume" if stopped else ""
    _say(f"nothing to do: no strategy is stopped in {folder}{hint}")


def _say(line: str) -> None:
    """Print `line`; what was done is done, whether or not anybody can read of it."""
    with suppress(OSError):
        write_all(1, printable(line, _LONGEST_LINE).encode("utf-8", "replace") + b"\n")


def _check_reason(reason: str) -> None:
    if not reason.strip():
        raise UsageError('say why it is safe to go on: --reason "feed restarted, prices checked"')


def _stopped(folder: Path) -> list[TradingState] | None:
    """Return what risk stopped by itself, by its databases in `folder`; None if one cannot be read."""
    from alpha_cli.stages.risk.store import trading_states_in

    found: list[TradingState] = []
    for path in sorted(folder.glob("*.db")):
        try:
            found += trading_states_in(path)
        except AlphaError as error:
            log_line(f"alpha: {path} cannot be asked: {error}; the request is kept all the same")
            return None
    return found


def _folder(state: Path | None) -> Path:
    """Return the folder to halt. Raise `NoInput` if it is not there: it was mistyped, and would halt nothing."""
    folder = given_state(state)
    try:
        found = folder.stat()
    except OSError as error:
        why = "no such folder" if isinstance(error, FileNotFoundError) else error.strerror
        raise NoInput(
            f"--state {shown_path(folder)}: {why}; nothing was changed; name the one that the stages were given"
        ) from None
    if not stat.S_ISDIR(found.st_mode):
        raise NoInput(f"--state {shown_path(folder)}: is no folder; nothing was changed; name that of the stages")
    return folder
