"""`strategy_configurations` in SQLite and PostgreSQL, and `alpha strategies db`: against real databases."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import psycopg
import pytest
import yaml
from hypothesis import HealthCheck, given, strategies as st
from support.events import NIFTY
from support.examples import examples
from support.processes import DEADLINE, ROOT, environment, run_alpha

from alpha_cli.cli.app import execute
from alpha_cli.config.files import packaged
from alpha_cli.core.errors import (
    AuthenticationError,
    ConfigurationError,
    InputOutputError,
    TryAgain,
    Unavailable,
    UsageError,
)
from alpha_cli.stages.run_strategy import config_postgres, config_sqlite, config_table as database
from alpha_cli.stages.run_strategy.config import StrategyConfig, load_file
from alpha_cli.stages.run_strategy.config_table import COLUMNS, Migration, open_table
from alpha_cli.tools.strategies.db import db

pytest_plugins = ["support.servers"]

CONFIG = StrategyConfig(id="mine", strategy_type="momentum", instruments=(NIFTY,), parameters={"lookback": 5})
GOOD = f"id: mine\nstrategy_type: momentum\ninstruments: [{NIFTY}]\nparameters: {{lookback: 5}}\n"


@pytest.fixture(autouse=True)
def _nobodys_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working folder, and nothing of what libpq or alpha would take from the user."""
    for name in os.environ:
        if name.startswith(("PG", "ALPHA_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "no-pgpass"))
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "stdin", None)


def config(name: str = "mine", **fields: Any) -> StrategyConfig:
    return StrategyConfig.model_validate({**CONFIG.model_dump(exclude_unset=True), "id": name, **fields})


def sql(url: str, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Run `statement`, with ? for values, past alpha; the rows."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
            return connection.execute(statement, values).fetchall()
    with psycopg.connect(url, autocommit=True) as server:
        cursor = server.execute(statement.replace("?", "%s"), values or None)
        return cursor.fetchall() if cursor.description else []


def made(url: str, *configs: StrategyConfig) -> str:
    """`url` of a database, now with the table and `configs` in it."""
    with open_table(url, create=True) as table:
        table.init()
        table.put(*configs)
    return url


# --- reading and writing ---------------------------------------------------------------------


def test_what_is_put_is_read(database_url: str) -> None:
    """Every field, exactly, and those that have a default."""
    full = StrategyConfig.model_validate(
        {
            "id": "full", "strategy_type": "momentum", "instruments": [NIFTY, (1 << 32) - 1],
            "parameters": {"lookback": 5, "threshold": 0.0008, "deep": {"list": [1, None, True, "x"], "none": None}},
            "active_brokers": ["paper", "zerodha"], "validator_type": "strict", "is_active": False, "max_history": 7,
            "max_position_size": 10**12, "risk_multiplier": "0.1234567890123456789",
        }
    )  # fmt: skip
    made(database_url, full, CONFIG)
    with open_table(database_url) as table:
        assert table.read_all() == [full, CONFIG]
        assert table.read("full") == full
        assert table.read("full").risk_multiplier == Decimal("0.1234567890123456789")
        assert table.ids() == ["full", "mine"]


def test_rows_are_sorted_by_id_alike_everywhere(database_url: str) -> None:
    """Not by the language of the database."""
    names = ["b", "B", "a", "A", "a-b", "a_b", "aB", "0"]
    made(database_url, *map(config, names))
    if database_url.startswith("postgresql"):
        sql(database_url, 'ALTER TABLE strategy_configurations ALTER id TYPE text COLLATE "en-x-icu"')
    with open_table(database_url) as table:
        assert [row.id for row in table.read_all()] == sorted(names)


def test_an_empty_table_has_no_rows(database_url: str) -> None:
    """That is no error."""
    made(database_url)
    with open_table(database_url) as table:
        assert table.read_all() == []


def test_a_default_of_max_history_stays_the_models(database_url: str) -> None:
    """It is null in the table; a number that was given is kept, even if it is the same."""
    made(database_url, CONFIG.model_copy(), StrategyConfig(**GOOD_FIELDS, id="default"))
    rows = sql(database_url, "SELECT id, max_history FROM strategy_configurations ORDER BY id")
    assert rows == [("default", None), ("mine", None)]
    with open_table(database_url) as table:
        table.put(config(max_history=100))
    assert sql(database_url, "SELECT max_history FROM strategy_configurations WHERE id = 'mine'") == [(100,)]


GOOD_FIELDS: dict[str, Any] = {"strategy_type": "momentum", "instruments": (NIFTY,)}


def test_put_replaces_the_row_of_the_same_id(database_url: str) -> None:
    """It is still one row; when it was made stays, when it was changed does not."""
    made(database_url, CONFIG, config("other"))
    then = "2001-02-03 04:05:06"
    sql(database_url, "UPDATE strategy_configurations SET created_at = ?, updated_at = ?", (then, then))
    changed = config(parameters={"lookback": 9}, active_brokers=[], is_active=False)
    with open_table(database_url) as table:
        table.put(changed)
        assert table.read_all() == [changed, config("other")]
    rows = sql(database_url, "SELECT created_at, updated_at FROM strategy_configurations ORDER BY id")
    (created, updated), (_, untouched) = rows
    assert "2001-02-03" in str(created)
    assert "2001-02-03" in str(untouched)
    assert "2001-02-03" not in str(updated)


@pytest.mark.parametrize("change", ["put", "set_active", "set_parameters"])
def test_every_change_is_dated_in_utc(change: str, database_url: str) -> None:
    """By the database's clock, whatever the time zone of the server or of a column without one."""
    made(database_url, CONFIG)
    if database_url.startswith("postgresql"):
        sql(database_url, "ALTER TABLE strategy_configurations ALTER updated_at TYPE timestamp")
    sql(database_url, "UPDATE strategy_configurations SET updated_at = NULL")
    with open_table(database_url) as table:
        if change == "put":
            table.put(CONFIG)
        elif change == "set_active":
            table.set_active("mine", False)
        else:
            table.set_parameters("mine", {})
    ((updated,),) = sql(database_url, "SELECT updated_at FROM strategy_configurations")
    moment = datetime.fromisoformat(str(updated)).replace(tzinfo=UTC)
    assert abs(datetime.now(UTC) - moment) < timedelta(minutes=1)


def test_a_program_that_knows_only_the_older_flag_is_told_of_zerodha(database_url: str) -> None:
    """`zerodha_trading_enabled` follows `active_brokers`."""
    made(database_url, config("a", active_brokers=["paper"]), config("b", active_brokers=["paper", "zerodha"]))
    rows = sql(database_url, "SELECT id, zerodha_trading_enabled FROM strategy_configurations ORDER BY id")
    assert [(name, bool(flag)) for name, flag in rows] == [("a", False), ("b", True)]


@pytest.mark.parametrize(
    ("brokers", "flag", "expected"),
    [
        (None, True, ("zerodha",)),
        (None, False, ("paper",)),
        ("null", True, ("zerodha",)),
        ("[]", True, ()),
        ("[]", False, ()),
        ('["paper"]', True, ("paper",)),
        ('["zerodha", "paper"]', False, ("zerodha", "paper")),
    ],
)
def test_brokers_that_are_null_follow_the_flag(
    brokers: str | None, flag: bool, expected: tuple[str, ...], database_url: str
) -> None:
    """And an empty list means none."""
    made(database_url, CONFIG)
    sql(
        database_url,
        "UPDATE strategy_configurations SET active_brokers = ?, zerodha_trading_enabled = ?",
        (brokers, flag),
    )
    with open_table(database_url) as table:
        assert table.read("mine").active_brokers == expected


def test_a_row_of_which_only_the_least_was_given_has_the_defaults(database_url: str) -> None:
    """Those of the table and those of the model are the same."""
    made(database_url)
    insert = "INSERT INTO strategy_configurations (id, strategy_type, instruments) VALUES (?, ?, ?)"
    sql(database_url, insert, ("mine", "momentum", f"[{NIFTY}]"))
    with open_table(database_url) as table:
        assert table.read("mine") == StrategyConfig(**GOOD_FIELDS, id="mine")


def test_whether_a_strategy_is_active_is_not_guessed(older: Older) -> None:
    """Null is not true."""
    older.insert(is_active=None)
    with open_table(older.url) as table:
        assert table.read("old").is_active is False


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(-1e15, 1e15, allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
CONFIGS = st.builds(
    StrategyConfig,
    id=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", fullmatch=True),
    strategy_type=TEXT.filter(lambda text: text and ".py" not in text) | st.just("momentum"),
    parameters=st.dictionaries(TEXT, VALUES, max_size=4),
    instruments=st.lists(st.integers(1, (1 << 32) - 1), min_size=1, max_size=4),
    active_brokers=st.lists(st.sampled_from(["paper", "zerodha"]), max_size=2),
    is_active=st.booleans(),
    max_position_size=st.none() | st.integers(1, 10**12),
    risk_multiplier=st.decimals(min_value="0.000001", max_value=100, places=9),
)


@examples(100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CONFIGS)
def test_any_configuration_comes_back_from_the_table_and_from_its_yaml(
    tables: dict[str, database.ConfigurationTable], tmp_path: Path, any_config: StrategyConfig
) -> None:
    """The same, and so it is exported and imported."""
    from alpha_cli.tools.strategies.db import _yaml

    for table in tables.values():
        table.put(any_config)
        found = table.read(any_config.id)
        assert found == any_config
        file = tmp_path / "any.yaml"
        file.write_text(_yaml(found), encoding="utf-8")
        assert load_file(file) == any_config


@pytest.fixture
def tables(sqlite_url: str, postgresql_url: str) -> Iterator[dict[str, database.ConfigurationTable]]:
    with open_table(made(sqlite_url)) as one, open_table(made(postgresql_url)) as other:
        yield {"sqlite": one, "postgresql": other}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (date(2024, 1, 1), "not JSON serializable"),
        (float("nan"), "Out of range float"),
        ({1: 2}, "a key that is no text"),
        ((1, 2), "a tuple"),
        ({1, 2}, "not JSON serializable"),
    ],
)
def test_what_json_would_change_is_refused(value: object, said: str, database_url: str) -> None:
    """And nothing of the batch is written."""
    made(database_url)
    with open_table(database_url) as table:
        with pytest.raises(ConfigurationError, match=rf"strategy mine: parameters cannot be kept as JSON: .*{said}"):
            table.put(config("a"), config(parameters={"x": value}), config("z"))
        assert table.read_all() == []


def test_what_a_database_cannot_hold_is_refused(database_url: str) -> None:
    """In words, and nothing of the batch is written. (SQLite holds NUL; PostgreSQL does not.)"""
    made(database_url)
    with open_table(database_url) as table:
        with pytest.raises(ConfigurationError):
            table.put(config("a"), config(parameters={"x": "\ud800"}))
        if database_url.startswith("postgresql"):
            with pytest.raises(ConfigurationError, match="Unicode"):
                table.put(config("a"), config(parameters={"x": "\0"}))
        assert table.read_all() == []
        table.put(config("a"))  # the connection is of use still
        assert table.ids() == ["a"]


def test_set_parameters_changes_those_and_leaves_the_others(database_url: str) -> None:
    """The new configuration is the answer."""
    made(database_url, config(parameters={"lookback": 5, "quantity": 2}), config("other"))
    expected = config(parameters={"lookback": 9, "quantity": 2, "product": "CNC"})
    with open_table(database_url) as table:
        assert table.set_parameters("mine", {"lookback": 9, "product": "CNC"}) == expected
        assert table.read_all() == [expected, config("other")]


def test_what_the_check_refuses_is_not_written(database_url: str) -> None:
    """Whatever it raises."""

    def refuse(changed: StrategyConfig) -> None:
        assert changed.parameters == {"lookback": 6}
        raise KeyError("no")

    made(database_url, CONFIG)
    with open_table(database_url) as table:
        with pytest.raises(KeyError):
            table.set_parameters("mine", {"lookback": 6}, refuse)
        assert table.read("mine") == CONFIG


def test_set_active_sets_nothing_else(database_url: str) -> None:
    """Off and on."""
    made(database_url, CONFIG, config("other"))
    with open_table(database_url) as table:
        table.set_active("mine", False)
        assert table.read_all() == [config(is_active=False), config("other")]
        table.set_active("mine", True)
        assert table.read_all() == [CONFIG, config("other")]


def test_an_unknown_id_is_answered_with_a_near_one(database_url: str) -> None:
    """Whatever is wanted of it; in an empty table, with what fills it."""
    made(database_url)
    with open_table(database_url) as table:
        with pytest.raises(ConfigurationError, match="no strategy 'mine' in strategy_configurations; it is empty"):
            table.read("mine")
        table.put(CONFIG, config("other"))
        for act in (table.read, lambda name: table.set_active(name, True), lambda name: table.set_parameters(name, {})):
            with pytest.raises(ConfigurationError, match=r"no strategy 'mien' in .*, did you mean 'mine'\?$"):
                act("mien")
            with pytest.raises(ConfigurationError, match="; known: mine, other"):
                act("zzz")


NASTY = [
    "mine'; DROP TABLE strategy_configurations; --", 'mine"; DROP TABLE strategy_configurations; --', "' OR '1'='1",
    "%(id)s", "%s %%", ":id", ":value", "{0}", "\\", "mine\0", "\x1b[31m", "$1", "?", "mine%", "नमस्ते", "",
]  # fmt: skip


def test_an_id_is_never_a_piece_of_sql(database_url: str) -> None:
    """Neither of the right kind nor of the wrong one."""
    made(database_url, CONFIG, config("other"))
    with open_table(database_url) as table:
        for nasty in NASTY:
            for act in (table.read, lambda name: table.set_active(name, False)):
                with pytest.raises(ConfigurationError, match="no strategy"):
                    act(nasty)
        assert table.read_all() == [CONFIG, config("other")]


def test_a_parameter_is_never_a_piece_of_sql(database_url: str) -> None:
    """Names and values come back as they went."""
    made(database_url, CONFIG, config("other"))
    nasty = {text.replace("\0", "∅"): text.replace("\0", "∅") for text in NASTY}
    with open_table(database_url) as table:
        table.set_parameters("mine", nasty)
        table.put(config("third", parameters=nasty, strategy_type=NASTY[0]))
        assert table.read("mine").parameters == {**CONFIG.parameters, **nasty}
        assert table.read("third").parameters == nasty
        assert table.read("third").strategy_type == NASTY[0]
        assert table.read("other") == config("other")


def test_a_text_is_unicode_whatever_the_client_is_set_to(postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An encoding in the environment is for psql."""
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    wanted = config(parameters={"नाम": "₹ 😀"})
    made(postgresql_url, wanted)
    with open_table(postgresql_url) as table:
        assert table.read("mine") == wanted


# --- older tables ----------------------------------------------------------------------------


class Older:
    """A table as the older system made it: no active_brokers, no validator_type, and columns of its own."""

    def __init__(self, url: str, json_type: str, instruments_type: str) -> None:
        self.url = url
        self.array = instruments_type.endswith("[]")
        sql(
            url,
            "CREATE TABLE strategy_configurations (id VARCHAR(100) PRIMARY KEY, name TEXT DEFAULT 'n', "
            f"description TEXT, strategy_type TEXT NOT NULL, parameters {json_type}, instruments {instruments_type}, "
            "zerodha_trading_enabled BOOLEAN NOT NULL, use_ml_models BOOLEAN DEFAULT false, is_active BOOLEAN, "
            "created_at TIMESTAMP NOT NULL, updated_at TIMESTAMP NOT NULL)",
        )

    def insert(self, name: str = "old", **values: Any) -> None:
        row = {
            "id": name, "name": "An old one", "strategy_type": "momentum", "parameters": '{"lookback": 5}',
            "instruments": [NIFTY, 7] if self.array else f"[{NIFTY}, 7]", "zerodha_trading_enabled": True,
            "is_active": True, "created_at": "2020-01-01 00:00:00", "updated_at": "2020-01-01 00:00:00", **values,
        }  # fmt: skip
        marks = ", ".join("?" * len(row))
        sql(
            self.url,
            f"INSERT INTO strategy_configurations ({', '.join(row)}) VALUES ({marks})",
            tuple(row.values()),
        )


OLDER_FORMS = {
    "sqlite": ("sqlite_url", "JSON", "JSON"),
    "sqlite-text": ("sqlite_url", "TEXT", "TEXT"),
    "postgresql-text": ("postgresql_url", "TEXT", "TEXT"),
    "postgresql-json": ("postgresql_url", "JSON", "JSON"),
    "postgresql-jsonb": ("postgresql_url", "JSONB", "JSONB"),
    "postgresql-array": ("postgresql_url", "JSONB", "INTEGER[]"),
}


@pytest.fixture(params=list(OLDER_FORMS))
def older(request: pytest.FixtureRequest) -> Older:
    fixture, *types = OLDER_FORMS[request.param]
    return Older(request.getfixturevalue(fixture), *types)


OLD = StrategyConfig(
    id="old", strategy_type="momentum", parameters={"lookback": 5}, instruments=(NIFTY, 7), active_brokers=("zerodha",)
)


def test_an_older_table_is_read_as_it_is(older: Older) -> None:
    """What it lacks has the defaults; nothing is written to it."""
    older.insert()
    older.insert("paper", zerodha_trading_enabled=False, parameters=None, is_active=False)
    with open_table(older.url) as table:
        old, paper = table.read_all()
    assert old == OLD
    assert (paper.active_brokers, paper.parameters, paper.is_active) == (("paper",), {}, False)
    assert len(columns(older.url)) == 11


def columns(url: str) -> list[str]:
    if url.startswith("sqlite"):
        return [name for (name,) in sql(url, "SELECT name FROM pragma_table_info('strategy_configurations')")]
    query = "SELECT column_name FROM information_schema.columns WHERE table_name = 'strategy_configurations'"
    return [name for (name,) in sql(url, query)]


def test_an_older_table_is_brought_up_to_date_once(older: Older) -> None:
    """Rows and its own columns stay, and a second time there is nothing to do."""
    older.insert()
    added = ("active_brokers", "validator_type", "max_position_size", "risk_multiplier", "max_history")
    with open_table(older.url) as table:
        assert table.init() == Migration(False, added)
        assert table.read_all() == [OLD]
        assert table.init() == Migration(False, ())
        assert table.read_all() == [OLD]
    assert set(columns(older.url)) == {*COLUMNS, "name", "description", "use_ml_models"}
    assert sql(older.url, "SELECT name FROM strategy_configurations") == [("An old one",)]


def test_an_older_table_that_was_brought_up_to_date_is_written_to(older: Older) -> None:
    """In the types that it has; columns of its own are left as they are."""
    older.insert()
    changed = OLD.model_copy(update={"active_brokers": ("paper",), "instruments": (1, 2), "parameters": {"a": [1]}})
    with open_table(older.url) as table:
        table.init()
        table.put(changed, CONFIG)
        table.set_parameters("mine", {"quantity": 3})
        assert table.read_all() == [config(parameters={"lookback": 5, "quantity": 3}), changed]
    names = sql(older.url, "SELECT name FROM strategy_configurations ORDER BY id")
    assert names == [("n",), ("An old one",)]


def test_an_older_table_takes_what_it_has_columns_for(older: Older) -> None:
    """A whole configuration it refuses, saying what to run."""
    older.insert()
    with open_table(older.url) as table:
        table.set_active("old", False)
        table.set_parameters("old", {"lookback": 6})
        assert table.read("old") == OLD.model_copy(update={"is_active": False, "parameters": {"lookback": 6}})
        with pytest.raises(
            ConfigurationError,
            match=r"lacks active_brokers, validator_type, .*: alpha strategies db init --config-db ",
        ):
            table.put(CONFIG)
        assert table.ids() == ["old"]


def test_an_array_takes_no_token_that_does_not_fit(postgresql_url: str) -> None:
    """INTEGER ends at 2^31 - 1; a token may be larger."""
    older = Older(postgresql_url, "JSONB", "INTEGER[]")
    with open_table(older.url) as table:
        table.init()
        with pytest.raises(ConfigurationError, match="out of range"):
            table.put(config(instruments=[(1 << 32) - 1]))


def test_a_column_that_must_be_filled_and_is_not_ours_is_named(database_url: str) -> None:
    """With what to do about it."""
    made(database_url, CONFIG)
    sql(database_url, "ALTER TABLE strategy_configurations ADD COLUMN owner TEXT NOT NULL DEFAULT 'x'")
    if database_url.startswith("postgresql"):
        sql(database_url, "ALTER TABLE strategy_configurations ALTER owner DROP DEFAULT")
        with (
            open_table(database_url) as table,
            pytest.raises(ConfigurationError, match=r'"owner".*give that a default'),
        ):
            table.put(config("other"))
    else:
        with open_table(database_url) as table:
            table.put(config("other"))


@pytest.mark.parametrize("lacking", ["id", "strategy_type"])
def test_a_table_of_something_else_is_refused(lacking: str, database_url: str) -> None:
    """It is neither read nor changed."""
    kept = {"id": "strategy_type", "strategy_type": "id"}[lacking]
    sql(database_url, f"CREATE TABLE strategy_configurations ({kept} TEXT, other TEXT)")
    with open_table(database_url) as table:
        for act in (table.init, table.read_all, lambda: table.put(CONFIG), lambda: table.read("x")):
            with pytest.raises(ConfigurationError, match=f"has no column {lacking}, so it is not a table of strat"):
                act()
    assert sorted(columns(database_url)) == sorted([kept, "other"])


def test_a_migration_that_fails_changes_nothing(database_url: str) -> None:
    """It is one transaction."""
    sql(database_url, "CREATE TABLE strategy_configurations (id TEXT PRIMARY KEY, strategy_type TEXT)")
    with open_table(database_url) as table:
        run = table._run

        def failing(statement: str, values: Any = None) -> Any:
            if "ADD COLUMN max_history" in statement:
                raise ConfigurationError("no more")
            return run(statement, values)

        table._run = failing  # type: ignore[method-assign]
        with pytest.raises(ConfigurationError, match="no more"):
            table.init()
    assert sorted(columns(database_url)) == ["id", "strategy_type"]


def test_two_that_make_the_table_at_once_do_not_meet(database_url: str) -> None:
    """One makes it, the others find it there."""
    with open_table(database_url, create=True):
        pass
    made_by: list[Migration] = []

    def make() -> None:
        with open_table(database_url, create=True) as table:
            made_by.append(table.init())

    together(*[make] * 4)
    assert sorted(made_by) == [Migration(False, ())] * 3 + [Migration(True, ())]


def together(*calls: Callable[[], None]) -> None:
    """Each in a thread of its own; what one of them raises is raised."""
    errors: list[BaseException] = []

    def guarded(call: Callable[[], None]) -> None:
        try:
            call()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
        assert not thread.is_alive()
    if errors:
        raise errors[0]


# --- bad rows --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("instruments", "[]", "instruments: "),
        ("instruments", "[0]", "instruments.0: input should be greater than 0, got 0"),
        ("instruments", '["256265"]', "instruments.0: write a whole number, got '256265'"),
        ("instruments", "{}", "instruments: "),
        ("parameters", "[1]", "parameters: write settings in it, as name: value, got [1]"),
        ("parameters", '"text"', "parameters: write settings in it, as name: value, got 'text'"),
        ("active_brokers", '["a b"]', "active_brokers.0: string should match pattern"),
        ("active_brokers", '"paper"', "active_brokers: "),
        ("strategy_type", "", "strategy_type: "),
        ("max_history", 0, "max_history: input should be greater than or equal to 1, got 0"),
        ("max_position_size", -1, "max_position_size: input should be greater than or equal to 1, got -1"),
        ("risk_multiplier", 0, "risk_multiplier: input should be greater than 0"),
        ("id", "not an id", "id: string should match pattern"),
    ],
)
def test_a_bad_row_is_named_with_its_field(column: str, value: object, said: str, database_url: str) -> None:
    """The table, the row, the field, and how to mend it; on one line."""
    made(database_url, CONFIG, config("other"))
    sql(database_url, f"UPDATE strategy_configurations SET {column} = ? WHERE id = 'mine'", (value,))
    with open_table(database_url) as table, pytest.raises(ConfigurationError) as caught:
        table.read_all()
    text = str(caught.value)
    name = value if column == "id" else "mine"
    assert text.startswith(f"{table.name}: strategy_configurations, row {name}: ")
    assert said in text
    assert text.endswith("; correct the row, or replace it: alpha strategies db import FILE")
    assert "\n" not in text


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("{", "parameters: not JSON (Expecting property name"),
        ("", "parameters: not JSON ("),
        ('{"x": NaN}', "parameters: not JSON (NaN is not a number)"),
        ("[" * 100_000, "parameters: not JSON ("),
        (b"\xff\xfe\x00", "parameters: not JSON ("),
        ("\x1b[31m", "\\x1b[31m"),
    ],
)
def test_a_text_column_that_is_not_json_is_a_bad_row(value: str | bytes, said: str, sqlite_url: str) -> None:
    """SQLite keeps whatever it is given."""
    made(sqlite_url, CONFIG)
    sql(sqlite_url, "UPDATE strategy_configurations SET parameters = ?", (value,))
    with open_table(sqlite_url) as table, pytest.raises(ConfigurationError) as caught:
        table.read_all()
    assert said in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_a_flag_that_is_no_flag_is_a_bad_row(sqlite_url: str) -> None:
    """Which broker gets the orders is not guessed."""
    made(sqlite_url, CONFIG)
    sql(sqlite_url, "UPDATE strategy_configurations SET zerodha_trading_enabled = 'perhaps', active_brokers = NULL")
    with (
        open_table(sqlite_url) as table,
        pytest.raises(ConfigurationError, match="zerodha_trading_enabled: write true or false"),
    ):
        table.read_all()


def test_a_bad_row_can_be_disabled_and_replaced(database_url: str) -> None:
    """So that it can be mended with alpha itself."""
    made(database_url, CONFIG)
    sql(database_url, "UPDATE strategy_configurations SET instruments = '[]'")
    with open_table(database_url) as table:
        table.set_active("mine", False)
        with pytest.raises(ConfigurationError, match="row mine: instruments: "):
            table.set_parameters("mine", {"lookback": 6})
        table.put(CONFIG)
        assert table.read_all() == [CONFIG]


# --- two at once -----------------------------------------------------------------------------


def test_two_connections_write_and_nothing_is_lost(database_url: str) -> None:
    """Different rows, and the same one."""
    made(database_url)
    both = [config(f"shared{number}") for number in range(5)]

    def write(who: str) -> None:
        with open_table(database_url) as table:
            for number in range(10):
                order = both if who == "a" else both[::-1]
                table.put(config(f"{who}{number}"), *order)

    together(lambda: write("a"), lambda: write("b"))
    with open_table(database_url) as table:
        assert len(table.read_all()) == 25


def test_two_changes_of_one_row_are_both_kept(database_url: str) -> None:
    """One waits for the other between its reading and its writing."""
    made(database_url, config(parameters={}))

    def change(who: str) -> None:
        with open_table(database_url) as table:
            for number in range(15):
                table.set_parameters("mine", {f"{who}{number}": number})

    together(lambda: change("a"), lambda: change("b"))
    with open_table(database_url) as table:
        assert len(table.read("mine").parameters) == 30


def test_a_lock_held_too_long_is_try_again(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """75 and one line; once the other has ended, it works. What is not committed is not seen."""
    made(database_url, CONFIG)
    monkeypatch.setattr(config_sqlite, "PATIENCE", 1)
    monkeypatch.setattr(config_postgres, "PATIENCE", 1)
    with open_table(database_url) as one, open_table(database_url) as other:
        with one.transaction():
            one.put(config(is_active=False))
            assert other.read("mine") == CONFIG
            began = time.monotonic()
            with pytest.raises(TryAgain, match="another program is writing to"):
                other.put(config(max_history=3))
            assert 0.9 < time.monotonic() - began < 4
        other.put(config(max_history=3))
        assert one.read("mine") == config(max_history=3)


def test_a_transaction_is_all_or_nothing(database_url: str) -> None:
    """Also of several calls, and when a person interrupts it."""
    made(database_url, CONFIG)

    def interrupted(table: database.ConfigurationTable) -> None:
        with table.transaction():
            table.put(config("other"))
            table.set_active("mine", False)
            raise KeyboardInterrupt

    with open_table(database_url) as table:
        with pytest.raises(KeyboardInterrupt):
            interrupted(table)
        assert table.read_all() == [CONFIG]


# --- databases that are not there ------------------------------------------------------------


def test_a_table_that_is_not_there_is_said_with_what_makes_it(database_url: str) -> None:
    """For everything that needs it."""
    if database_url.startswith("sqlite"):
        sql(database_url, "CREATE TABLE another (x)")
    with open_table(database_url) as table:
        for act in (table.read_all, table.ids, lambda: table.read("x"), lambda: table.put(CONFIG)):
            with pytest.raises(
                ConfigurationError,
                match=rf"no table strategy_configurations; make it: alpha strategies db init "
                rf"--config-db {re.escape(table.name)}$",
            ):
                act()


def test_a_file_that_is_not_there_is_not_made_by_looking(sqlite_url: str) -> None:
    """Only `init` makes one."""
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    with pytest.raises(
        ConfigurationError, match=r"no such file; make it: alpha strategies db init --config-db sqlite:"
    ):
        open_table(sqlite_url)
    assert not path.exists()
    made(sqlite_url)
    assert path.exists()


def test_a_relative_path_is_relative_and_an_absolute_one_absolute(tmp_path: Path) -> None:
    """Three slashes and four; characters that mean something in a URI mean nothing here."""
    for name in ("plain.db", "100% ?mode=memory#x&नाम.db", ":memory:"):
        made(f"sqlite:///{name}", CONFIG)
        assert Path(name).is_file()
        with open_table(f"sqlite:///{Path(name).absolute()}") as table:
            assert table.read_all() == [CONFIG]
    assert not list(Path("/").glob("plain.db"))


def test_what_is_no_sqlite_database_is_refused(tmp_path: Path) -> None:
    """A text, a folder, a folder that is not there, a file that others keep from us."""
    text = tmp_path / "text.db"
    text.write_text("id: mine\n" * 100)
    with open_table(f"sqlite:///{text}", create=True) as table:
        for act in (table.init, table.read_all):
            with pytest.raises(ConfigurationError, match="not a SQLite database; move it away, then alpha strat"):
                act()
    assert text.read_text() == "id: mine\n" * 100
    with pytest.raises(ConfigurationError, match="is a folder; name a file"):
        open_table(f"sqlite:///{tmp_path}")
    with pytest.raises(InputOutputError, match="unable to open database file; check"):
        open_table(f"sqlite:///{tmp_path}/no/folder.db", create=True)
    with pytest.raises(ConfigurationError, match="File name too long"):
        open_table("sqlite:///" + "x" * 300)
    (tmp_path / "empty.db").touch()
    with open_table(f"sqlite:///{tmp_path}/empty.db") as table, pytest.raises(ConfigurationError, match="no table"):
        table.read_all()


def test_a_missing_database_of_a_server_is_78(postgresql: str) -> None:
    """It is a matter of configuration."""
    url = f"{postgresql.rpartition('/')[0]}/none"
    with pytest.raises(ConfigurationError, match='database "none" does not exist; create it, or name another'):
        open_table(url)


def test_a_server_that_ends_the_connection_is_69(postgresql_url: str) -> None:
    """In the middle of the work too; what was begun is undone."""
    made(postgresql_url, CONFIG)

    def cut_off(table: database.ConfigurationTable) -> None:
        with table.transaction():
            table.put(config("other"))
            others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            sql(postgresql_url, f"{others} AND datname = current_database()")
            table.put(config("another"))

    with open_table(postgresql_url) as table, pytest.raises(Unavailable):
        cut_off(table)
    with open_table(postgresql_url) as table:
        assert table.read_all() == [CONFIG]


def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """After as long as the URL says, or else five seconds."""
    assert config_postgres.PATIENCE == 5
    monkeypatch.setattr(config_postgres, "PATIENCE", 2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began = time.monotonic()
        with pytest.raises(Unavailable, match="timeout"):
            open_table(f"postgresql://u:pw@127.0.0.1:{silent.getsockname()[1]}/db")
        assert time.monotonic() - began < 10


# --- credentials -----------------------------------------------------------------------------


def login(postgresql: str, **parts: str) -> str:
    """The server's URL with another user, password or database."""
    found = re.fullmatch(r"postgresql://(\w+):([^@]+)@([^/]+)/(\w+)", postgresql)
    assert found
    user, password, host, name = found.groups()
    who = parts.get("user", user) + ":" * ("password" not in parts or bool(parts["password"]))
    return f"postgresql://{who}{parts.get('password', password)}@{host}/{parts.get('name', name)}"


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"password": "hunter2"}, "password authentication failed"),
        ({"password": ""}, "no password supplied"),
        ({"user": "stranger"}, "authentication failed"),
    ],
)
def test_refused_credentials_are_77(parts: dict[str, str], said: str, postgresql: str) -> None:
    """And one line without the password."""
    with pytest.raises(AuthenticationError, match=said) as caught:
        open_table(login(postgresql, **parts))
    assert "hunter2" not in str(caught.value)
    assert "open-sesame" not in str(caught.value)
    assert "check user and password (PGPASSWORD, ~/.pgpass)" in str(caught.value)


