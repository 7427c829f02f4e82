"""Whose hands a file of code is in: what every user of the machine can write to is not run in the name of one."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from alpha_cli.core.errors import ConfigurationError
from alpha_cli.core.text import printable


def refuse_if_anybody_writes(path: Path) -> None:
    """Raise `ConfigurationError` if others may change the file of a strategy at `path`, or put another in its place.

    That is so if everybody may write to it, or to a folder on the way to it where names are not protected (as they are
    in /tmp, by the sticky bit); there the file has to be of this user or of root. A pipe or what is not there passes.
    """
    try:
        real = path.resolve()
        found = real.stat()
        if not stat.S_ISREG(found.st_mode):
            return
        open_to_all = next((place for place in (real, *_folders(path, real)) if _anybody_writes(place)), None)
        shared = found.st_uid not in {0, os.geteuid()} and bool(real.parent.stat().st_mode & stat.S_IWOTH)
    except (OSError, ValueError, RuntimeError):  # reading it will say what is wrong; a loop of links is a RuntimeError
        return
    if open_to_all is not None:
        what = "it" if open_to_all == real else printable(str(open_to_all), 300)
        raise ConfigurationError(
            f"{printable(str(path), 300)}: every user can write to {what}, and what it says runs as you; "
            f"chmod o-w {printable(str(open_to_all), 300)}"
        )
    if shared:
        raise ConfigurationError(
            f"{printable(str(path), 300)}: belongs to user {found.st_uid}, in a folder where everybody can make files; "
            f"copy it to a folder of your own"
        )


def _folders(path: Path, real: Path) -> list[Path]:
    """Return the folders on the way to a file, also on that of a link to it."""
    return list(dict.fromkeys((*real.parents, *path.absolute().parents)))


def _anybody_writes(path: Path) -> bool:
    """Return whether everybody may write to a file, or remove and rename what is in a folder."""
    mode = path.stat().st_mode
    return bool(mode & stat.S_IWOTH) and not (stat.S_ISDIR(mode) and mode & stat.S_ISVTX)
