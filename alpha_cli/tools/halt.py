"""`alpha halt`, `alpha resume` and `alpha rearm`: stop all trading of a state folder, and let it go on.

Trading is halted while `DIR/HALT` exists, of whatever kind and whatever is in it, so halting needs no
database, no lock and no free disk block: only a name in a folder. What was done is also kept in
`DIR/halts.ndjson`, which risk follows: what latched by itself goes on when it reads there that a person said so,
now or at its next start. These commands read the clock; stages only look whether the file is there.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from alpha_cli.core.errors import AlphaError, InputOutputError, NoInput, UsageError
from alpha_cli.storage.halts import HALT, HISTORY, halt_reason, halt_record, remember, sync_folder, write_synced
from alpha_cli.stream.log import log_line

if TYPE_CHECKING:
    from alpha_cli.stages.risk.trading_state import Standing


_STATE = click.option(
    "--state", type=click.Path(path_type=Path), envvar="ALPHA_STATE", metavar="DIR",
    help="The folder that the stages were given.  [env: ALPHA_STATE]",
)  # fmt: skip


@click.command()
@_STATE
@click.option("--reason", default="", metavar="TEXT", help="Why, for those who read it later.")
def halt(state: Path | None, reason: str) -> None:
    """Stop trading: risk denies every signal of stages with this --state from now on.

    It holds over restarts, until alpha resume. Who halts what is halted changes nothing: the first reason stays.

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
@_STATE
@click.option("--reason", required=True, metavar="TEXT", help="Why it is safe to go on.")
def resume(state: Path | None, reason: str) -> None:
    """Let trading go on after alpha halt, or after a loss that stopped an account. It asks for a reason, and keeps it.

    Losses count from then on. Risk acts on it with the next batch that it reads, or when it starts. A strategy that was
    stopped goes on with alpha rearm.

    \b
    Example:
        alpha resume --state ~/trading --reason "feed restarted, prices checked"
    """
    folder = _folder(state)
    path = folder / HALT
    if not reason.strip():
        raise UsageError("--reason is empty: say why it is safe to go on")
    why = halt_reason(folder)
    stopped = _stopped(folder)
    accounts = None if stopped is None else [one for one in stopped if not one.strategy_id]
    if why is None and accounts == []:
        names = ", ".join(sorted({one.strategy_id for one in stopped or ()}))
        hint = f"; of {names}, that is stopped: alpha rearm" if names else ""
        click.echo(f"not halted: there is no {path}, and no account was stopped{hint}")
        return
    try:
        remember(folder, halt_record("resume", reason))
        if why is not None:
            path.unlink()
            sync_folder(folder)
    except OSError as error:
        raise InputOutputError(f"still halted: {error.filename or path}: {error.strerror}") from None
    if why is not None:
        click.echo(f"trading may go on; it was halted: {why}")
    for account in accounts or ():
        click.echo(f"{account.broker} may go on; it was {account.state}: {account.reason} ({account.code})")


@click.command()
@click.argument("strategy")
@_STATE
@click.option("--reason", required=True, metavar="TEXT", help="Why it is safe to go on.")
def rearm(strategy: str, state: Path | None, reason: str) -> None:
    """Let a strategy go on that risk stopped: for repeating itself, for rejections in a row, for its losses.

    Its counts begin anew. Risk acts on it with the next batch that it reads, or when it starts.

    \b
    Example:
        alpha rearm momentum --state ~/trading --reason "threshold was 0, set to 0.0005"
    """
    folder = _folder(state)
    if not reason.strip():
        raise UsageError("--reason is empty: say why it is safe to go on")
    stopped = _stopped(folder)
    found = [one for one in stopped or () if one.strategy_id == strategy]
    if stopped is not None and not found:
        names = sorted({one.strategy_id for one in stopped if one.strategy_id})
        if not names:
            hint = "; an account is: alpha resume" if stopped else ""
            click.echo(f"nothing to do: no strategy is stopped in {folder}{hint}")
            return
        from alpha_cli.core.text import did_you_mean

        raise UsageError(f"{strategy!r} is not stopped{did_you_mean(strategy, names)}")
    try:
        remember(folder, halt_record("rearm", reason, strategy))
    except OSError as error:
        raise InputOutputError(f"still stopped: {error.filename or folder / HISTORY}: {error.strerror}") from None
    click.echo(f"{strategy} may go on" + "".join(f"; it was {one.state}: {one.reason} ({one.code})" for one in found))


def _stopped(folder: Path) -> list[Standing] | None:
    """What risk stopped by itself, by its databases in `folder`; None if one of them cannot be read."""
    from alpha_cli.stages.risk.store import standings_in

    found: list[Standing] = []
    for path in sorted(folder.glob("*.db")):
        try:
            found += standings_in(path)
        except AlphaError as error:
            log_line(f"alpha: {path} cannot be asked: {error}; the request is kept all the same")
            return None
    return found


def _folder(state: Path | None) -> Path:
    """The folder to halt. One that is not there is a mistyped one, and would halt nobody."""
    if state is None:
        raise UsageError("name the folder: --state DIR, or set ALPHA_STATE")
    if not state.is_dir():
        raise NoInput(f"--state {state}: no such folder; nothing was changed; name the one that the stages were given")
    return state
