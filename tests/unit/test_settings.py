"""Configuration: where it is looked for, and that a wrong one is one line and an exit code, never a traceback."""

from __future__ import annotations

import sys
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import example, given, strategies as st
from support.events import NIFTY
from support.examples import examples
from support.processes import run_alpha
from support.stages import run_strategy_stage

from alpha_cli.cli.app import execute
from alpha_cli.config.files import config_names, find_config, packaged
from alpha_cli.config.model import read_config
from alpha_cli.config.settings import Settings, load_settings
from alpha_cli.config.yaml_file import read_yaml
from alpha_cli.core.errors import ConfigurationError, UsageError
from alpha_cli.stages.risk.config import RiskFile, load_limits
from alpha_cli.stages.run_strategy.config import StrategyConfig, load_by_name, load_file
from alpha_cli.stages.run_strategy.selection import Selection
from alpha_cli.stream.stage import Options

GOOD = f"id: mine\nstrategy_type: momentum\ninstruments: [{NIFTY}]\n"


@pytest.fixture(autouse=True)
def _clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working folder, and no settings of the user's own."""
    for name in ("ALPHA_CONFIG_DIR", "ALPHA_ACTIVE_BROKERS"):
        monkeypatch.delenv(name, raising=False)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "stdin", None)


def write(path: Path, text: str | bytes = GOOD) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def complaint(capsys: pytest.CaptureFixture[str], *args: str, code: int = 78) -> str:
    """The one line that `alpha ARGS…` says when it refuses to start."""
    assert execute(args) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "Traceback" not in said.err
    assert "this is a bug" not in said.err
    return said.err.rstrip("\n")


# --- where -----------------------------------------------------------------------------------


def test_a_file_is_looked_for_in_the_environments_folder_then_here_then_among_the_packaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The nearest that has it wins, file by file."""
    name = "strategies/momentum.yaml"
    assert find_config(name) == packaged("configs") / name
    here = write(Path("configs") / name)
    assert find_config(name) == here
    (tmp_path / "own").mkdir(exist_ok=True)
    monkeypatch.setenv("ALPHA_CONFIG_DIR", str(tmp_path / "own"))
    assert find_config(name) == here
    own = write(tmp_path / "own" / name)
    assert find_config(name) == own
    assert find_config("risk.yaml") == packaged("configs") / "risk.yaml"


def test_a_file_given_by_name_is_the_one_that_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--config` is before all folders."""
    (tmp_path / "own").mkdir(exist_ok=True)
    monkeypatch.setenv("ALPHA_CONFIG_DIR", str(tmp_path / "own"))
    write(tmp_path / "own" / "risk.yaml", "brokers: {paper: {max_position: 1}}")
    given_file = write(tmp_path / "given.yaml", "brokers: {paper: {max_position: 2}}")
    assert load_limits(None).brokers["paper"].max_position == 1
    assert load_limits(given_file).brokers["paper"].max_position == 2


def test_names_are_gathered_from_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For completion, and for the suggestion in an error."""
    write(Path("configs/strategies/here.yaml"))
    write(tmp_path / "own/strategies/own.yaml")
    (tmp_path / "own").mkdir(exist_ok=True)
    monkeypatch.setenv("ALPHA_CONFIG_DIR", str(tmp_path / "own"))
    assert {"here", "own", "momentum", "mean_reversion"} <= set(config_names("strategies"))


def test_a_configuration_folder_that_cannot_be_looked_into_is_said_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not passed over in favour of a file that was not meant; nor does it stop the list of names."""
    monkeypatch.setenv("ALPHA_CONFIG_DIR", "x" * 300)
    assert "File name too long" in complaint(capsys, "run-strategy", "momentum")
    assert "momentum" in complaint(capsys, "run-strategy", code=2)


def test_the_packaged_files_are_valid() -> None:
    """What everybody starts from."""
    assert load_settings() == Settings(active_brokers=("paper",), opening_cash={"paper": Decimal(1_000_000)})
    for name in ("momentum", "mean_reversion", "rules_rsi", "ml_momentum", "hybrid_ml_rsi"):
        assert load_by_name(name).id == name
    paper = load_limits(None).brokers["paper"]
    assert paper.max_position is not None
    assert paper.session_hours
    assert run_strategy_stage(Selection(("momentum", "mean_reversion")), Options())


