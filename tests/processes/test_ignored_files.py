"""A configuration file that lies in the working folder is used, or named as one that is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.events import stream, ticks
from support.processes import run_alpha

DAY = stream(ticks(3))
MINE = "id: {id}\nstrategy_type: momentum\ninstruments: [256265]\nactive_brokers: [{brokers}]\n"


def said(folder: Path, *words: str, **env: str) -> list[str]:
    """The lines that `alpha WORDS… -q` says in a folder, in which it ends well."""
    done = run_alpha([*words, "-q"], DAY, env=env, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stderr.decode().splitlines()


@pytest.mark.parametrize(
    ("file", "words", "mend"),
    [
        ("risk.yaml", ["risk"], "name it (--config risk.yaml), move it to ./configs, or set ALPHA_CONFIG_DIR=."),
        ("paper.yaml", ["paper"], "the defaults hold: name it (--config paper.yaml), move it to ./configs"),
        ("calendar.yaml", ["bars"], "the defaults hold: move it to ./configs"),
        ("alpha.yaml", ["paper"], "move it to ./configs, or set"),
        ("momentum.yaml", ["run-strategy", "momentum"], "(--config momentum.yaml), move it to ./configs/strategies"),
        ("strategies/momentum.yaml", ["run-strategy", "momentum"], "(--config strategies/momentum.yaml), move it to"),
    ],
)
def test_a_file_in_the_working_folder_is_named(tmp_path: Path, file: str, words: list[str], mend: str) -> None:
    """One line, even if what it says is wrong; none where there is no such file, or where it is the one in force."""
    assert said(tmp_path, *words) == []
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("slipage: 2\n")
    (line,) = said(tmp_path, *words)
    assert line.startswith(f"alpha {words[0]}: ./{file} is not used, ")
    assert mend in line
    (line,) = said(tmp_path, "pipe", " ".join(words))
    assert line.startswith(f"alpha pipe: ./{file} is not used, ")
    right = {
        "risk.yaml": "brokers: {}\n",
        "paper.yaml": "cash: 5\n",
        "alpha.yaml": "",
        "calendar.yaml": "NSE: {add_holidays: {2024-06-07: x}}\n",
    }
    if file in right:
        (tmp_path / file).write_text(right[file])
        assert said(tmp_path, *words, ALPHA_CONFIG_DIR=".") == []


def test_a_file_that_is_named_or_in_configs_is_used_and_not_spoken_of(tmp_path: Path) -> None:
    """Nothing is ignored then."""
    (tmp_path / "risk.yaml").write_text("brokers: {}\n")
    assert said(tmp_path, "risk", "--config", "risk.yaml") == []
    (tmp_path / "configs").mkdir()
    (tmp_path / "risk.yaml").rename(tmp_path / "configs" / "risk.yaml")
    assert said(tmp_path, "risk") == []


def test_a_broker_that_gets_nothing_beside_one_that_does_is_told(tmp_path: Path) -> None:
    """Unknown or not active: one line; in alpha.yaml an unknown one is refused."""
    file = tmp_path / "mine.yaml"
    words = ("run-strategy", "--config", str(file))
    file.write_text(MINE.format(id="mine", brokers="paper, zerodah"))
    assert said(tmp_path, *words) == [
        "alpha run-strategy: mine: no broker 'zerodah', did you mean 'zerodha'?; signals go to paper"
    ]
    file.write_text(MINE.format(id="mine", brokers="paper, zerodha"))
    assert said(tmp_path, *words) == [
        "alpha run-strategy: mine: nothing goes to zerodha, which is not active (active_brokers in alpha.yaml: paper); "
        "signals go to paper"
    ]
    assert said(tmp_path, *words, ALPHA_ACTIVE_BROKERS="paper,zerodha") == []
    done = run_alpha(["run-strategy", "momentum"], DAY, env={"ALPHA_ACTIVE_BROKERS": "paper,zerodah"})
    assert (done.returncode, done.stderr.count(b"\n")) == (78, 1)
    assert b"ALPHA_ACTIVE_BROKERS: active_brokers: no broker 'zerodah', did you mean 'zerodha'?" in done.stderr
