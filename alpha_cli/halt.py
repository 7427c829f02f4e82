"""`alpha halt` and `alpha resume`: stop all trading of a state folder, and let it go on.

Trading is halted while `DIR/HALT` exists, of whatever kind and whatever is in it, so halting needs no
database, no lock and no free disk block: only a name in a folder. What was done is also kept in
`DIR/halts.ndjson`. Both commands read the clock; stages only look whether the file is there.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import click

from alpha_cli.errors import InputOutputError, NoInput, UsageError, tell
from alpha_cli.state import HALT, halt_reason

HISTORY = "halts.ndjson"
_LONGEST_REASON = 500  # characters

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
    record = _record("halt", reason)
    path = folder / HALT
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        click.echo(f"halted already: {halt_reason(folder)}")
        return
    except OSError as error:
        raise InputOutputError(f"NOT halted: {path} cannot be made: {error.strerror}; stop the stages") from None
    try:
        _written(fd, record)
        _synced(folder)
        _remember(folder, record)
    except OSError as error:  # the name alone halts
        tell(f"alpha halt: halted, but the reason could not be kept: {error.strerror}")
    click.echo(f"halted: {path}")


@click.command()
@_STATE
@click.option("--reason", required=True, metavar="TEXT", help="Why it is safe to go on.")
def resume(state: Path | None, reason: str) -> None:
    """Let trading go on after alpha halt. It asks for a reason, and keeps it.

    \b
    Example:
        alpha resume --state ~/trading --reason "feed restarted, prices checked"
    """
    folder = _folder(state)
    path = folder / HALT
    if not reason.strip():
        raise UsageError("--reason is empty: say why it is safe to go on")
    why = halt_reason(folder)
    if why is None:
        click.echo(f"not halted: there is no {path}")
        return
    try:
        _remember(folder, _record("resume", reason))
        path.unlink()
        _synced(folder)
    except OSError as error:
        raise InputOutputError(f"still halted: {error.filename or path}: {error.strerror}") from None
    click.echo(f"trading may go on; it was halted: {why}")


def _folder(state: Path | None) -> Path:
    """The folder to halt. One that is not there is a mistyped one, and would halt nobody."""
    if state is None:
        raise UsageError("name the folder: --state DIR, or set ALPHA_STATE")
    if not state.is_dir():
        raise NoInput(f"--state {state}: no such folder; nothing was changed; name the one that the stages were given")
    return state


def _record(action: str, reason: str) -> bytes:
    """One line of JSON: what was done, when, by whom and why."""
    import msgspec

    from alpha_cli.events import IST

    now = datetime.now(IST).isoformat(timespec="seconds")
    by = _user()
    return msgspec.json.encode({"action": action, "at": now, "by": by, "reason": reason[:_LONGEST_REASON]}) + b"\n"


def _user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a user without a name, as in containers
        return str(os.geteuid())


def _remember(folder: Path, record: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    _written(os.open(folder / HISTORY, flags, 0o600), record)


def _written(fd: int, data: bytes) -> None:
    """Write and keep it. Raises OSError."""
    try:
        while data:
            data = data[os.write(fd, data) :]
        os.fsync(fd)
    finally:
        os.close(fd)


def _synced(folder: Path) -> None:
    """Make a name that came or went in `folder` survive a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
