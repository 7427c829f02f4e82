"""`alpha halt`, `alpha resume` and `alpha rearm`: stop all trading of a state folder, and resume it.

Trading is halted while `DIR/HALT` exists, whatever kind of file it is, so halting needs no database, no lock and no
free disk block: only a name in a folder. Every request is also appended to `DIR/halts.ndjson`, which risk follows: a
stop of its own is lifted when risk reads there, now or at its next start, that a person lifted it. These commands
read the clock; stages only look whether the file is there.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from alpha_cli.cli.options import given_state, state_option
from alpha_cli.core.errors import AlphaError, InputOutputError, NoInput, UsageError
from alpha_cli.storage.files import sync_folder, write_synced
from alpha_cli.storage.halts import HALT, HISTORY, halt_reason, halt_record, remember
from alpha_cli.stream.log import log_line

if TYPE_CHECKING:
    from alpha_cli.stages.risk.trading_state import TradingState


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
    record = halt_record("halt", reason)
    path = folder / HALT
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        click.echo(f"halted already: {halt_reason(folder)}")
        return
    except OSError as error:
        raise InputOutputError(f"NOT halted: {path} cannot be made: {error.strerror}; stop the stages") from None
    try:
        write_synced(fd, record)
        sync_folder(folder)
        remember(folder, record)
    except OSError as error:  # the name alone halts
        log_line(f"alpha halt: halted, but the reason could not be kept: {error.strerror}")
    click.echo(f"halted: {path}")


@click.command()
@state_option()
@click.option("--reason", required=True, metavar="TEXT", help="Why it is safe to trade again.")
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
        click.echo(f"not halted: there is no {folder / HALT}, and no account was stopped{hint}")
        return
    _lift(folder, reason, halted=why is not None)
    if why is not None:
        click.echo(f"trading may go on; it was halted: {why}")
    for account in accounts or ():
        click.echo(f"{account.broker} may go on; it was {account.state}: {account.reason} ({account.code})")


def _lift(folder: Path, reason: str, *, halted: bool) -> None:
    """Record that a person resumed trading; then remove the file HALT, if it is `halted`."""
    path = folder / HALT
    try:
        remember(folder, halt_record("resume", reason))
        if halted:
            path.unlink()
            sync_folder(folder)
    except OSError as error:
        raise InputOutputError(f"still halted: {error.filename or path}: {error.strerror}") from None


@click.command()
@click.argument("strategy")
@state_option()
@click.option("--reason", required=True, metavar="TEXT", help="Why it is safe to trade again.")
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
    click.echo(f"{strategy} may go on" + "".join(f"; it was {one.state}: {one.reason} ({one.code})" for one in found))


def _refuse_rearm(folder: Path, strategy: str, stopped: list[TradingState]) -> None:
    """Say that nothing of that name is stopped. Raise `UsageError` if another strategy is."""
    names = sorted({one.strategy_id for one in stopped if one.strategy_id})
    if names:
        from alpha_cli.core.text import did_you_mean

        raise UsageError(f"{strategy!r} is not stopped{did_you_mean(strategy, names)}")
    hint = "; an account is: alpha resume" if stopped else ""
    click.echo(f"nothing to do: no strategy is stopped in {folder}{hint}")


def _check_reason(reason: str) -> None:
    if not reason.strip():
        raise UsageError("--reason is empty: say why it is safe to go on")


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
    if not folder.is_dir():
        raise NoInput(f"--state {folder}: no such folder; nothing was changed; name the one that the stages were given")
    return folder