# --- faults ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD + "instrments: [1]\n", "unknown key instrments, did you mean 'instruments'?"),
        (GOOD + "id: twice\n", "key id is given twice, line 4"),
        (GOOD + "parameters: {lookback: 5, lookback: 6}\n", "key lookback is given twice, line 4"),
        (GOOD + "a: &a [1]\nb: *a\n", "aliases (*a) are not allowed"),
        (GOOD + "parameters: {<<: &x {lookback: 5}}\nother: {<<: *x}\n", "aliases (*x) are not allowed"),
        (GOOD + "#" * (1 << 20), "larger than 1048576 bytes"),
        ("id: [unclosed", "not usable YAML"),
        ("id: a\n\tstrategy_type: b", "not usable YAML"),
        (b"\xff\xfe\xff", "not usable YAML"),
        (b"id: \x00\x01", "not usable YAML"),
        ("--- a\n--- b\n", "not usable YAML"),
        ("!!python/object/apply:os.system ['true']", "not usable YAML"),
        ("id: !!bool maybe", "not usable YAML"),
        ("id: !!int ''", "not usable YAML"),
        ("id: !!timestamp soon", "not usable YAML"),
        ("[" * 100_000, "nested deeper than 32"),
        ("a: " + "{b: " * 40 + "1" + "}" * 40, "nested deeper than 32"),
        ("", "the file: write settings in it (id, strategy_type, "),
        ("just text", "the file: write settings in it (id, strategy_type, "),
        ("[1, 2]", "the file: write settings in it (id, strategy_type, "),
        ("1: 2\n" + GOOD, "1: a key has to be a name"),
        (GOOD.replace("id: mine\n", ""), "id: is missing"),
        (GOOD.replace("mine", "../up"), "id: string should match pattern"),
        (GOOD.replace(f"[{NIFTY}]", "[]"), "instruments: "),
        (GOOD.replace(f"[{NIFTY}]", "[0]"), "instruments.0: input should be greater than 0, got 0"),
        (GOOD.replace(f"[{NIFTY}]", "[4294967296]"), "instruments.0: input should be less than 4294967296"),
        (GOOD + "max_history: 0\n", "max_history: input should be greater than or equal to 1, got 0"),
        (GOOD + "active_brokers: ['a b']\n", "active_brokers.0: string should match pattern"),
        (GOOD + "parameters: {lookback: 0}\n", "strategy mine: parameter lookback: input should be greater"),
        (GOOD + "parameters: {lookbak: 1}\n", "no parameter 'lookbak', did you mean 'lookback'?"),
        (GOOD + "parameters: {lookback: 200}\n", "needs 201 ticks of history, max_history is 100; raise it"),
        (GOOD.replace("momentum", "momentm"), "no strategy type 'momentm', did you mean 'momentum'?"),
        (GOOD.replace("momentum", "zzz"), "no strategy type 'zzz'; known: hybrid_ml_rsi, mean_reversion, "),
    ],
)  # fmt: skip
def test_a_wrong_file_is_one_line_and_78(
    text: str | bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names the file or the strategy, what is wrong, and how to mend it where there is a guess."""
    file = write(tmp_path / "mine.yaml", text)
    line = complaint(capsys, "run-strategy", "--config", str(file))
    assert line.startswith("alpha run-strategy: ")
    assert said in line
    assert str(file) in line or "strategy mine" in line or "strategy type" in line


def test_many_keys_are_checked_in_no_time(tmp_path: Path) -> None:
    """Looking for a key given twice is linear in their number."""
    keys = {f"a{number}": number for number in range(20_000)}
    file = write(tmp_path / "many.yaml", "".join(f"{key}: {value}\n" for key, value in keys.items()))
    assert read_yaml(file) == keys


def test_every_fault_is_named_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """So that a file is mended in one go."""
    file = write(tmp_path / "mine.yaml", GOOD + "is_active: perhaps\nmax_history: no\nextra: 1\n")
    line = complaint(capsys, "run-strategy", "--config", str(file))
    assert all(key in line for key in ("is_active: ", "max_history: ", "unknown key extra"))


def test_data_in_a_fault_cannot_write_to_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A configuration may come from somewhere else."""
    file = write(tmp_path / "mine.yaml", GOOD + '"\\e[31mkey\\u202e": 1\n')
    line = complaint(capsys, "run-strategy", "--config", str(file))
    assert "\x1b" not in line
    assert "\u202e" not in line


def test_a_missing_file_is_78_and_a_folder_is_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For strategies and for limits."""
    for stage in ("run-strategy", "risk"):
        assert "no such file" in complaint(capsys, stage, "--config", str(tmp_path / "none.yaml"))
        complaint(capsys, stage, "--config", str(tmp_path), code=2)


def test_an_unknown_strategy_is_answered_with_a_near_one_or_with_all(capsys: pytest.CaptureFixture[str]) -> None:
    """Where it was looked for is said too."""
    assert complaint(capsys, "run-strategy", "momentom").endswith(
        "configs or among the packaged ones, did you mean 'momentum'?"
    )
    assert complaint(capsys, "run-strategy", "xyz").endswith(
        "; known: hybrid_ml_rsi, mean_reversion, ml_momentum, momentum, rules_rsi"
    )


def test_no_strategy_at_all_is_2_and_lists_the_known(capsys: pytest.CaptureFixture[str]) -> None:
    """`alpha run-strategy` alone is a mistake on the command line."""
    assert complaint(capsys, "run-strategy", code=2).endswith(
        "known: hybrid_ml_rsi, mean_reversion, ml_momentum, momentum, rules_rsi"
    )


def test_alpha_yaml_is_checked_like_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Brokers are decided there, so a typo must not mean the default."""
    monkeypatch.setenv("ALPHA_CONFIG_DIR", str(tmp_path))
    write(tmp_path / "alpha.yaml", "active_broker: [paper]\n")
    line = complaint(capsys, "run-strategy", "momentum")
    assert "unknown key active_broker, did you mean 'active_brokers'?" in line


def test_risk_yaml_is_checked_like_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt limit would be an unset one."""
    file = write(tmp_path / "risk.yaml", "brokers:\n  paper:\n    max_positon: 5\n")
    assert "unknown key brokers.paper.max_positon, did you mean 'max_position'?" in complaint(
        capsys, "risk", "--config", str(file)
    )


@pytest.mark.parametrize(
    "limit",
    [
        "max_position: 0", "max_position: -1", "max_position: 1.5", "max_order_quantity: .inf", "max_order_value: .nan",
        "max_order_value: -0.01", "price_band: 0", "price_band: 1", "price_band: .inf", "session_hours: perhaps",
        "max_order_value: 1e13",
    ],
)  # fmt: skip
def test_a_limit_that_limits_nothing_is_refused(limit: str, tmp_path: Path) -> None:
    """ "Unlimited" is not a value: zero, negative, infinite or not a number is an error."""
    with pytest.raises(ConfigurationError, match=f"brokers.paper.{limit.partition(':')[0]}"):
        load_limits(write(tmp_path / "risk.yaml", f"brokers: {{paper: {{{limit}}}}}"))


hostile = st.text(max_size=80) | st.sampled_from(
    ["..", ".", "/", "~", "\0", "\\", "%2e%2e", "a", "\n", "*", "$"]
).flatmap(lambda part: st.lists(st.sampled_from(["..", "/", part, "etc", "momentum"]), max_size=8).map("".join))


@examples(500)
@example("../strategies/momentum")
@example("/etc/passwd")
@example("momentum.yaml")
@example("strategies/momentum")
@example("momentum\n")
@example("momentum\0")
@example("m" * 65)
@example("m" * 64)
@example("")
@given(hostile)
def test_no_name_leads_outside_the_strategies_folder(name: str) -> None:
    """Any string is a strategy, a usage error or a configuration error; separators are never followed."""
    with suppress(UsageError, ConfigurationError):  # 2 and 78
        assert load_by_name(name).id == name


@examples(200)
@given(st.binary(max_size=60) | st.text("[]{}&*!:#|>-'\"%@`,?<= \n\tab1~", max_size=60).map(str.encode))
def test_any_bytes_are_a_document_or_a_configuration_error(
    tmp_path_factory: pytest.TempPathFactory, text: bytes
) -> None:
    """Whatever a file holds, reading it ends in one of two ways."""
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_bytes(text)
    for model in (StrategyConfig, RiskFile, Settings):
        with suppress(ConfigurationError):
            assert isinstance(read_config(file, model), model)


def test_the_process_says_the_same(tmp_path: Path) -> None:
    """One line, 78, nothing on stdout: as a real process too."""
    made = run_alpha(["run-strategy", "--config", str(write(tmp_path / "a.yaml", "[" * 500_000))])
    assert (made.returncode, made.stdout) == (78, b"")
    assert made.stderr.count(b"\n") == 1


def test_a_file_is_loaded_as_written(tmp_path: Path) -> None:
    """Every field, and the defaults of those left out."""
    full = load_file(
        write(tmp_path / "a.yaml", GOOD + "active_brokers: [paper, zerodha]\nmax_history: 7\nis_active: false\n")
    )
    assert full == StrategyConfig(
        id="mine", strategy_type="momentum", instruments=(NIFTY,), active_brokers=("paper", "zerodha"),
        max_history=7, is_active=False,
    )  # fmt: skip
    plain = load_file(write(tmp_path / "b.yaml"))
    assert (plain.active_brokers, plain.max_history, plain.is_active, plain.parameters) == (("paper",), 100, True, {})
