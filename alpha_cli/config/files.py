"""Where configuration files are: the folder of `$ALPHA_CONFIG_DIR`, `./configs`, the packaged ones, in that order.

This module imports neither pydantic nor YAML: a stage that only looks a file up starts without them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from alpha_cli.core.errors import BadLine, ConfigurationError
from alpha_cli.core.text import printable

Data = TypeVar("Data")

MAX_FILE = 1 << 20  # bytes

#: What was looked for in this process, and what was found: a file of that name in the working folder is not used.
_LOOKED_FOR: dict[str, Path | None] = {}


def packaged(folder: str) -> Path:
    """Return the shipped `strategies`, `configs` or `docs`: in an installed package, or next to it in a checkout."""
    here = Path(__file__).parent.parent
    installed = here / "packaged" / folder
    return installed if installed.is_dir() else here.parent / folder


def config_folders() -> list[Path]:
    """Return the folders of configuration files, nearest first. Raise `ConfigurationError`."""
    own = os.environ.get("ALPHA_CONFIG_DIR")
    if own:
        try:
            Path(own).stat()
        except FileNotFoundError:
            raise ConfigurationError(f"ALPHA_CONFIG_DIR={own}: no such folder") from None
        except OSError:
            pass  # reading from it will say what is wrong
    return [*([Path(own)] if own else []), Path("configs"), packaged("configs")]


def nearest(name: str) -> Path | None:
    """Return the file `name` in the first folder that has it; None if there is none. Raise `ConfigurationError`."""
    return _found(name, config_folders())


def find_config(name: str) -> Path:
    """Return the file `name` in the first folder that has it. Raise `ConfigurationError` if there is none."""
    found = nearest(name)
    if found is not None:
        return found
    looked = ", ".join(str(folder) for folder in config_folders()[:-1])
    raise ConfigurationError(f"no {name} in {looked} or among the packaged ones{_neighbours(name)}")


def find_own_config(name: str) -> Path | None:
    """Return the user's file `name`, which has no packaged form; None if there is none."""
    return _found(name, config_folders()[:-1])


def ignored_here() -> list[str]:
    """Return a line for each file in the working folder that is called as one that was looked for, and is not used."""
    lines = []
    for name, used in _LOOKED_FOR.items():
        for here in dict.fromkeys((Path(name), Path(Path(name).name))):
            with suppress(OSError):
                if not here.is_file() or (used is not None and here.samefile(used)):
                    continue
                instead = "the defaults hold" if used is None else f"{printable(str(used), 300)} is"
                named = "" if here.name in _NEVER_NAMED else f"name it (--config {here}), "
                place = f"configs/{name}".rpartition("/")[0]
                lines.append(f"./{here} is not used, {instead}: {named}move it to ./{place}, or set ALPHA_CONFIG_DIR=.")
    _LOOKED_FOR.clear()
    return lines


#: Files that no option names.
_NEVER_NAMED = ("alpha.yaml", "calendar.yaml")


def _found(name: str, folders: list[Path]) -> Path | None:
    found = next((folder / name for folder in folders if _has(folder, name)), None)
    if name.endswith(".yaml"):
        _LOOKED_FOR[name] = found
    return found


def read_bytes(path: Path) -> bytes:
    """Return what the file at `path` says. Raise `ConfigurationError` for one that is too large or cannot be read."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE + 1)
    except FileNotFoundError:
        raise ConfigurationError(f"{path}: no such file{_beside(path)}") from None
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or error}") from None
    if len(content) > MAX_FILE:
        raise ConfigurationError(f"{path}: larger than {MAX_FILE} bytes")
    return content


def _beside(path: Path) -> str:
    """Return the file that was likely meant, or those of this kind that are there."""
    from difflib import get_close_matches

    try:
        names = {one.stem: one.name for one in sorted(path.parent.glob(f"*{path.suffix}"))[:20]}
    except (OSError, ValueError):
        return ""
    near = get_close_matches(path.stem, names, n=1)
    if near:
        return f", did you mean {names[near[0]]!r}?"
    return f"; known: {', '.join(names.values())}" if names else ""


def says_nothing(path: Path) -> bool:
    """Return whether the YAML file at `path` has only comments and blank lines. Raise `ConfigurationError`."""
    lines = map(bytes.strip, read_bytes(path).splitlines())
    return all(not line or line.startswith(b"#") for line in lines)


def read_dated(path: Path, kind: type[Data], check: Callable[[bytes], object] = len) -> Data:
    """Read the JSON file at `path`, of dated facts with their sources, as `kind`.

    `check` looks at the content and raises `BadLine` for what decoding accepts. Raise `ConfigurationError`,
    one line that says what and where.
    """
    import msgspec

    from alpha_cli.core.wire import DECODE_ERRORS

    content = read_bytes(path)
    try:
        data = msgspec.json.decode(content, type=kind)
        check(content)
    except (*DECODE_ERRORS, BadLine) as error:
        raise ConfigurationError(f"{path}: {printable(str(error), 300)}") from None
    return data


def config_names(folder: str) -> list[str]:
    """Return the names of the YAML files in `folder` of every configuration folder, sorted."""
    names: set[str] = set()
    for base in config_folders():
        with suppress(OSError):  # a folder that cannot be looked into offers nothing
            names.update(path.stem for path in (base / folder).glob("*.yaml"))
    return sorted(names)


def _has(folder: Path, name: str) -> bool:
    try:
        return (folder / name).is_file()
    except OSError as error:  # it may be there: falling back to another file would be a guess
        raise ConfigurationError(f"{folder / name}: {error.strerror}") from None


def _neighbours(name: str) -> str:
    if "/" not in name:
        return ""
    folder, _, file = name.rpartition("/")
    names = config_names(folder)
    if not names:
        return ""
    from alpha_cli.core.text import did_you_mean

    return did_you_mean(file.removesuffix(".yaml"), names)
