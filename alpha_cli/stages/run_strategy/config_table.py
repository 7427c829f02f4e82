"""Strategy configurations in a database: the table `strategy_configurations` of SQLite or PostgreSQL.

    sqlite:///relative.db    sqlite:////absolute/path.db    postgresql://user@host:5432/database

PGPASSWORD, ~/.pgpass and service files of libpq work. A password in the URL is never shown. The SQL is written
once, with named parameters; the two databases differ only in types, locks and the catalogue. An older table can
be read as it is; before it is written to, `init` has to bring it up to date.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from alpha_cli.config.model import Strict, validate
from alpha_cli.core.errors import AlphaError, ConfigurationError, UsageError
from alpha_cli.core.text import did_you_mean, printable
from alpha_cli.stages.run_strategy.config import StrategyConfig
from alpha_cli.stages.run_strategy.config_backend import TABLE, Backend, init_command
from alpha_cli.stages.run_strategy.config_postgres import PostgreSQLBackend
from alpha_cli.stages.run_strategy.config_sqlite import SQLiteBackend

URLS = "sqlite:///strategies.db or postgresql://user@host:5432/database"

#: Column -> its definition in PostgreSQL's words; SQLite has others for some of the types.
COLUMNS = {
    "id": "TEXT PRIMARY KEY",
    "strategy_type": "TEXT NOT NULL",
    "parameters": "JSONB NOT NULL DEFAULT '{}'",
    "instruments": "JSONB NOT NULL DEFAULT '[]'",
    "active_brokers": "JSONB",  # null: as zerodha_trading_enabled says
    "zerodha_trading_enabled": "BOOLEAN NOT NULL DEFAULT false",
    "validator_type": "TEXT NOT NULL DEFAULT 'standard'",
    "is_active": "BOOLEAN NOT NULL DEFAULT true",
    "max_position_size": "BIGINT",
    "risk_multiplier": "NUMERIC NOT NULL DEFAULT '1'",  # exact, and so text in SQLite
    "max_history": "INTEGER",
    "created_at": "TIMESTAMPTZ",
    "updated_at": "TIMESTAMPTZ",
}
REQUIRED = ("id", "strategy_type")
JSON = ("parameters", "instruments", "active_brokers")
TIMES = ("created_at", "updated_at")

MOST_ROWS = 100_000
MEND = "correct the row, or replace it: alpha strategies db import FILE"

Check = Callable[[StrategyConfig], object]


class Migration(NamedTuple):
    """The result of `init`: the table was made, or these columns were added to an older one, or nothing."""

    created: bool
    added: tuple[str, ...]


def open_table(url: str, *, create: bool = False) -> ConfigurationTable:
    """Open the database at `url` and return its table, which may be missing until it is used.

    create  make a SQLite file that does not exist, for `init`

    Raise `UsageError` for a URL of another form, `ConfigurationError` for a database that does not exist,
    `Unavailable` for a server that does not answer and `AuthenticationError` for one that refuses.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite" and len(rest) > 1 and rest.startswith("/"):
        return ConfigurationTable(SQLiteBackend(Path(rest[1:]), create=create))
    if scheme in {"postgresql", "postgres"}:
        return ConfigurationTable(PostgreSQLBackend(url))
    raise UsageError(f"--config-db: not the URL of a database; write {URLS}")  # it may hold a password


