"""`alpha charges`: what is printed, for people and for programs, and what is refused in one line."""

from __future__ import annotations

import json
import re
import sys
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.processes import ROOT, run_alpha

from alpha_cli.cli.app import execute
from alpha_cli.core.times import IST
from alpha_cli.market.charges.engine import Tariff
from alpha_cli.tools.charges import command


@pytest.fixture(autouse=True)
def _nobodys_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working folder, and nothing of the user's own."""
    monkeypatch.delenv("ALPHA_CONFIG_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", None)


def said(capsys: pytest.CaptureFixture[str], line: str) -> str:
    """What `alpha charges LINE` prints; on stderr at most how old the rates are, as without --date the day is today."""
    assert execute(["charges", *line.split()]) == 0
    both = capsys.readouterr()
    assert [words for words in both.err.splitlines() if "the rates were checked on" not in words] == []
    return both.out


def rows(capsys: pytest.CaptureFixture[str], line: str) -> list[dict[str, Any]]:
    """The same with --json, amounts as decimals."""
    return [json.loads(text, parse_float=Decimal) for text in said(capsys, f"{line} --json").splitlines()]


def test_delivery_of_5000_shares_at_1000(capsys: pytest.CaptureFixture[str]) -> None:
    """A table in rupees to the paisa; the same bytes wherever it goes."""
    assert said(capsys, "BUY 5000@1000 SELL 5000@1000 --product CNC --date 2026-11-20") == (
        "NSE equity CNC on 2026-11-20, estimate\n"
        "STT          10,000.00\n"
        "transaction     307.00\n"
        "SEBI fee         10.00\n"
        "stamp duty      750.00\n"
        "GST              57.06\n"
        "total        11,124.06\n"
        "\n"
        "breaks even at 2.22 rupees a unit\n"
    )


def test_intraday_with_the_rates_of_2022(capsys: pytest.CaptureFixture[str]) -> None:
    """204.39, and of today 200.62: the sum is rounded, not its parts."""
    line = "buy 400@1000 sell 400@1100 --product mis --exchange nse --date"
    assert re.search(r"^total +204\.39$", said(capsys, f"{line} 2022-06-01"), re.MULTILINE)
    assert re.search(r"^total +200\.62$", said(capsys, f"{line} 2026-11-20"), re.MULTILINE)


def test_for_programs_the_figures_are_exact(capsys: pytest.CaptureFixture[str]) -> None:
    """One object for each trade and one for all: numbers, with all their digits."""
    buy, sell, total = rows(capsys, "BUY 400@1000 SELL 400@1100.50 --date 2026-11-20")
    assert (buy["kind"], buy["side"], buy["quantity"], buy["price"]) == ("trade", "BUY", 400, 1000)
    assert (sell["side"], sell["price"]) == ("SELL", Decimal("1100.50"))
    assert sell["charges"]["stt"] == Decimal("110.05")
    assert total["kind"] == "total"
    assert total["charges"]["total"] == buy["charges"]["total"] + sell["charges"]["total"]
    assert {row["date"] for row in (buy, sell, total)} == {"2026-11-20"}
    assert (total["exchange"], total["of"], total["product"]) == ("NSE", "equity", "MIS")


def test_a_contract_note_nets_and_rounds(capsys: pytest.CaptureFixture[str]) -> None:
    """Zerodha's example of STT: 13 and 21, together 34."""
    text = said(capsys, "BUY 500@100 SELL 500@105 BUY 200@110 --product CNC --note --date 2026-11-20")
    assert text.startswith("NSE equity CNC on 2026-11-20, contract note\n")
    assert re.search(r"^STT +34\.00$", text, re.MULTILINE)
    assert text.endswith("tax on intraday: 12.97, which is 13\ntax on delivery: 20.75, which is 21\n")