@pytest.fixture
def guest(postgresql_url: str) -> Iterator[str]:
    """The URL of the database for a user that may log in and nothing else; its password needs care in a URL."""
    sql(postgresql_url, "CREATE ROLE guest LOGIN PASSWORD 'p@ss:w/rd#%é'")
    yield login(postgresql_url, user="guest", password="p%40ss%3Aw%2Frd%23%25%C3%A9")
    sql(postgresql_url, "DROP OWNED BY guest; DROP ROLE guest")


def test_what_a_user_may_not_do_is_77(guest: str, postgresql_url: str) -> None:
    """Make a table, read it, write to it: each as far as it was granted."""
    with open_table(guest) as table:
        with pytest.raises(AuthenticationError, match="permission denied for schema public"):
            table.init()
        made(postgresql_url, CONFIG)
        with pytest.raises(AuthenticationError, match="permission denied for table strategy_configurations"):
            table.read_all()
        sql(postgresql_url, "GRANT SELECT ON strategy_configurations TO guest")
        assert table.read_all() == [CONFIG]
        with pytest.raises(AuthenticationError, match="permission denied for table strategy_configurations"):
            table.put(config("other"))
        assert table.name == re.sub(":p[^@]*@", ":***@", guest)


def test_the_password_may_come_from_where_libpq_looks(
    postgresql: str, postgresql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PGPASSWORD, and the file that is ~/.pgpass unless PGPASSFILE says otherwise."""
    made(postgresql_url, CONFIG)
    bare = login(postgresql_url, password="")
    with pytest.raises(AuthenticationError):
        open_table(bare)
    monkeypatch.setenv("PGPASSWORD", "open-sesame")
    with open_table(bare) as table:
        assert table.read_all() == [CONFIG]
    monkeypatch.delenv("PGPASSWORD")
    file = tmp_path / "pgpass"
    file.write_text("*:*:*:*:open-sesame\n")
    file.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(file))
    with open_table(bare.replace("postgresql://", "postgres://")) as table:
        assert table.read_all() == [CONFIG]


def test_the_table_may_lie_in_any_schema_of_the_search_path(postgresql_url: str) -> None:
    """Options in the URL are libpq's."""
    sql(postgresql_url, "CREATE SCHEMA trading")
    url = f"{postgresql_url}?options=-csearch_path%3Dtrading"
    made(url, CONFIG)
    assert sql(postgresql_url, "SELECT id FROM trading.strategy_configurations") == [("mine",)]
    with open_table(url) as table:
        assert table.read_all() == [CONFIG]
    with open_table(postgresql_url) as table, pytest.raises(ConfigurationError, match="no table"):
        table.read_all()


@pytest.mark.parametrize("special", [*"@:/?#%[],;&=+ $'\"\\|~^", "%zz", "%40", "://", "@@", "é", "₹", "\n", "\x1b"])
def test_no_part_of_a_password_is_ever_said(special: str, closed_port: int) -> None:
    """However wrongly it stands in the URL: encoded or not, in the query, or where the host should be."""
    for piece in ("QZX{}WVK", "{}QZXWVK", "QZXWVK{}", "QZX{0}W{0}VK"):
        password = piece.format(special)
        for url in (
            f"postgresql://user:{password}@127.0.0.1:{closed_port}/db",
            f"postgresql://user:{password}@127.0.0.1:{closed_port}/db?connect_timeout=2",
            f"postgres://127.0.0.1:{closed_port}/db?user=u&password={password}",
            *([] if "@" in password else [f"postgresql://user:{password}"]),  # after an @ it is the host
            f"postgresql//user:{password}@127.0.0.1/db",
            f"mysql://user:{password}@127.0.0.1:{closed_port}/db",
        ):
            with pytest.raises((Unavailable, ConfigurationError, UsageError)) as caught:
                open_table(url)
            text = str(caught.value)
            assert not any(part in text for part in ("QZX", "WVK", "ZXW")), (url, text)
            assert "\n" not in text


def test_a_view_without_an_end_is_refused(tmp_path: Path, run: Run) -> None:
    """Whatever stands in the place of the table: 78 and one line, not a command that never answers."""
    path = tmp_path / "endless.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute(
            "CREATE VIEW strategy_configurations AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) "
            "SELECT 's' || x AS id, 'momentum' AS strategy_type, '[1]' AS instruments FROM n"
        )
    for words in (["list"], ["set", "s1", "quantity=1"]):
        _, err = run(78, *words, "--config-db", f"sqlite:///{path}")
        assert "has more than 100000 rows" in err