class ConfigurationTable:
    """The rows of `strategy_configurations` as `StrategyConfig`; a context manager that closes it."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._in_transaction = False
        #: The database, without a password.
        self.name = backend.name

    def __enter__(self) -> ConfigurationTable:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._backend.connection.close()

    # --- reading -------------------------------------------------------------------------

    def ids(self) -> list[str]:
        """Return every id, sorted."""
        self._columns()
        return sorted(str(row[0]) for row in self._few(f"SELECT id FROM {TABLE}"))  # noqa: S608

    def read_all(self) -> list[StrategyConfig]:
        """Return every configuration, active or not, sorted by id. Raise `ConfigurationError` for a bad row."""
        return sorted(map(self._config, self._rows()), key=lambda config: config.id)

    def read(self, strategy_id: str) -> StrategyConfig:
        """Return the configuration of one strategy. Raise `ConfigurationError` if there is none."""
        return self._config(self._row(strategy_id))

    # --- writing -------------------------------------------------------------------------

    def init(self) -> Migration:
        """Make the table, or add the columns that an older one lacks. Rows and other columns stay."""
        with self.transaction():
            if self._backend.lock_schema:
                self._run(self._backend.lock_schema)
            found = self._backend_columns()
            if not found:
                columns = ", ".join(f"{name} {self._definition(name)}" for name in COLUMNS)
                self._run(f"CREATE TABLE {TABLE} ({columns})")
                return Migration(True, ())
            self._check_required(found)
            missing = tuple(name for name in COLUMNS if name not in found)
            for name in missing:
                self._run(f"ALTER TABLE {TABLE} ADD COLUMN {name} {self._definition(name)}")
            return Migration(False, missing)

    def put(self, *configs: StrategyConfig) -> None:
        """Insert each configuration, or replace the row that has its id; all of them or none."""
        with self.transaction():
            columns = self._columns()
            missing = [name for name in COLUMNS if name not in columns and name not in TIMES]
            if missing:
                raise ConfigurationError(
                    f"{self.name}: {TABLE} lacks {', '.join(missing)}; bring it up to date: {init_command(self.name)}"
                )
            times = [name for name in TIMES if name in columns]
            for config in sorted(configs, key=lambda config: config.id):  # in one order, so that no two wait in a ring
                values = self._values(config, columns)
                names = ", ".join([*values, *times])
                given = ", ".join([*(f":{name}" for name in values), *("CURRENT_TIMESTAMP" for _ in times)])
                changes = ", ".join(f"{name} = excluded.{name}" for name in [*values, *times] if name != "created_at")
                self._run(
                    f"INSERT INTO {TABLE} ({names}) VALUES ({given}) ON CONFLICT (id) DO UPDATE SET {changes}",  # noqa: S608
                    values,
                )

    def set_active(self, strategy_id: str, active: bool) -> None:  # noqa: FBT001  (is_active is what is set)
        """Enable or disable a strategy; the rest of its row may even be wrong. Raise `ConfigurationError`."""
        with self.transaction():
            self._row(strategy_id, lock=True)
            self._update(strategy_id, "is_active", active)

    def set_parameters(
        self, strategy_id: str, parameters: Mapping[str, Any], check: Check = lambda _: None
    ) -> StrategyConfig:
        """Change some parameters of a strategy and leave the others. Return its new configuration.

        check  raises for a configuration that must not be written
        """
        with self.transaction():
            config = self._config(self._row(strategy_id, lock=True))
            changed = config.model_copy(update={"parameters": {**config.parameters, **parameters}})
            check(changed)
            written = self._values(changed, self._columns())["parameters"]
            self._update(strategy_id, "parameters", written)
            return changed

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Write all or nothing of what is done inside; an inner transaction belongs to the outer one."""
        if self._in_transaction:
            yield
            return
        self._run(self._backend.begin)
        self._in_transaction = True
        try:
            yield
            self._run("COMMIT")
        except BaseException:
            with suppress(AlphaError):  # the connection may be lost, and with it the transaction
                self._run("ROLLBACK")
            raise
        finally:
            self._in_transaction = False

    # --- rows ----------------------------------------------------------------------------

    def _rows(self, where: str = "", values: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        columns = [name for name in COLUMNS if name in self._columns() and name not in TIMES]
        rows = self._few(f"SELECT {', '.join(columns)} FROM {TABLE} {where}", values)  # noqa: S608
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def _row(self, strategy_id: str, *, lock: bool = False) -> dict[str, Any]:
        ids = self.ids()
        if strategy_id in ids:
            rows = self._rows(f"WHERE id = :id{self._backend.lock_row if lock else ''}", {"id": strategy_id})
            if rows:
                return rows[0]
        known = did_you_mean(strategy_id, ids) if ids else "; it is empty, alpha strategies db import fills it"
        raise ConfigurationError(f"{self.name}: no strategy {strategy_id!r} in {TABLE}{known}")

    def _update(self, strategy_id: str, column: str, value: Any) -> None:
        columns = self._columns()
        if column not in columns:
            raise ConfigurationError(
                f"{self.name}: {TABLE} lacks {column}; bring it up to date: {init_command(self.name)}"
            )
        time = ", updated_at = CURRENT_TIMESTAMP" if "updated_at" in columns else ""
        self._run(f"UPDATE {TABLE} SET {column} = :value{time} WHERE id = :id", {"value": value, "id": strategy_id})  # noqa: S608

    def _config(self, row: Mapping[str, Any]) -> StrategyConfig:
        """Return a row as a configuration. Null is the default, as is a missing column."""
        where = f"{self.name}: {TABLE}, row {printable(str(row['id']))}"
        try:
            values = {name: _decoded(name, value) if name in JSON else value for name, value in row.items()}
            flag = validate({"zerodha_trading_enabled": values.pop("zerodha_trading_enabled", None)}, _Flag, where)
            if values.get("active_brokers") is None:
                values["active_brokers"] = ["zerodha" if flag.zerodha_trading_enabled else "paper"]
            if "is_active" in values:  # null is not true, as in WHERE is_active
                values["is_active"] = values["is_active"] or False
            given = {name: value for name, value in values.items() if value is not None}
            return validate(given, StrategyConfig, where)
        except ValueError as error:
            raise ConfigurationError(f"{where}: {error}; {MEND}") from None
        except ConfigurationError as error:
            raise ConfigurationError(f"{error}; {MEND}") from None

    def _values(self, config: StrategyConfig, columns: Mapping[str, str]) -> dict[str, Any]:
        """Return the columns of a configuration's row, as the database takes them."""
        values: dict[str, Any] = {
            "id": config.id,
            "strategy_type": config.strategy_type,
            "parameters": config.parameters,
            "instruments": list(config.instruments),
            "active_brokers": list(config.active_brokers),
            "zerodha_trading_enabled": "zerodha" in config.active_brokers,  # for programs that know no active_brokers
            "validator_type": config.validator_type,
            "is_active": config.is_active,
            "max_position_size": config.max_position_size,
            "risk_multiplier": str(config.risk_multiplier),
            "max_history": config.max_history if "max_history" in config.model_fields_set else None,
        }
        for name in JSON:
            if not columns.get(name, "").endswith("[]"):  # an array of PostgreSQL takes the list
                values[name] = _encoded(values[name], f"strategy {config.id}: {name}")
        return values

    # --- SQL -----------------------------------------------------------------------------

    def _definition(self, column: str) -> str:
        words = COLUMNS[column].split(" ")
        return " ".join([self._backend.types.get(words[0], words[0]), *words[1:]])

    def _columns(self) -> dict[str, str]:
        """Return the columns of the table, each with its type. Raise `ConfigurationError` if it is not ours."""
        found = self._backend_columns()
        if not found:
            raise ConfigurationError(f"{self.name}: no table {TABLE}; make it: {init_command(self.name)}")
        self._check_required(found)
        return found

    def _backend_columns(self) -> dict[str, str]:
        return {str(name): str(kind) for name, kind in self._run(self._backend.columns, {"table": TABLE})}

    def _check_required(self, found: Mapping[str, str]) -> None:
        lacking = [name for name in REQUIRED if name not in found]
        if lacking:
            raise ConfigurationError(
                f"{self.name}: {TABLE} has no column {' and no '.join(lacking)}, so it is not a table of strategies; "
                "rename it, or name another database"
            )

    def _few(self, sql: str, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Return the rows of a query. Raise `ConfigurationError` for too many: a view may have no end."""
        rows = self._run(f"{sql} LIMIT {MOST_ROWS + 1}", values)
        if len(rows) > MOST_ROWS:
            raise ConfigurationError(
                f"{self.name}: {TABLE} has more than {MOST_ROWS} rows; is it a view without an end?"
            )
        return rows

    def _run(self, sql: str, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Return the rows of `sql`. An error of the driver becomes one that says what to do."""
        try:
            cursor = self._backend.connection.execute(_NAMED.sub(self._backend.placeholder, sql), values or {})
            return list(cursor.fetchall()) if cursor.description else []
        except (OverflowError, UnicodeError) as error:
            raise ConfigurationError(f"{self.name}: a value cannot be stored: {error}") from None
        except Exception as error:
            meaning = self._backend.meaning(error)
            if meaning is None:
                raise
            raise meaning from None


_NAMED = re.compile(r":(\w+)")


# --- values ----------------------------------------------------------------------------------


class _Flag(Strict):
    zerodha_trading_enabled: bool | None = None


def _decoded(name: str, value: Any) -> Any:
    """Return a JSON column as Python data, whatever its type. Raise `ValueError`."""
    if not isinstance(value, (str, bytes)):
        return value  # an array, or null
    try:
        return json.loads(value, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        text = value if isinstance(value, str) else value.decode(errors="replace")
        raise ValueError(f"{name}: not JSON ({error}), got {printable(text, 60)}") from None


def _encoded(value: Any, where: str) -> str:
    """Return `value` as JSON. Raise `ConfigurationError` if it would not come back unchanged."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        if json.loads(text) == value:
            return text
        reason = "a key that is no text, or a tuple, would come back as something else"
    except (TypeError, ValueError, RecursionError) as error:
        reason = str(error)
    raise ConfigurationError(f"{where} cannot be kept as JSON: {printable(reason)}; write it as a text or a number")


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not a number")
