"""Files of strategies that everybody can write to are not run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from alpha_cli.config.trust import refuse_if_anybody_writes
from alpha_cli.core.errors import ConfigurationError
from alpha_cli.stages.run_strategy.config import StrategyConfig, load_file
from alpha_cli.stages.run_strategy.factory import create_processor
from alpha_cli.stages.run_strategy.failures import PACKAGE

STRATEGY = "class Mine:\n    def process_tick(self, tick, history):\n        return None\n"


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A strategy with its YAML, in a folder of its own in which nobody else writes."""
    folder = tmp_path / "strategies"
    folder.mkdir(mode=0o755)
    (folder / "mine.py").write_text(STRATEGY)
    (folder / "mine.yaml").write_text("id: mine\nstrategy_type: ./mine.py:Mine\ninstruments: [1]\n")
    return folder


def forget() -> None:
    """Let each file be run again, as by a new process: what has run already is not looked at once more."""
    for name in [name for name in sys.modules if name.startswith(f"{PACKAGE}.")]:
        del sys.modules[name]


def created(folder: Path) -> object:
    forget()
    return create_processor(load_file(folder / "mine.yaml"))


def from_python(folder: Path) -> object:
    forget()
    return create_processor(
        StrategyConfig(id="x", strategy_type=f"{folder}/mine.py:Mine", instruments=(1,))  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("name", "mode", "load"),
    [("mine.py", 0o666, created), ("mine.yaml", 0o666, created), ("mine.py", 0o602, from_python), (".", 0o777, created),
     ("..", 0o777, created)],
)  # fmt: skip
def test_what_everybody_can_write_to_is_refused(
    mine: Path, name: str, mode: int, load: Callable[[Path], object]
) -> None:
    """The file, its YAML, its folder or one above: one line with the command that mends it."""
    assert load(mine)
    (mine / name).chmod(mode)
    with pytest.raises(ConfigurationError, match=r"every user can write to .* runs as you; chmod o-w /"):
        load(mine)
    (mine / name).chmod(mode & ~0o002)
    assert load(mine)


def test_a_protected_folder_for_all_is_none(mine: Path) -> None:
    """As /tmp: there nobody else can change or replace what is one's own, and group rights are one's own affair."""
    mine.chmod(0o1777)
    (mine / "mine.py").chmod(0o664)
    assert created(mine)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_another_user_put_into_a_folder_for_all_is_refused(mine: Path) -> None:
    """In /tmp, anybody may have made the file."""
    os.chown(mine / "mine.py", 12345, -1)
    assert created(mine)
    mine.chmod(0o1777)
    with pytest.raises(ConfigurationError, match="belongs to user 12345, in a folder where everybody can make files"):
        created(mine)


def test_a_link_is_followed_and_its_own_place_counts_too(mine: Path, tmp_path: Path) -> None:
    """A link in an open folder can be turned elsewhere; one to an open file is that file."""
    opened = tmp_path / "open"
    opened.mkdir()
    (opened / "link.py").symlink_to(mine / "mine.py")
    refuse_if_anybody_writes(opened / "link.py")
    opened.chmod(0o777)
    with pytest.raises(ConfigurationError, match="chmod o-w"):
        refuse_if_anybody_writes(opened / "link.py")


def test_what_is_no_file_passes(tmp_path: Path) -> None:
    """A pipe, as of `--config <(…)`, or nothing: reading it says what is wrong."""
    os.mkfifo(tmp_path / "pipe", 0o666)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("pipe", "loop", "nothing"):
        refuse_if_anybody_writes(tmp_path / name)
