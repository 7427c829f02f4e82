"""`alpha config show`: each setting with its source, and which files are in force."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from support.events import NIFTY
from support.processes import environment, run_alpha

from alpha_cli.cli.app import execute
from alpha_cli.config.environment import OTHERS, SETTINGS, misspelt, variable
from alpha_cli.config.files import packaged
from alpha_cli.config.opening_cash import opening_cash
from alpha_cli.config.settings import Settings, load_settings, load_sourced
from alpha_cli.core.errors import ConfigurationError


@pytest.fixture(autouse=True)
def _nobodys_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working folder, and nothing of the user's own."""
    for name in (*OTHERS, *map(variable, SETTINGS)):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(sys, "stdin", None)


def write(text: str, path: str = "configs/alpha.yaml") -> Path:
    Path(path).parent.mkdir(exist_ok=True)
    Path(path).write_text(text)
    return Path(path)


def shown(capsys: pytest.CaptureFixture[str]) -> dict[tuple[str, str], dict[str, Any]]:
    """(kind, name) -> what `alpha config show --json` says of it."""
    assert execute(["config", "show", "--json"]) == 0
    both = capsys.readouterr()
    assert both.err == ""
    rows = [json.loads(line) for line in both.out.splitlines()]
    return {(row["kind"], row["name"]): row for row in reversed(rows)}


def leaves(model: type[BaseModel], within: str = "") -> list[str]:
    """The place of every setting in `model`."""
    found: list[str] = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        inside = isinstance(kind, type) and issubclass(kind, BaseModel)
        found += leaves(kind, f"{within}{name}.") if inside else [f"{within}{name}"]
    return found


# --- where a value comes from ----------------------------------------------------------------