def test_a_contract_note_has_the_dp_charge(capsys: pytest.CaptureFixture[str]) -> None:
    """In the ledger beside it."""
    column, ledger, total = rows(capsys, "SELL 10@2500 --product CNC --note --date 2026-11-20")
    assert (column["kind"], column["exchange"], column["charges"]["stt"]) == ("column", "NSE", 25)
    assert ledger["charges"] == {"gst": Decimal("2.34"), "dp": 13, "total": Decimal("15.34")}
    assert total["charges"]["total"] == column["charges"]["total"] + ledger["charges"]["total"]


@pytest.mark.parametrize("note", ["", "--note"])
def test_an_option_that_is_exercised(note: str, capsys: pytest.CaptureFixture[str]) -> None:
    """0.15 % of the intrinsic value."""
    total = rows(capsys, f"EXERCISE 3000@100 --exchange NFO --kind option --date 2026-11-20 {note}")[-1]
    assert total["charges"] == {"brokerage": 20, "stt": 450, "gst": Decimal("3.6"), "total": Decimal("473.6")}


def test_no_breakeven_where_it_is_no_round_trip(capsys: pytest.CaptureFixture[str]) -> None:
    """Nor for more bought than sold."""
    assert "breaks even" not in said(capsys, "BUY 400@1000")
    assert "breaks even" not in said(capsys, "BUY 400@1000 SELL 300@1000")


def test_the_day_is_today_in_india(capsys: pytest.CaptureFixture[str]) -> None:
    """Unless it is given."""
    before = datetime.now(IST).date()
    (_, total) = rows(capsys, "BUY 1@100")
    assert total["date"] in {str(before), str(datetime.now(IST).date())}


def test_groups_and_commodities(capsys: pytest.CaptureFixture[str]) -> None:
    """A BSE group costs more; an agricultural commodity has no CTT."""
    (_, total) = rows(capsys, "BUY 10@100 --exchange BSE --group xt")
    assert total["charges"]["transaction"] == 1
    (_, total) = rows(capsys, "SELL 10@100 --exchange MCX --kind future --agri --date 2026-11-20")
    assert "ctt" not in total["charges"]