@pytest.mark.parametrize(
    "url",
    [
        "", "strategies.db", "/abs/strategies.db", "sqlite:", "sqlite://", "sqlite:///", "sqlite://strategies.db",
        "mysql://localhost/db", "file:strategies.db", "postgresql:/db", "postgresql://h:99999x/db", "POSTGRESQL://h/db",
    ],
)  # fmt: skip
def test_a_url_of_another_form_is_a_mistake_on_the_command_line(url: str) -> None:
    """With one that is right."""
    with pytest.raises(UsageError, match="postgresql://user@host:5432/database"):
        open_table(url)


@pytest.mark.parametrize("rest", ["/db?foo=1", "/db?sslmode=perhaps", "/db?connect_timeout=soon", "/%zz", "/db?port=x"])
def test_an_option_that_libpq_does_not_take_is_78(rest: str, closed_port: int) -> None:
    """Before or while it connects."""
    with pytest.raises(ConfigurationError):
        open_table(f"postgresql://u@127.0.0.1:{closed_port}{rest}")


def test_without_psycopg_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL is an extra."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigurationError, match=re.escape("needs psycopg: pip install 'alpha-cli[postgres]'")):
        open_table("postgresql://u:secret@127.0.0.1/db")


def test_sqlite_needs_no_psycopg(sqlite_url: str) -> None:
    """It is not even imported."""
    made(sqlite_url, CONFIG)
    program = (
        "import sys; from alpha_cli.stages.run_strategy.config_table import open_table; "
        "print(open_table(sys.argv[1]).read_all()[0].id, 'psycopg' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, sqlite_url], capture_output=True, timeout=DEADLINE, cwd=ROOT, check=True,
        env=environment(),
    )  # fmt: skip
    assert done.stdout == b"mine False\n"


