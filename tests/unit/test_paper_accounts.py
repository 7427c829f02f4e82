"""`alpha paper COMMAND`: the account of a state folder, looked at and changed from outside the stream."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
from contextlib import closing, redirect_stderr, redirect_stdout
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from support.paper_days import Broker
from support.processes import Pipeline, alpha, run_alpha

from alpha_cli.cli.app import execute
from alpha_cli.core.codec import decode, encode
from alpha_cli.core.events import Order, Tick
from alpha_cli.core.times import IST
from alpha_cli.stages.paper.accounts import held
from alpha_cli.stages.paper.config import PaperConfig
from alpha_cli.stages.paper.store import Store

OPENING = datetime(2026, 1, 5, 9, 15, tzinfo=IST)  # a Monday
LISTINGS = ("positions", "holdings", "orders", "trades", "notes")


@pytest.fixture(autouse=True)
def _no_settings_of_the_user(monkeypatch):
    for name in ("ALPHA_CONFIG_DIR", "ALPHA_STATE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state"


def run(*words):
    """(exit code, stdout, stderr) of `alpha paper WORDS`, in this process."""
    out, said = io.TextIOWrapper(io.BytesIO()), io.StringIO()
    with redirect_stdout(out), redirect_stderr(said):
        code = execute(["paper", *map(str, words)])
    out.flush()
    return code, out.buffer.getvalue().decode(), said.getvalue()


def account(state, *words, code=0, name=None):
    """(stdout, stderr) of a command on the account."""
    named = [] if name is None else ["--as", name]
    found, out, said = run("--state", state, *named, *words)
    assert found == code, (out, said)
    return out, said


def refused(state, *words, code=2, **more):
    """The one line that says why not; nothing is on stdout."""
    out, said = account(state, *words, code=code, **more)
    assert (out, said.count("\n")) == ("", 1), said
    assert said.startswith("alpha paper")
    return said


def rows(state, *words):
    return [json.loads(line, parse_float=Decimal) for line in account(state, *words, "--json")[0].splitlines()]


def at(second=0, day=0):
    return OPENING + timedelta(seconds=second, days=day)


def tick(second=0, price=100.0, token=7, day=0):
    return encode(Tick(instrument_token=token, timestamp=at(second, day), last_price=price)) + b"\n"


def order(name, side="BUY", quantity=10, second=0, day=0, **fields):
    fields = {"strategy_id": "mine", "broker": "paper", "instrument_token": 7, **fields}
    return encode(
        Order(order_id=name, signal_id=f"s-{name}", side=side, quantity=quantity, timestamp=at(second, day), **fields)
    ) + b"\n"  # fmt: skip


def trade(state, *lines, **config):
    """What the stage says to `lines`, closing portfolio included."""
    store = Store(state, "paper", PaperConfig(**config))
    broker = Broker(PaperConfig(**config), store, store.account, store.resting())
    said = broker.day(map(decode, lines)) + broker.engine.close()
    store.commit()
    store.release()
    return said


def traded(state, **more):
    """An account that bought, rests and was refused."""
    return trade(
        state, tick(), order("a", product="CNC"), order("b", order_type="LIMIT", price=Decimal(90)),
        order("c", order_type="LIMIT"), tick(1, 101.5), **more,
    )  # fmt: skip


# --- to begin ----------------------------------------------------------------------------------------


def test_init_opens_an_account_with_its_cash(state):
    """Once; the stage goes on with it."""
    out, _ = account(state, "init", "--cash", "5,00,000.50")
    assert out == f"{state}/paper.db: cash 500000.5, capital 500000.5\n"
    assert trade(state)[-1].cash == Decimal("500000.50")
    assert "there is an account already; reset" in refused(state, "init", "--cash", "1")
    assert account(state, "init", "--cash", 7, name="other")[0].endswith("cash 7, capital 7\n")


@pytest.mark.parametrize("amount", ["lots", "-1", "nan", "1e9", "", "0.00001", "9" * 13, "١٠"])
@pytest.mark.parametrize("words", [("init", "--cash"), ("deposit", "--"), ("reset", "--yes", "--cash")])
def test_a_wrong_amount_is_2(state, words, amount):
    """And changes nothing."""
    if words[0] != "init":
        account(state, "init", "--cash", 1000)
    assert "not an amount of rupees" in refused(state, *words, amount)
    if words[0] != "init":
        assert trade(state)[-1].cash == 1000
        assert not list(state.glob("*.before-*"))


def test_reset_begins_anew_and_keeps_what_was(state):
    """With the cash that it began with, or other; only with --yes."""
    account(state, "init", "--cash", 50_000)
    traded(state)
    assert "confirm with --yes" in refused(state, "reset")
    assert len(rows(state, "trades")) == 1
    assert account(state, "reset", "--yes")[0].endswith("cash 50000, capital 50000\n")
    assert rows(state, "trades") == rows(state, "orders") == rows(state, "positions") == []
    before = sqlite3.connect(f"file:{state}/paper.db.before-1?mode=ro", uri=True)
    assert before.execute("SELECT order_id FROM fills").fetchall() == [("a",)]
    before.close()
    assert account(state, "reset", "--yes", "--cash", 7)[0].endswith("cash 7, capital 7\n")
    assert sorted(path.name for path in state.glob("*.before-*")) == ["paper.db.before-1", "paper.db.before-2"]
    assert traded(state)[0].code == "MARGIN_INSUFFICIENT"


# --- money -------------------------------------------------------------------------------------------


def test_deposits_and_withdrawals_are_capital_and_no_profit(state):
    """They move cash and capital alike, have entries of their own, and the books balance."""
    account(state, "init", "--cash", 1000)
    assert account(state, "deposit", "2,000.0001")[0].endswith("cash 3000.0001, capital 3000.0001\n")
    assert account(state, "deposit", "--withdraw", "500")[0].endswith("cash 2500.0001, capital 2500.0001\n")
    (portfolio,) = trade(state)
    assert (portfolio.cash, portfolio.equity, portfolio.realised_pnl) == (Decimal("2500.0001"),) * 2 + (0,)
    entries = [row for row in exported(state) if row["table"] == "entries" and row["account"] == "cash"]
    assert [(row["cause"], row["amount"]) for row in entries] == [
        ("opened", 10_000_000), ("deposit", 20_000_001), ("withdrawal", -5_000_000),
    ]  # fmt: skip
    assert trade(state, cash=Decimal(1000))[-1].cash == Decimal("2500.0001")  # what it began with


def test_more_cannot_be_taken_out_than_there_is(state):
    """Nor put in than the books can tell."""
    account(state, "init", "--cash", 1000)
    assert "the account has 1000 rupees of cash" in refused(state, "deposit", "--withdraw", "1000.0001")
    assert "can be booked" in refused(state, "deposit", "9" * 12)
    assert account(state, "deposit", "--withdraw", "1000")[0].endswith("cash 0, capital 0\n")


def test_a_deposit_is_margin_for_the_next_order(state):
    """What was refused for want of margin is taken after it."""
    account(state, "init", "--cash", 500)
    assert trade(state, tick(), order("a", product="CNC"))[0].code == "MARGIN_INSUFFICIENT"
    account(state, "deposit", 501)
    assert trade(state, tick(1), order("b", product="CNC", second=1))[0].quantity == 10


# --- to look -----------------------------------------------------------------------------------------


def exported(state, *words):
    return [json.loads(line, parse_float=Decimal) for line in account(state, "export", *words)[0].splitlines()]


def test_positions(state):
    """What is held, at the last price that was seen; money is a number."""
    traded(state)
    (row,) = rows(state, "positions")
    assert {name: row[name] for name in ("instrument", "product", "quantity", "average_price", "last_price")} == {
        "instrument": "NSE:7", "product": "CNC", "quantity": 10, "average_price": 100, "last_price": Decimal("101.5"),
    }  # fmt: skip
    assert (row["unrealised_pnl"], row["realised_pnl"]) == (15, 0)


LISTS = ("positions", "holdings", "orders", "trades", "notes")


@pytest.mark.parametrize("command", LISTS)
def test_each_form_has_the_same_rows(state, command):
    """The table, --json (or --nl) and --csv: the same columns and cells."""
    traded(state, charges="contract-note")
    shown, _ = account(state, command)
    objects = [json.loads(line, parse_float=Decimal) for line in account(state, command, "--nl")[0].splitlines()]
    assert objects == rows(state, command)
    header, *lines = csv.reader(account(state, command, "--csv")[0].splitlines())
    assert header == list(objects[0]) == shown.splitlines()[0].split()
    assert len(lines) == len(objects) == len(shown.splitlines()) - 1
    for line, row in zip(lines, objects, strict=True):
        for cell, value in zip(line, row.values(), strict=True):
            if isinstance(value, dict):
                assert {name: Decimal(amount) for name, amount in json.loads(cell).items()} == value
            elif isinstance(value, Decimal | int):
                assert Decimal(cell) == value
            else:
                assert cell == (value or "")


def test_money_is_a_number_in_every_row(state):
    """In the lists and in the export; sums in jq need no conversion."""
    traded(state, charges="contract-note")
    money = re.compile("price|cash|charges$|pnl|capital|cost|equity|adjustment|turnover|waits_for")
    found = [row for command in LISTS for row in rows(state, command)] + exported(state)
    amounts = [value for row in found for name, value in row.items() if money.search(name)]
    assert len(amounts) > 50
    assert all(value is None or isinstance(value, int | Decimal) for value in amounts)


def test_options_stand_before_or_after_the_command(state):
    """`alpha paper trades --state X` is `alpha paper --state X trades`; --as too."""
    traded(state)
    for words in (["--state", str(state), "trades"], ["trades", "--state", str(state)],
                  ["trades", "--as", "paper", "--state", str(state)]):  # fmt: skip
        done = run_alpha(["paper", *words])
        assert (done.returncode, len(done.stdout.splitlines())) == (0, 2), done.stderr


def test_orders_and_what_became_of_them(state):
    """In the order of their arrival, with the code of a refusal."""
    traded(state)
    found = [(row["order_id"], row["status"], row["code"], row["filled_quantity"]) for row in rows(state, "orders")]
    assert found == [("a", "COMPLETE", None, 10), ("b", "OPEN", None, 0), ("c", "REJECTED", "PRICE_MISSING", 0)]


def test_trades(state):
    """Oldest first, with their charges."""
    fill, *_ = traded(state)
    (row,) = rows(state, "trades")
    assert (row["price"], row["charges"], row["fill_id"]) == (100, fill.charges["total"], fill.fill_id)
    assert row["timestamp"] == "2026-01-05T09:15:00+05:30"


def test_notes(state):
    """One a day, and the ledger has what it says."""
    *_, note, portfolio = traded(state, charges="contract-note")
    (row,) = rows(state, "notes")
    assert (row["date"], row["fills"]) == ("2026-01-05", 1)
    assert Decimal(row["charges"]) == note.charges["total"] == portfolio.charges
    assert row["charges_by_name"]["total"] == note.charges["total"]


def test_holdings_are_delivered_the_day_after(state):
    """T+1 until the next trading day; sales take the oldest; MIS is no holding."""
    trade(state, tick(), order("a", product="CNC"), order("m", quantity=99))
    assert rows(state, "holdings") == [{"instrument": "NSE:7", "quantity": 0, "t1_quantity": 10, "since": "2026-01-05"}]
    trade(state, tick(day=1), order("b", product="CNC", quantity=5, day=1))
    trade(state, tick(1, day=1), order("c", "SELL", 4, product="CNC", second=1, day=1))
    assert rows(state, "holdings") == [{"instrument": "NSE:7", "quantity": 10, "t1_quantity": 1, "since": "2026-01-05"}]


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        ([("1", 10), ("2", 5)], [("x", 10, 5, "1")]),
        ([("1", 10), ("2", -4)], [("x", 6, 0, "1")]),
        ([("1", 10), ("1b", 5), ("2", -12)], [("x", 3, 0, "1b")]),
        ([("1", 10), ("2", -10)], []),
        ([("1", 10), ("2", 0)], [("x", 10, 0, "1")]),
        ([], []),
    ],
)
def test_holdings_by_hand(days, expected):
    """First in, first out; day 2 is the newest."""
    made = [{"instrument": "x", "instrument_token": 1, "day": day, "units": units} for day, units in days]
    found = [(row["instrument"], row["quantity"], row["t1_quantity"], row["since"]) for row in held(made, "2")]
    assert found == expected


def test_export_is_everything_or_the_tables_that_were_asked_for(state):
    """One JSON object a line; the money is exact text."""
    traded(state)
    everything = exported(state)
    assert {row["table"] for row in everything} == {"accounts", "orders", "fills", "positions", "entries", "portfolios"}
    assert sum(row["amount"] for row in everything if row["table"] == "entries") == 0
    assert [row["order_id"] for row in exported(state, "--table", "fills")] == ["a"]
    both = exported(state, "--table", "fills", "--table", "positions")
    assert [row["table"] for row in both] == ["fills", "positions"]
    assert "'nothing' is not one of" in refused(state, "export", "--table", "nothing")


@pytest.mark.parametrize("command", LISTINGS)
def test_a_listing_for_people_has_the_columns_of_the_one_for_programs(state, command):
    """A heading and a line for each; nothing at all where there is nothing."""
    account(state, "init", "--cash", 10**6)
    assert account(state, command) == ("", "")
    assert account(state, command, "--json") == ("", "")
    traded(state, charges="contract-note")
    lines = account(state, command)[0].splitlines()
    programs = rows(state, command)
    assert len(lines) == len(programs) + 1
    assert lines[0].lower().split() == list(programs[0])


def test_one_can_look_while_the_stage_runs_but_not_change(state):
    """75 for what changes: the lock is the stage's; the line says whose."""
    with Pipeline(alpha("paper", "--state", str(state))) as stage:
        stage.write(tick() + order("a"))
        stage.wait_for(b"COMPLETE")
        assert [row["order_id"] for row in rows(state, "trades")] == ["a"]
        assert len(exported(state, "--table", "orders")) == 1
        for words in (("deposit", 1), ("reset", "--yes")):
            assert f"held by process {stage.processes[0].pid}" in refused(state, *words, code=75)
        assert stage.finish() == [0]
    assert not list(state.glob("*.before-*"))
    assert account(state, "deposit", 1)[0]