def test_each_rate_is_listed_with_its_days_and_source(capsys: pytest.CaptureFixture[str]) -> None:
    """Eras without a source as well; of one exchange and kind, if asked."""
    text = said(capsys, "--sources --exchange BFO --kind option")
    assert "\x1b" not in text
    assert re.search(
        r"^STT +NFO BFO +option +sell +2026-04-01 +0\.15 % +NSE circular NSE/FATAX/73524", text, re.MULTILINE
    )
    assert re.search(
        r"^transaction +BFO +option +both +2023-11-01 +– +no source: BSE notice 20231020-46", text, re.MULTILINE
    )
    assert "MCX/F&A" not in text
    everything = [json.loads(line) for line in said(capsys, "--sources --json").splitlines()]
    assert {"stt", "ctt", "dp", "auto_square_off"} <= {row["component"] for row in everything}
    assert all(row["source"] and row["from"] >= "2022-01-01" for row in everything)


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("", 2, "give at least one trade, as in: alpha charges BUY 400@1000"),
        ("BUY", 2, "trades come in pairs"),
        ("BUY 1@1 SELL", 2, "trades come in pairs"),
        ("HOLD 1@1", 2, "'HOLD' is not a side; known: BUY, SELL, EXERCISE"),
        ("BUY 1", 2, "'1' is not QUANTITY@PRICE"),
        ("BUY 1@", 2, "is not QUANTITY@PRICE"),
        ("BUY 0@1", 2, "is not QUANTITY@PRICE"),
        ("BUY 1@0", 2, "is not QUANTITY@PRICE"),
        ("BUY -1@1", 2, ""),
        ("BUY 1.5@1", 2, "is not QUANTITY@PRICE"),
        ("BUY ٣@1", 2, "is not QUANTITY@PRICE"),
        ("BUY 1@nan", 2, "is not QUANTITY@PRICE"),
        ("BUY 1@inf", 2, "is not QUANTITY@PRICE"),
        ("BUY 1@1e999999999", 2, "is not QUANTITY@PRICE"),
        ("BUY 1@1e-999999999", 2, "four decimals"),
        ("BUY 99999999999999999999@1", 2, "is not QUANTITY@PRICE"),
        ("BUY 1@1.00001", 2, "a price has at most four decimals"),
        ("BUY 1@1 --date 2026-13-01", 2, "--date '2026-13-01' is not a date"),
        ("BUY 1@1 --exchange NYSE", 2, "NYSE"),
        ("BUY 1@1 --exchange NFO", 2, "--kind future or --kind option"),
        ("BUY 1@1 --kind option", 2, "use NFO or BFO"),
        ("BUY 1@1 --exchange NFO --kind equity", 2, "there is no equity on NFO"),
        ("BUY 1@1 --exchange NFO --kind future --product CNC", 2, "CNC is for equity"),
        ("BUY 1@1 --agri", 2, "--agri is for MCX and NCO"),
        ("EXERCISE 1@1", 2, "EXERCISE is for options"),
        ("EXERCISE 1@1 --exchange MCX --kind option", 78, "exercised option on MCX"),
        ("BUY 1@1 --sources", 2, "it takes no trades"),
        ("BUY 1@1 --date 2021-12-31", 78, "begins on 2022-01-01"),
        ("BUY 1@1 --exchange NCO --kind future", 78, "transaction on NCO of"),
        ("BUY 1@1 --exchange BFO --kind option --date 2024-01-01 --note", 78, "20231020-46"),
    ],
)
def test_what_is_wrong_is_one_line(line: str, code: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """On stderr, with nothing on stdout: 2 for the command line, 78 for what the tariff does not know."""
    assert execute(["charges", *line.split()]) == code
    both = capsys.readouterr()
    assert both.out == ""
    assert both.err.startswith("alpha charges: ")
    assert both.err.count("\n") == 1
    assert words in both.err


def test_a_word_cannot_write_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters are escaped, in errors and in the title."""
    assert execute(["charges", "\x1b[2J", "1@1"]) == 2
    assert "\x1b" not in capsys.readouterr().err
    assert execute(["charges", "BUY", "1@100", "--group", "\x1b[2J", "--exchange", "BSE"]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_a_broken_tariff_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Found in ./configs before the packaged one."""
    path = tmp_path / "configs" / "charges" / "zerodha.json"
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    assert execute(["charges", "BUY", "1@100"]) == 78
    assert capsys.readouterr().err == (
        "alpha charges: configs/charges/zerodha.json: Object missing required field `broker`\n"
    )


def test_every_example_of_the_help_works(capsys: pytest.CaptureFixture[str]) -> None:
    """As they are written there."""
    assert command.help is not None
    examples = re.findall(r"^ *alpha charges (.*)$", command.help.partition("Example:")[2], re.MULTILINE)
    assert len(examples) == 5
    for line in examples:
        said(capsys, line)


def test_it_runs_as_a_program() -> None:
    """With the packaged tariff, whatever the time zone."""
    line = ["charges", "BUY", "400@1000", "--date", "2026-11-20"]
    made = [run_alpha(line, env={"TZ": zone}) for zone in ("UTC", "America/New_York")]
    assert [one.returncode for one in made] == [0, 0]
    assert made[0].stdout == made[1].stdout
    assert made[0].stdout.endswith(b"total        50.56\n")


def test_a_day_after_the_tariff_was_checked_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """The figures are those of the newest rates, which may have changed since; an earlier day says nothing."""
    checked = Tariff.load(ROOT / "configs" / "charges" / "zerodha.json").file.checked
    for day in (checked, checked + timedelta(days=1), date(2031, 1, 1)):
        assert execute(["charges", "BUY", "1@100", "--date", day.isoformat()]) == 0
        told = (
            f"alpha charges: the rates were checked on {checked}; what changed between then and {day} is not in them\n"
        )
        assert capsys.readouterr().err == ("" if day == checked else told)