def test_flag_before_environment_before_file_before_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each value knows which it was."""
    file = write("log_level: error\nretries: {attempts: 7, max_delay: 60}\nactive_brokers: [paper, zerodha]\n")
    monkeypatch.setenv("ALPHA_RETRIES_ATTEMPTS", " 8 ")
    monkeypatch.setenv("ALPHA_LOG_LEVEL", "warning")
    settings, origins, found = load_sourced({"log_level": "debug"})
    assert (settings.log_level, settings.retries.attempts, settings.retries.max_delay) == ("debug", 8, 60)
    assert (settings.retries.base_delay, settings.active_brokers) == (0.5, ("paper", "zerodha"))
    assert found == file
    assert origins == {
        "log_level": "flag --log-level", "retries.attempts": "environment ALPHA_RETRIES_ATTEMPTS",
        "retries.max_delay": "file configs/alpha.yaml", "active_brokers": "file configs/alpha.yaml",
    }  # fmt: skip


VALUES = {
    "active_brokers": "zerodha,paper", "default_brokers": "zerodha", "opening_cash": "paper=5,zerodha=0.5",
    "retries.attempts": "9",
    "retries.base_delay": "0.25", "retries.max_delay": "45", "timeouts.connect": "1.5", "timeouts.read": "2",
    "kafka.topic_prefix": "nse", "kafka.group_prefix": "desk-1", "log_level": "debug",
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_each_setting_is_set_by_file_and_by_environment(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """To the same value, and `config show` says by which."""
    place = "opening_cash.zerodha" if name == "opening_cash" else name
    monkeypatch.setenv(variable(name), VALUES[name])
    by_environment, row = load_settings(), shown(capsys)["setting", place]
    assert row["origin"] == f"environment {variable(name)}"
    monkeypatch.delenv(variable(name))
    text = {
        "active_brokers": "[zerodha, paper]", "default_brokers": "[zerodha]", "opening_cash": "{paper: 5, zerodha: 0.5}"
    }.get(name, VALUES[name])  # fmt: skip
    *group, last = name.split(".")
    write(f"{group[0]}: {{{last}: {text}}}\n" if group else f"{last}: {text}\n")
    assert load_settings() == by_environment != Settings()
    written = shown(capsys)["setting", place]
    assert written == {**row, "origin": "file configs/alpha.yaml"}


def test_the_names_of_the_settings_are_those_of_the_model() -> None:
    """The list of variables is known without the model."""
    assert sorted(leaves(Settings)) == sorted(SETTINGS)
    assert all(row.meaning != "None" for row in load_sourced().rows())


def test_the_packaged_file_shows_the_defaults() -> None:
    """Everything in it is a comment; without the # it says what holds anyway."""
    text = (packaged("configs") / "alpha.yaml").read_text()
    lines = [line.removeprefix("# ") for line in text.splitlines()]
    written = yaml.safe_load("\n".join(line for line in lines if line.partition(":")[0] in Settings.model_fields))
    assert Settings.model_validate(written) == Settings() == load_settings()
    assert written.keys() == Settings.model_fields.keys()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ALPHA_RETRIES_ATTEMPTS", "x", "retries.attempts: write a whole number, got 'x'"),
        ("ALPHA_RETRIES_ATTEMPTS", "0", "retries.attempts: "),
        ("ALPHA_RETRIES_MAX_DELAY", "0.1", "max_delay is less than base_delay"),
        ("ALPHA_TIMEOUTS_READ", "nan", "timeouts.read: "),
        ("ALPHA_TIMEOUTS_READ", "0", "timeouts.read: "),
        ("ALPHA_OPENING_CASH", "5", "write BROKER=RUPEES, as paper=1000000,zerodha=500000"),
        ("ALPHA_OPENING_CASH", "paper=-5", "opening_cash.paper: "),
        ("ALPHA_OPENING_CASH", "paper=0.00001", "opening_cash.paper: "),
        ("ALPHA_ACTIVE_BROKERS", "a b", "active_brokers.0: "),
        ("ALPHA_KAFKA_TOPIC_PREFIX", "a b", "kafka.topic_prefix: "),
        ("ALPHA_LOG_LEVEL", "loud", "log_level: "),
    ],
)
def test_a_wrong_variable_is_one_line_with_its_name(
    name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 78, as for a wrong file."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert str(caught.value).startswith(f"{name}: ")
    assert said in str(caught.value)


@pytest.mark.parametrize("text", ["timeouts: {read: yes}", "retries: {attempts: on}", "retry: {}", "[]", "kafka: 5"])
def test_a_wrong_file_is_one_line_with_its_name(text: str) -> None:
    """Yes is no number of seconds."""
    write(text)
    with pytest.raises(ConfigurationError, match=r"^configs/alpha\.yaml: "):
        load_settings()


def test_the_settings_of_one_group_are_checked_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two variables that are right only with one another."""
    monkeypatch.setenv("ALPHA_RETRIES_BASE_DELAY", "60")
    with pytest.raises(ConfigurationError, match="max_delay is less than base_delay"):
        load_settings()
    monkeypatch.setenv("ALPHA_RETRIES_MAX_DELAY", "90")
    assert load_settings().retries.base_delay == 60


# --- a misspelt variable ---------------------------------------------------------------------


def test_a_variable_that_is_nearly_one_of_ours_is_said() -> None:
    """And only such a one: others may begin with ALPHA_ too."""
    ours = [*OTHERS, *map(variable, SETTINGS)]
    assert misspelt([*ours, "ALPHA_VANTAGE_KEY", "ALPHA_", "ALPHABET", "PATH"]) == {}
    assert misspelt(["ALPHA_OPENNING_CASH", "ALPHA_RETRY_ATTEMPTS", "ALPHA_STAT"]) == {
        "ALPHA_OPENNING_CASH": "ALPHA_OPENING_CASH", "ALPHA_RETRY_ATTEMPTS": "ALPHA_RETRIES_ATTEMPTS",
        "ALPHA_STAT": "ALPHA_STATE",
    }  # fmt: skip


def test_a_misspelt_variable_is_one_line_and_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At the start of any command."""
    monkeypatch.setenv("ALPHA_OPENNING_CASH", "paper=5")
    assert execute(["schema", "tick"]) == 0
    line = "alpha: ALPHA_OPENNING_CASH in the environment is nothing of alpha's: did you mean ALPHA_OPENING_CASH?\n"
    assert capsys.readouterr().err == line


# --- one opening cash ------------------------------------------------------------------------


SEES_CASH = """
from alpha_cli import SignalResult

class Sees:
    def process_tick(self, tick, history, context):
        if history:
            return None
        return SignalResult("BUY", 1, metadata={"cash": str(context.cash)})

def create_processor():
    return Sees()
"""


@pytest.mark.parametrize("by", ["file", "environment"])
@pytest.mark.parametrize("state", ["", " --state state"])
def test_paper_risk_and_strategies_begin_with_the_same_cash(by: str, state: str) -> None:
    """What paper's account has is what a strategy is told, and what risk takes its share of."""
    write(SEES_CASH, "configs/sees.py")
    strategy = write(f"id: sees\nstrategy_type: ./sees.py\ninstruments: [{NIFTY}]\n", "configs/sees.yaml")
    write("brokers: {paper: {max_funds_share: 0.01}}\n", "configs/risk.yaml")
    env = {"ALPHA_OPENING_CASH": "paper=250000"} if by == "environment" else {}
    if by == "file":
        write("opening_cash: {paper: 250000}\n")
    stages = f"feed --ticks 50 | run-strategy --config {strategy}{state} | risk{state} | paper --forward{state}"
    made = run_alpha(["pipe", stages], env=env, cwd=Path.cwd())
    assert made.returncode == 0, made.stderr
    said = {event["type"]: event for event in map(json.loads, made.stdout.splitlines())}
    assert said["signal"]["metadata"] == {"cash": "250000"}
    assert (said["denial"]["code"], said["denial"]["limit"]) == ("FUNDS_INSUFFICIENT", 2500)
    assert said["portfolio"]["cash"] == 250_000
    made = run_alpha(["paper", "--cash", "7", *(["--state", "other"] if state else [])], env=env, cwd=Path.cwd())
    assert json.loads(made.stdout.splitlines()[-1])["cash"] == 7


def test_papers_own_file_comes_before_the_opening_cash() -> None:
    """It is for paper alone."""
    write("opening_cash: {paper: 250000}\n")
    write("cash: 9\n", "configs/paper.yaml")
    made = run_alpha(["paper"], cwd=Path.cwd())
    assert json.loads(made.stdout.splitlines()[-1])["cash"] == 9


def test_a_broker_that_is_not_named_keeps_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment leaves what the file says of others; a broker that is none is refused."""
    write("opening_cash: {zerodha: 500000}\n")
    monkeypatch.setenv("ALPHA_OPENING_CASH", "zerodha=7")
    assert load_settings().opening_cash == {"paper": 1_000_000, "zerodha": 7}
    assert opening_cash("paper") == 1_000_000
    assert opening_cash("zerodha") == 7
    assert opening_cash("unknown") == 0
    write("opening_cash: {papper: 1}\n")
    with pytest.raises(ConfigurationError, match=r"opening_cash: no broker 'papper', did you mean 'paper'\?"):
        load_settings()


@pytest.mark.parametrize(
    ("text", "expected"), [("", set()), ("# only comments\n\n  # and blanks\n", set()), ("log_level: info", {"yaml"})]
)
def test_paper_reads_the_settings_only_if_there_are_any(text: str, expected: set[str]) -> None:
    """A file without a value costs no import."""
    write(text)
    program = (
        "import sys; from alpha_cli.cli.app import execute; code = execute(['paper'])\n"
        "print(code, sorted({'pydantic', 'yaml'} & set(sys.modules)), file=sys.stderr)"
    )
    made = subprocess.run(
        [sys.executable, "-c", program], input=b"", capture_output=True, env=environment(), check=True
    )
    assert made.stderr.splitlines()[-1].decode() == f"0 {['pydantic', 'yaml'] if expected else []}"


# --- files -----------------------------------------------------------------------------------


def test_each_file_is_named_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The nearest that has it; where there is none, the defaults hold."""
    write("", "configs/paper.yaml")
    (tmp_path / "own" / "strategies").mkdir(parents=True)
    (tmp_path / "own" / "risk.yaml").touch()
    monkeypatch.setenv("ALPHA_CONFIG_DIR", str(tmp_path / "own"))
    assert execute(["config", "show", "--json"]) == 0
    files = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"kind":"file"' in line]
    shipped = packaged("configs")
    assert [(one["name"], one["path"]) for one in files] == [
        ("alpha.yaml", str(shipped / "alpha.yaml")), ("risk.yaml", str(tmp_path / "own" / "risk.yaml")),
        ("paper.yaml", "configs/paper.yaml"), ("calendar.yaml", None),
        ("strategies", str(tmp_path / "own" / "strategies")), ("strategies", str(shipped / "strategies")),
    ]  # fmt: skip
    assert not any(one["ignored"] for one in files)


def test_a_file_in_the_working_folder_is_said_not_to_be_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line each, with the remedy; and the remedy works."""
    Path("risk.yaml").write_text("brokers: {}\n")
    Path("strategies").mkdir()
    (Path("strategies") / "mine.py").touch()
    assert shown(capsys)["file", "risk.yaml"]["ignored"] == "risk.yaml"
    assert execute(["config", "show"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "NOT used" in line]
    assert line == "./risk.yaml is NOT used: move it to ./configs, or set ALPHA_CONFIG_DIR=."
    (Path("strategies") / "mine.yaml").touch()
    assert shown(capsys)["file", "strategies"]["ignored"] == "strategies"
    monkeypatch.setenv("ALPHA_CONFIG_DIR", ".")
    found = shown(capsys)["file", "risk.yaml"]
    assert (found["path"], found["ignored"]) == ("risk.yaml", None)


def test_the_table_has_the_same_rows(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Setting, value, source."""
    monkeypatch.setenv("ALPHA_ACTIVE_BROKERS", "paper, zerodha")
    assert execute(["config", "show"]) == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert lines[0].split() == ["setting", "value", "source", "meaning"]
    assert [line.split()[0] for line in lines[1 : len(SETTINGS) + 1]] == [row.name for row in load_sourced().rows()]
    assert "active_brokers      paper, zerodha  environment ALPHA_ACTIVE_BROKERS  " in text
    assert "opening_cash.paper  1000000         default " in text


def test_a_wrong_file_is_said_and_nothing_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 78."""
    write("log_level: loud\n")
    assert execute(["config", "show"]) == 78
    both = capsys.readouterr()
    assert both.out == ""
    assert both.err.startswith("alpha config: configs/alpha.yaml: log_level: ")
    assert execute(["config"]) == 2