# --- errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [("init", "--cash", "1"), ("reset", "--yes"), ("deposit", "1"), ("export",),
                                   *((name,) for name in LISTINGS)])  # fmt: skip
def test_without_a_folder_it_is_2(words):
    """The line says how to name one."""
    code, out, said = run(*words)
    assert (code, out, said.count("\n")) == (2, "", 1)
    assert "--state DIR" in said


@pytest.mark.parametrize("words", [("reset", "--yes"), ("deposit", "1"), ("export",), *((name,) for name in LISTINGS)])
def test_without_an_account_it_is_66_and_none_is_made(state, words):
    """The line says how to open one."""
    assert "no such account; alpha paper --state" in refused(state, *words, code=66)
    assert not state.exists()


def test_alpha_state_names_the_folder(state, monkeypatch):
    """As for the stage itself."""
    account(state, "init", "--cash", 5)
    monkeypatch.setenv("ALPHA_STATE", str(state))
    code, out, _ = run("export", "--table", "accounts")
    assert (code, json.loads(out)["cash"]) == (0, 5)


def test_an_empty_file_is_a_damaged_account_and_no_new_one(state):
    """Books that were cut off are not begun anew in silence; once the file is removed, they are."""
    account(state, "init", "--cash", 5)
    (state / "paper.db").write_bytes(b"")
    for words in (("deposit", 1), ("reset", "--yes")):
        assert "is empty, and alpha makes no empty one" in refused(state, *words, code=70)
    assert "there is an account already" in refused(state, "init", "--cash", 6, code=2)
    assert (state / "paper.db").stat().st_size == 0
    (state / "paper.db").unlink()
    assert account(state, "init", "--cash", 6)[0].endswith("cash 6, capital 6\n")