# --- alpha strategies db ---------------------------------------------------------------------


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run(0, "list", "--config-db", url)` is stdout and stderr of `alpha strategies db list`, that ends with 0."""

    def run(code: int, *args: str) -> tuple[str, str]:
        args, env = without_password(*args)
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        assert execute(["strategies", "db", *args]) == code, capsys.readouterr()
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        assert "this is a bug" not in said.err
        assert said.err.count("\n") <= 1
        return said.out, said.err.rstrip("\n")

    return run


Run = Callable[..., tuple[str, str]]


def without_password(*args: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """The arguments without a URL that has a password, and the environment that has it in its place."""
    if "--config-db" not in args:
        return args, {}
    place = args.index("--config-db")
    if args[place + 1].startswith("sqlite"):
        return args, {}
    return (*args[:place], *args[place + 2 :]), {"ALPHA_CONFIG_DB": args[place + 1]}


def process(*args: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    """The same in a process of its own."""
    args, moved = without_password(*args)
    env |= moved
    return run_alpha(["strategies", "db", *args], env=env)


def write(path: Path, text: str = GOOD) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_the_commands_one_after_another(database_url: str, tmp_path: Path, run: Run) -> None:
    """From an empty database to files that describe the same."""
    at = ("--config-db", database_url)
    assert run(0, "init", *at) == ("created strategy_configurations\n", "")
    out, err = run(0, "init", *at)
    assert (out, err.endswith(": nothing to do")) == ("", True)
    out, err = run(0, "list", *at)
    assert (out, "there are no strategies in it; alpha strategies db import" in err) == ("", True)

    file = write(tmp_path / "mine.yaml")
    second = write(tmp_path / "more" / "second.yaml", GOOD.replace("mine", "second"))
    assert run(0, "import", str(file), str(second.parent), *at) == ("imported mine\nimported second\n", "")
    assert run(0, "set", "mine", "lookback=30", "order_type=LIMIT", *at) == (
        'set mine parameters={"lookback":30,"order_type":"LIMIT"}\n', "",
    )  # fmt: skip
    assert run(0, "disable", "second", "mine", *at) == ("disabled second\ndisabled mine\n", "")
    assert run(0, "enable", "mine", *at) == ("enabled mine\n", "")
    out, err = run(0, "list", *at)
    assert err == ""
    assert [line.split() for line in out.splitlines()] == [
        ["id", "type", "active", "brokers", "instruments", "parameters"],
        ["mine", "momentum", "yes", "paper", str(NIFTY), '{"lookback":30,"order_type":"LIMIT"}'],
        ["second", "momentum", "no", "paper", str(NIFTY), '{"lookback":5}'],
    ]

    folder = tmp_path / "out"
    out, err = run(0, "export", "--to", str(folder), *at)
    assert out.split() == ["exported", f"{folder}/mine.yaml", "exported", f"{folder}/second.yaml"]
    with open_table(database_url) as table:
        assert [load_file(path) for path in sorted(folder.iterdir())] == table.read_all()


def test_the_commands_are_processes_too(database_url: str, tmp_path: Path) -> None:
    """The URL may come from the environment; data goes to stdout, remarks to stderr."""
    file = write(tmp_path / "mine.yaml")
    assert process("init", ALPHA_CONFIG_DB=database_url).stdout == b"created strategy_configurations\n"
    done = process("import", str(file), ALPHA_CONFIG_DB=database_url)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"imported mine\n", b"")
    done = process("export", ALPHA_CONFIG_DB=database_url)
    assert (done.returncode, done.stderr) == (0, b"")
    assert StrategyConfig.model_validate(yaml.safe_load(done.stdout)) == load_file(file)
    done = process("disable", "mien", "--config-db", database_url)
    assert (done.returncode, done.stdout) == (78, b"")
    assert done.stderr.endswith(b", did you mean 'mine'?\n")


@pytest.mark.parametrize(
    "url",
    ["postgresql://u:hunter2@h/db", "postgres://u:hunter2@h:5432/db?sslmode=require", "postgresql://h/db?password=hunter2",
     "postgresql://u:12345@h/db", "postgresql://u:hun@ter2@h/db", "postgresql://u:hun/ter2@h/db", "mysql://u:hunter2@h"],
)  # fmt: skip
def test_a_password_on_the_command_line_is_refused_before_anything_else(url: str, run: Run) -> None:
    """For every command and inside alpha pipe; the line says where it may be, and shows nothing of it."""
    for words in (
        ["strategies", "db", "list", "--config-db", url], ["strategies", "list", f"--config-db={url}", "--nonsense"],
        ["run-strategy", "no-such-strategy", "--config-db", url],
        ["pipe", f"feed | run-strategy x --config-db {url} | risk"],
    ):  # fmt: skip
        done = run_alpha(words)
        assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1), words
        said = done.stderr.decode()
        assert "PGPASSWORD or ~/.pgpass, or put the whole URL into ALPHA_CONFIG_DB" in said
        assert not any(part in said for part in ("hun", "ter2", "12345"))


def test_a_url_without_a_password_is_no_password(closed_port: int) -> None:
    """A port, a user without one, and an @ in an option are none."""
    for url in (
        f"postgresql://127.0.0.1:{closed_port}/db?application_name=a%40b",
        f"postgresql://u@127.0.0.1:{closed_port}/x",
    ):
        done = run_alpha(["strategies", "db", "list", "--config-db", url])
        assert done.returncode == 69, done.stderr


def test_an_unreachable_server_is_one_line_and_69(closed_port: int) -> None:
    """For every command; no traceback, and not the password."""
    url = f"postgresql://alpha:hunter2@127.0.0.1:{closed_port}/trading"
    for args in (["init"], ["list"], ["enable", "x"], ["set", "x", "a=1"], ["export"]):
        done = process(*args, ALPHA_CONFIG_DB=url)
        assert (done.returncode, done.stdout) == (69, b"")
        said = done.stderr.decode()
        assert said.count("\n") == 1
        assert f"postgresql://alpha:***@127.0.0.1:{closed_port}/trading: " in said
        assert "Connection refused" in said
        assert "hunter2" not in said


def test_refused_credentials_are_one_line_and_77(postgresql: str) -> None:
    """And not the password."""
    done = process("list", "--config-db", login(postgresql, password="hunter2"))
    assert (done.returncode, done.stdout) == (77, b"")
    assert done.stderr.count(b"\n") == 1
    assert b"password authentication failed" in done.stderr
    assert b"hunter2" not in done.stderr


def test_a_database_that_is_not_there_is_one_line_and_78(sqlite_url: str, postgresql_url: str, run: Run) -> None:
    """With the command that makes it."""
    for url in (sqlite_url, postgresql_url):
        _, err = run(78, "list", "--config-db", url)
        shown = url.replace("open-sesame", "***")
        assert err.endswith(f"make it: alpha strategies db init --config-db {shown}")


def test_a_database_has_to_be_named(run: Run) -> None:
    """2, with an example; an empty variable names none."""
    for args in (["init"], ["import"], ["export"], ["enable", "x"], ["disable", "x"], ["set", "x", "a=1"], ["list"]):
        out, err = run(2, *args)
        assert out == ""
        assert "--config-db sqlite:///strategies.db, or set ALPHA_CONFIG_DB to its URL" in err
    assert process("list", ALPHA_CONFIG_DB="").returncode == 2


def test_every_command_has_help_with_an_example(run: Run) -> None:
    """And each of its options explained; the group alone shows its help on stderr, 2."""
    assert set(db.commands) == {"init", "import", "export", "enable", "disable", "set", "list"}
    for name, command in db.commands.items():
        out, err = run(0, name, "--help")
        assert err == ""
        assert re.search(rf"\n  Example:\n      alpha strategies db {name} [^\n]+\n", out), out
        assert "--config-db URL" in out
        assert all(option.help for option in command.params if isinstance(option, click.Option))
    listed = run(0, "--help")[0].partition("Commands:")[2]
    assert "  import " in listed
    assert "..." not in listed  # each in a line
    done = process()
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"ALPHA_CONFIG_DB" in done.stderr


def test_init_says_which_columns_it_added(older: Older, run: Run) -> None:
    """One a line, for programs too."""
    older.insert()
    out, err = run(0, "init", "--config-db", older.url)
    assert (out.splitlines()[:2], err) == (["added active_brokers", "added validator_type"], "")
    assert run(0, "list", "--config-db", older.url)[0].splitlines()[1].split()[:4] == [
        "old", "momentum", "yes", "zerodha",
    ]  # fmt: skip


BROKEN = [
    "id: [",
    GOOD.replace("momentum", "momentm"),
    GOOD.replace("lookback", "lookbak"),
    GOOD.replace("lookback: 5", "lookback: 0"),
    GOOD + "validator_type: strict\n",  # that wants a max_position_size
    GOOD + "max_history: 3\n",
    GOOD.replace("mine", "first"),
]


@pytest.mark.parametrize("text", BROKEN)
def test_an_import_is_all_or_nothing(text: str, database_url: str, tmp_path: Path, run: Run) -> None:
    """Whatever is wrong with the third of three files: the YAML, what a strategy or its validator says, its id."""
    made(database_url, config("there"))
    files = [
        write(tmp_path / "1.yaml", GOOD.replace("mine", "first")),
        write(tmp_path / "2.yaml", GOOD.replace("mine", "there").replace("5", "6")),
        write(tmp_path / "3.yaml", text),
    ]
    out, _ = run(78, "import", *map(str, files), "--config-db", database_url)
    assert out == ""
    with open_table(database_url) as table:
        assert table.read_all() == [config("there")]


def test_an_import_that_fails_in_the_database_is_all_or_nothing(
    postgresql_url: str, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that the database refuses undoes those before it."""
    made(postgresql_url)
    sql(postgresql_url, "ALTER TABLE strategy_configurations ADD CONSTRAINT no_z CHECK (id <> 'z')")
    files = [str(write(tmp_path / f"{name}.yaml", GOOD.replace("mine", name))) for name in "abz"]
    out, err = run(78, "import", *files, "--config-db", postgresql_url)
    assert out == ""
    assert "no_z" in err
    with open_table(postgresql_url) as table:
        assert table.ids() == []


def test_an_unknown_parameter_of_a_file_is_answered_with_a_near_one(sqlite_url: str, tmp_path: Path, run: Run) -> None:
    """As run-strategy would answer."""
    made(sqlite_url)
    file = write(tmp_path / "mine.yaml", GOOD.replace("lookback", "lookbak"))
    _, err = run(78, "import", str(file), "--config-db", sqlite_url)
    assert err.endswith("strategy mine: no parameter 'lookbak', did you mean 'lookback'?")


def test_without_files_what_run_strategy_finds_is_imported(sqlite_url: str, tmp_path: Path, run: Run) -> None:
    """The nearest of each name; with --packaged beside files."""
    made(sqlite_url)
    near = GOOD.replace("id: mine", "id: momentum")
    write(Path("configs/strategies/momentum.yaml"), near)
    write(Path("configs/strategies/here.yaml"), GOOD.replace("mine", "here"))
    names = sorted({path.stem for path in (packaged("configs") / "strategies").glob("*.yaml")} | {"here"})
    out, _ = run(0, "import", "--config-db", sqlite_url)
    assert out.split()[1::2] == names
    with open_table(sqlite_url) as table:
        assert table.read("momentum").parameters == {"lookback": 5}
    out, _ = run(0, "import", str(write(tmp_path / "mine.yaml")), "--packaged", "--config-db", sqlite_url)
    assert out.split()[1::2] == ["mine", *names]


def test_files_that_are_not_there_are_said(sqlite_url: str, tmp_path: Path, run: Run) -> None:
    """A file, and a folder without any; a file given twice is one."""
    made(sqlite_url)
    _, err = run(78, "import", str(tmp_path / "none.yaml"), "--config-db", sqlite_url)
    assert "no such file" in err
    (tmp_path / "empty").mkdir()
    _, err = run(66, "import", str(tmp_path / "empty"), "--config-db", sqlite_url)
    assert err.endswith("empty: no .yaml file in this folder")
    file = write(tmp_path / "full" / "mine.yaml")
    assert run(0, "import", str(file), str(file.parent), "--config-db", sqlite_url)[0] == "imported mine\n"


OWN = """
class Processor:
    def process_tick(self, tick, history):
        return None


def create_processor(**parameters):
    return Processor()
"""


def test_a_strategy_of_ones_own_is_found_from_anywhere(sqlite_url: str, tmp_path: Path, run: Run) -> None:
    """Its file is looked for beside the YAML when that is imported, and after an export still."""
    made(sqlite_url)
    write(tmp_path / "own" / "mine.py", OWN)
    write(tmp_path / "own" / "mine.yaml", f"id: mine\nstrategy_type: ./mine.py\ninstruments: [{NIFTY}]\n")
    os.chdir(tmp_path)
    run(0, "import", "own/mine.yaml", "--config-db", sqlite_url)
    with open_table(sqlite_url) as table:
        assert table.read("mine").strategy_type == str(tmp_path / "own" / "mine.py")
        run(0, "export", "--to", "elsewhere", "--config-db", sqlite_url)
        assert load_file(Path("elsewhere/mine.yaml")) == table.read("mine")


def test_an_export_can_be_limited_and_reads_back(database_url: str, run: Run) -> None:
    """In the order asked for; documents on stdout are parted by ---. An unknown id prints nothing."""
    hard = {
        "text": "yes", "lines": "a\nb\n", "next": "a\x85b\u2028c", "null": None, "number": "1e5", "date": "2024-01-01",
        "same": [["x"], ["x"]], "नाम": "₹ 😀", "float": 1e-7, "equals": "=", "---": "---\n", "": "", " ": " # ",
    }  # fmt: skip
    configs = [config(name, parameters=hard, risk_multiplier="0.10", max_position_size=5) for name in "abc"]
    made(database_url, *configs)
    out, _ = run(0, "export", "c", "a", "c", "--config-db", database_url)
    assert [StrategyConfig.model_validate(each) for each in yaml.safe_load_all(out)] == [configs[2], configs[0]]
    assert out.startswith("id: c\n")
    assert "max_history" not in out  # a default stays one
    out, err = run(78, "export", "a", "x", "--config-db", database_url)
    assert out == ""
    assert "; known: a, b, c" in err


def test_an_export_replaces_no_file_unless_told(sqlite_url: str, tmp_path: Path, run: Run) -> None:
    """Not even the others are written; a link to nowhere is there too."""
    made(sqlite_url, config("a"), config("b"))
    taken = write(tmp_path / "out" / "b.yaml", "precious\n")
    at = ("--to", str(taken.parent), "--config-db", sqlite_url)
    out, err = run(2, "export", *at)
    assert (out, err.endswith("b.yaml: already there; --force replaces it")) == ("", True)
    assert [path.name for path in taken.parent.iterdir()] == ["b.yaml"]
    assert taken.read_text() == "precious\n"
    run(0, "export", "--force", *at)
    assert load_file(taken) == config("b")
    taken.unlink()
    taken.symlink_to(tmp_path / "nowhere.yaml")
    run(2, "export", "b", *at)
    assert not (tmp_path / "nowhere.yaml").exists()


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("x=30", 30),
        ("x=1e-4", 0.0001),
        ("x=0.5", 0.5),
        ("x=true", True),
        ("x=yes", True),
        ("x=null", None),
        ("x=LIMIT", "LIMIT"),
        ('x="30"', "30"),
        ("x='30'", "30"),
        ("x=a=b", "a=b"),
        ("x=[1, 2]", [1, 2]),
        ('x={"a": [1]}', {"a": [1]}),
        ("x=2024-01-01", "2024-01-01"),
        ("x='; DROP TABLE strategy_configurations; --'", "; DROP TABLE strategy_configurations; --"),
        ("x=₹", "₹"),
    ],
)
def test_a_value_is_json_or_a_yaml_scalar(
    change: str, value: object, sqlite_url: str, tmp_path: Path, run: Run
) -> None:
    """What looks like a number is one, as in a file."""
    made(sqlite_url, config(strategy_type=str(write(tmp_path / "own.py", OWN))))
    run(0, "set", "mine", change, "--config-db", sqlite_url)
    with open_table(sqlite_url) as table:
        parameters = table.read("mine").parameters
    assert parameters == {"lookback": 5, "x": value}
    assert type(parameters["x"]) is type(value)


@pytest.mark.parametrize(
    "change",
    ["lookback", "=5", "x=", "x=[1,", "x={a: b}", "x=@a", "x=*a", "x=" + "[" * 100_000, "x=!!python/name:os.x"],
)
def test_a_value_that_is_neither_is_a_mistake_on_the_command_line(change: str, sqlite_url: str, run: Run) -> None:
    """2, and nothing is written."""
    made(sqlite_url, CONFIG)
    run(2, "set", "mine", "quantity=2", change, "--config-db", sqlite_url)
    with open_table(sqlite_url) as table:
        assert table.read("mine") == CONFIG


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        (["lookbak=6"], 78, "no parameter 'lookbak', did you mean 'lookback'?"),
        (["quantity=2", "lookback=0"], 78, "parameter lookback: input should be greater than or equal to 1, got 0"),
        (["lookback=100"], 78, "needs 101 ticks of history, max_history is 100; raise it"),
        (["threshold=.nan"], 78, "threshold"),
        (["lookback=6", "lookback=7"], 2, "a parameter is given twice"),
    ],
)
def test_what_a_strategy_would_refuse_is_not_set(
    changes: list[str], code: int, said: str, database_url: str, run: Run
) -> None:
    """Before it is written."""
    made(database_url, CONFIG)
    _, err = run(code, "set", "mine", *changes, "--config-db", database_url)
    assert said in err
    with open_table(database_url) as table:
        assert table.read("mine") == CONFIG


def test_enabling_several_is_all_or_nothing(database_url: str, run: Run) -> None:
    """An id that is unknown stops the others; one given twice is said once."""
    made(database_url, config("a"), config("b"))
    out, err = run(78, "disable", "a", "b", "c", "--config-db", database_url)
    assert out == ""
    assert "no strategy 'c'" in err
    with open_table(database_url) as table:
        assert all(row.is_active for row in table.read_all())
    assert run(0, "disable", "b", "a", "b", "--config-db", database_url)[0] == "disabled b\ndisabled a\n"


def test_a_list_cannot_write_to_the_terminal(database_url: str, run: Run) -> None:
    """What a row holds may come from somewhere else; a long list of instruments is cut."""
    nasty = {"\x1b[31m": "\u202e", "long": "x" * 500}
    made(database_url, config(parameters=nasty, strategy_type="\x1b]0;x", instruments=range(1, 100), active_brokers=[]))
    out, _ = run(0, "list", "--config-db", database_url)
    assert out.count("\n") == 2
    assert out.replace("\n", "").isprintable()
    assert "1,2,3,… (99)" in out
    assert " none " in out
    assert len(out) < 700
