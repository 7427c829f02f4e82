"""What somebody meets who tries the commands around paper for the first time, and mistypes."""

from __future__ import annotations

import json
import re
import subprocess
from datetime import date, timedelta
from pathlib import Path

import pytest
from support.events import order, stream, tick
from support.processes import ROOT, alpha, environment, run_alpha

from alpha_cli.cli.app import execute
from alpha_cli.stages.paper.config import Bands, slippage
from alpha_cli.stages.paper.file import configured

NIFTY_CALL = {
    "instrument_token": "15845634", "exchange_token": "61897", "tradingsymbol": "NIFTY26AUG25000CE", "name": "NIFTY",
    "last_price": "0", "expiry": "2026-08-25", "strike": "25000", "tick_size": "0.05", "lot_size": "65",
    "instrument_type": "CE", "segment": "NFO-OPT", "exchange": "NFO",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the settings of who runs the tests nor what lies in the folder they are run from."""
    for name in ("ALPHA_CONFIG_DIR", "ALPHA_STATE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ALPHA_INSTRUMENTS", "")
    monkeypatch.chdir(tmp_path)


def dump(path: Path) -> Path:
    """A dump of one contract."""
    path.write_text("\n".join([",".join(NIFTY_CALL), ",".join(NIFTY_CALL.values())]) + "\n")
    return path


def complaint(capsys: pytest.CaptureFixture[str], code: int, *args: str) -> str:
    """The one line that `alpha ARGS…` says and nothing else, ending with `code`."""
    assert execute(list(args)) == code
    both = capsys.readouterr()
    assert (both.out, both.err.count("\n")) == ("", 1), both
    return both.err


@pytest.mark.parametrize("args", [["charges", "--sources"], ["market", "sessions", "2026-11-20"], ["schema"]])
def test_a_reader_that_is_gone_is_141_for_tools_too(args: list[str]) -> None:
    """In silence, as stages do it: `alpha charges --sources | head` is no bug of alpha."""
    with subprocess.Popen(alpha(*args), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(20) == 141


@pytest.mark.parametrize("given", [["--cash", "5"], ["--charges", "none"], ["--all-hours"], ["--bad", "skip"], ["-q"]])
def test_options_of_the_stage_before_a_command_are_refused(
    given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--cash 5 reset --yes` began anew with what the account had begun with, and did not say so."""
    assert execute(["paper", "--state", str(tmp_path), "init", "--cash", "700"]) == 0
    capsys.readouterr()
    said = complaint(capsys, 2, "paper", "--state", str(tmp_path), *given, "reset", "--yes")
    assert f"{given[0]} is not for reset" in said
    assert not list(tmp_path.glob("*.before-1"))


def test_the_proceeds_of_a_short_sale_cannot_be_taken_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are cash, and owed: the account would go on with less than nothing."""
    sale = stream([tick(price=100.0), order(side="SELL", quantity=1000, product="MIS")])
    assert run_alpha(["paper", "-q", "--state", str(tmp_path), "--cash", "50000"], sale).returncode == 0
    withdraw = ["paper", "--state", str(tmp_path), "deposit", "--withdraw"]
    assert "is worth 49" in complaint(capsys, 2, *withdraw, "50000")
    assert "has 149" in complaint(capsys, 2, *withdraw, "150000")
    assert execute([*withdraw, "40000"]) == 0
    assert "capital 10000" in capsys.readouterr().out


def test_the_way_to_open_a_second_account_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --as it would open the first one."""
    said = complaint(capsys, 66, "paper", "--state", str(tmp_path), "--as", "swing", "positions")
    assert f"alpha paper --state {tmp_path} --as swing init --cash" in said


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        (
            "paper.yaml",
            "# nothing yet\n",
            "the file: write settings in it (cash, slippage, latency_ms, charges, margins, bands), got nothing",
        ),
        ("paper.yaml", "margins: 5\n", "margins: write settings in it (equity_cnc, equity_mis, index_future, "),
        ("calendar.yaml", "NSE: {square_off: {2026-08-03: 15:10}}\n", "NSE.square_off.2026-08-03: "),
    ],
)
def test_a_fault_of_a_configuration_is_told_in_the_words_of_its_file(
    file: str, text: str, said: str, tmp_path: Path
) -> None:
    """Not in those of the program: no names of classes, no `datetime.date(2026, 8, 3)`."""
    (tmp_path / file).write_text(text)
    done = run_alpha(["paper", "-q"], stream([tick(), order(product="MIS")]), env={"ALPHA_CONFIG_DIR": str(tmp_path)})
    assert done.returncode == 78
    assert said in done.stderr.decode()


def test_the_paper_yaml_of_the_manual_is_one(tmp_path: Path) -> None:
    """Nothing else shows its keys: there is no packaged one."""
    page = (ROOT / "docs" / "paper.md").read_text()
    (example,) = re.findall(r"```yaml\n(# configs/paper\.yaml.*?)```", page, re.DOTALL)
    (tmp_path / "paper.yaml").write_text(example)
    config = configured(tmp_path / "paper.yaml")
    assert (config.cash, config.slippage, config.latency) == (500_000, slippage("2 ticks"), timedelta(milliseconds=250))
    assert (config.charges, config.bands) == ("contract-note", Bands())
    assert (config.margins.equity_mis, config.margins.index_option_sell) == (2_500, 1_250)


def test_nothing_found_says_what_expired(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The example of the manual finds nothing once August is over."""
    found = ["instruments", "find", "nifty", "25000", "ce", "--db", str(dump(tmp_path / "dump.csv"))]
    said = complaint(capsys, 0, *found, "--date", str(date(2026, 8, 25) + timedelta(days=1)))
    assert "NFO:NIFTY26AUG25000CE did until 2026-08-25" in said
    assert "--date" in said
    assert execute([*found, "--date", "2026-08-25", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["instrument_token"] == 15845634


def test_a_product_that_is_not_allowed_is_told_in_english(tmp_path: Path) -> None:
    """Not `a option`."""
    option = order(quantity=65, instrument_token=15845634, product="CNC")
    done = run_alpha(
        ["paper", "-q", "--all-hours", "--instruments", str(dump(tmp_path / "dump.csv"))],
        stream([tick(token=15845634), option]),
    )
    update = json.loads(done.stdout.splitlines()[0])
    assert (update["code"], update["message"]) == (
        "PRODUCT_NOT_ALLOWED", "CNC is not for NFO:NIFTY26AUG25000CE, which is of kind option",
    )  # fmt: skip