@pytest.mark.parametrize("words", [("deposit", "1"), ("reset", "--yes")])
def test_tampered_books_are_not_changed(state, words):
    """70, and they stay as they are."""
    traded(state)
    with closing(sqlite3.connect(state / "paper.db")) as connection, connection:
        connection.execute("UPDATE accounts SET cash = '1'")
    connection.close()
    assert "stop trading" in refused(state, *words, code=70)
    assert not list(state.glob("*.before-*"))


@pytest.mark.parametrize("command", ["positions", "export", "deposit", "reset"])
@pytest.mark.parametrize("content", [b"no database at all, whatever its name says" * 100])
def test_a_file_that_is_no_database_is_refused(state, command, content):
    """One line, no traceback, and the file is left alone."""
    account(state, "init", "--cash", 1)
    (state / "paper.db").write_bytes(content)
    words = {"deposit": ["1"], "reset": ["--yes"]}.get(command, [])
    code, out, said = run("--state", state, command, *words)
    assert (code not in (0, 1), out, said.count("\n")) == (True, "", 1), said
    assert (state / "paper.db").read_bytes() == content


def test_books_of_another_program_or_version_are_refused(state):
    """The line says what to do."""
    account(state, "init", "--cash", 1)
    for pragma, said in (
        ("user_version = 1", "use the alpha that wrote it"),
        ("user_version = 99", "use the alpha that wrote it"),
        ("application_id = 7", "not the database"),
    ):
        with closing(sqlite3.connect(state / "paper.db")) as connection, connection:
            connection.execute(f"PRAGMA {pragma}")
        connection.close()
        assert said in refused(state, "trades", code=78)


@pytest.mark.parametrize("name", ["../x", "X", "a b", "a" * 65])
def test_a_wrong_name_is_2(state, name):
    """Also where a command only looks: it is part of a path."""
    for words in (("trades",), ("init", "--cash", "1")):
        assert "--as" in refused(state, *words, name=name)


def test_a_misspelt_command_gets_advice():
    """With the nearest name."""
    code, _, said = run("position")
    assert code == 2
    assert "positions" in said


@pytest.mark.parametrize("command", ["init", "reset", "deposit", "export", *LISTINGS])
def test_help_has_an_example(command):
    """One that names the command."""
    code, out, _ = run(command, "--help")
    assert code == 0
    assert f"Example: alpha paper --state ~/trading {command}" in " ".join(out.split())
