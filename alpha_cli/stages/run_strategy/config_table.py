"""Strategy configurations in a database: the table `strategy_configurations` of SQLite or PostgreSQL.

    sqlite:///relative.db    sqlite:////absolute/path.db    postgresql://user@host:5432/database

What libpq knows of a server holds: PGPASSWORD, ~/.pgpass and service files are looked at. A password in
the URL is never said again. The SQL is written once, with named parameters, and in nothing but types,
locks and the catalogue do the two databases differ. An older table can be read as it is; to write to it,
`init` brings it up to date first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote

from alpha_cli.config.model import Strict, validate
from alpha_cli.core.errors import (
    AlphaError,
    AuthenticationError,
    ConfigurationError,
    InputOutputError,
    InvariantBroken,
    TryAgain,
    Unavailable,
    UsageError,
)
from alpha_cli.core.text import did_you_mean, printable
from alpha_cli.stages.run_strategy.config import StrategyConfig

TABLE = "strategy_configurations"
URLS = "sqlite:///strategies.db or postgresql://user@host:5432/database"
PATIENCE = 5  # seconds to wait for a server to answer, and for a lock that another program holds

#: column -> its definition in PostgreSQL's words; SQLite has others for some of the types.
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

RULE = ": a rule that is not alpha's refuses the row; if it is about another column, give that a default"
MEND = "correct the row, or replace it: alpha strategies db import FILE"

Check = Callable[[StrategyConfig], object]


class Migration(NamedTuple):
    """What `init` did: made the table, or added these columns to an older one, or nothing."""

    created: bool
    added: tuple[str, ...]


def init_command(name: str) -> str:
    """What to run to make or to update the table of the database called `name`."""
    return f"alpha strategies db init --config-db {name}"


def open_table(url: str, *, create: bool = False) -> ConfigurationTable:
    """The table in the database at `url`, which is opened; whether the table is there shows when it is used.

    create  a SQLite file that is not there is made, for `init`

    Raises `UsageError` for a URL of another form, `ConfigurationError` for a database that is not
    there, `Unavailable` for a server that does not answer and `AuthenticationError` for one that refuses.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite" and len(rest) > 1 and rest.startswith("/"):
        return ConfigurationTable(_SQLite(Path(rest[1:]), create=create))
    if scheme in {"postgresql", "postgres"}:
        return ConfigurationTable(_PostgreSQL(url))
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
        """Let go of the database."""
        self._backend.connection.close()

    # --- reading -------------------------------------------------------------------------

    def ids(self) -> list[str]:
        """Every id, sorted."""
        self._columns()
        return sorted(str(row[0]) for row in self._run(f"SELECT id FROM {TABLE}"))  # noqa: S608

    def read_all(self) -> list[StrategyConfig]:
        """Every configuration, active or not, sorted by id. Raises `ConfigurationError` for a bad row."""
        return sorted(map(self._config, self._rows()), key=lambda config: config.id)

    def read(self, strategy_id: str) -> StrategyConfig:
        """The configuration of one strategy. Raises `ConfigurationError` if there is none."""
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
        """Enable or disable a strategy; the rest of its row may even be wrong. Raises `ConfigurationError`."""
        with self.transaction():
            self._row(strategy_id, lock=True)
            self._update(strategy_id, "is_active", active)

    def set_parameters(
        self, strategy_id: str, parameters: Mapping[str, Any], check: Check = lambda _: None
    ) -> StrategyConfig:
        """Change some parameters of a strategy and leave the others; its new configuration.

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
        """All or nothing of what is done inside; what is already in a transaction belongs to it."""
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
        rows = self._run(f"SELECT {', '.join(columns)} FROM {TABLE} {where}", values)  # noqa: S608
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
        """A row as a configuration. Null is the default, as where the column is missing."""
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
        """The columns of a configuration's row, as the database takes them."""
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
        """The columns there are, each with its type. Raises `ConfigurationError` if there is no table of ours."""
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

    def _run(self, sql: str, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """The rows that `sql` gives. Whatever the driver raises becomes an error that says what to do."""
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


# --- the two databases -----------------------------------------------------------------------


class Backend(Protocol):
    """What differs between SQLite and PostgreSQL."""

    name: str
    connection: Any
    placeholder: str  # what `:name` becomes
    begin: str  # in SQLite the write lock is taken at once, not at the first write
    lock_schema: str  # one `init` at a time
    lock_row: str  # after a SELECT whose row is going to be written
    columns: str  # the query for name and type of the columns of :table
    types: Mapping[str, str]

    def meaning(self, error: Exception) -> AlphaError | None:
        """The error to raise instead of what the driver raised; None if it is not the driver's."""


class _SQLite:
    placeholder = r":\1"
    begin = "BEGIN IMMEDIATE"
    lock_schema = lock_row = ""
    columns = "SELECT name, type FROM pragma_table_info(:table)"
    types: Mapping[str, str] = {"JSONB": "TEXT", "NUMERIC": "TEXT", "BIGINT": "INTEGER", "TIMESTAMPTZ": "TEXT"}

    def __init__(self, path: Path, *, create: bool) -> None:
        import sqlite3

        self.name = printable(f"sqlite:///{path}", 300)
        try:
            there, folder = path.exists(), path.is_dir()
        except OSError as error:
            raise ConfigurationError(f"{self.name}: {error.strerror}") from None
        if folder:
            raise ConfigurationError(f"{self.name}: is a folder; name a file")
        if not there and not create:
            raise ConfigurationError(f"{self.name}: no such file; make it: {init_command(self.name)}")
        uri = f"file:{quote(str(path.absolute()))}?mode={'rwc' if create else 'rw'}"
        try:
            self.connection: Any = sqlite3.connect(uri, timeout=PATIENCE, isolation_level=None, uri=True)
        except sqlite3.Error as error:
            raise self.meaning(error) or error from None

    def meaning(self, error: Exception) -> AlphaError | None:
        import sqlite3

        if not isinstance(error, sqlite3.Error):
            return None
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            return TryAgain(f"{self.name}: another program is writing to it; run again when it has ended")
        if code == sqlite3.SQLITE_NOTADB:
            return ConfigurationError(
                f"{self.name}: not a SQLite database; move it away, then {init_command(self.name)}"
            )
        if code == sqlite3.SQLITE_CORRUPT:
            return InvariantBroken(f"{self.name}: {error}; restore a backup")
        if code in {
            sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN,
            sqlite3.SQLITE_PERM,
        }:  # fmt: skip
            return InputOutputError(f"{self.name}: {error}; check the file, its folder and the disk")
        rule = RULE if isinstance(error, sqlite3.IntegrityError) else ""
        return ConfigurationError(f"{self.name}: {error}{rule}")


class _PostgreSQL:
    placeholder = r"%(\1)s"
    begin = "BEGIN"
    lock_schema = f"SELECT pg_advisory_xact_lock(hashtext('{TABLE}'))"
    lock_row = " FOR UPDATE"
    columns = (
        "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute "
        "WHERE attrelid = to_regclass(:table) AND attnum > 0 AND NOT attisdropped"
    )
    types: Mapping[str, str] = {}

    def __init__(self, url: str) -> None:
        self.name = _without_password(url)
        try:
            import psycopg
            from psycopg.types.json import set_json_loads
        except ImportError:
            raise ConfigurationError(f"{self.name}: needs psycopg: pip install 'alpha-cli[postgres]'") from None
        try:
            options: dict[str, Any] = {
                "connect_timeout": PATIENCE, "fallback_application_name": "alpha",
                **psycopg.conninfo.conninfo_to_dict(url), "client_encoding": "UTF8",
            }  # fmt: skip
        except psycopg.Error:  # its text may hold a part of the password
            raise ConfigurationError(
                f"{self.name}: an option or a % sequence in this URL is not one of PostgreSQL's"
            ) from None
        try:
            # Prepared statements and a connection pooler in between do not go together.
            self.connection: Any = psycopg.connect("", autocommit=True, prepare_threshold=None, **options)
        except psycopg.Error as error:
            raise self._refusal(error) from None
        # JSON is decoded in one place, whatever the type of its column.
        set_json_loads(lambda text: text if isinstance(text, str) else text.decode(), self.connection)
        try:
            self.connection.execute("SET TIME ZONE 'UTC'")  # an older table may keep times without a zone
            self.connection.execute(f"SET lock_timeout = '{PATIENCE}s'")
        except psycopg.Error as error:
            self.connection.close()
            raise self.meaning(error) or error from None

    def _refusal(self, error: Exception) -> AlphaError:
        """Why there is no connection. libpq tells by its text alone, and by whether a password was wanted."""
        said = " ".join(str(error).split()).removeprefix("connection failed: ")
        asked = getattr(error, "pgconn", None)
        if re.search(r'database ".*" does not exist', said):
            return ConfigurationError(f"{self.name}: {said}; create it, or name another")
        if re.search(r"for connection option|invalid \w+ value|bad value for", said):
            return ConfigurationError(f"{self.name}: {said}")
        if re.search(r"too many|connection slots", said):
            return Unavailable(f"{self.name}: {said}")
        refused = (
            r'authentication failed|no password supplied|role ".*" does not exist|pg_hba\.conf|permission|permitted'
        )
        if re.search(refused, said) or (asked is not None and (asked.needs_password or asked.used_password)):
            return AuthenticationError(f"{self.name}: {said}; check user and password (PGPASSWORD, ~/.pgpass)")
        return Unavailable(f"{self.name}: {said}")

    def meaning(self, error: Exception) -> AlphaError | None:
        import psycopg

        if not isinstance(error, psycopg.Error):
            return None
        said = " ".join((error.diag.message_primary or str(error)).split())
        state = error.sqlstate or ""
        if state.startswith("28") or state == "42501":
            return AuthenticationError(f"{self.name}: {said}; grant it to this user, or use another")
        if state.startswith("40") or state == "55P03":
            return TryAgain(f"{self.name}: {said}; another program is writing to {TABLE}, run again")
        if state.startswith("XX"):
            return InvariantBroken(f"{self.name}: {said}; see the server's log")
        lost = not state and isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
        if lost or state.startswith(("08", "53", "57P")):
            return Unavailable(f"{self.name}: {said}")
        rule = RULE if isinstance(error, psycopg.IntegrityError) else ""
        return ConfigurationError(f"{self.name}: {said}{rule}")


# What stands in a URL, strictly: a character of a password that is not encoded must not be taken for the host.
_URL = re.compile(
    r"(postgres(?:ql)?)://(?:([^:/?#@]*)(:[^/?#@]*)?@)?((?:[^:/?#@\[\],]*|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?"
    r"(?:,(?:[^:/?#@\[\],]*|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?)*)(?:/([^?#@]*))?(?:\?[^#@]*)?"
)


def _without_password(url: str) -> str:
    """`url` to be shown. Raises `UsageError`, that shows nothing of it, where a password cannot be told apart."""
    found = _URL.fullmatch(url)
    if not found:
        raise UsageError(
            "--config-db: not a URL as in postgresql://user@host:5432/database; in a password write "
            "@ : / ? # % as %40 %3A %2F %3F %23 %25"
        )
    scheme, user, password, hosts, database = found.groups()
    who = "" if user is None else f"{user}:***@" if password else f"{user}@"
    return printable(f"{scheme}://{who}{hosts}/{database or ''}", 300)


# --- values ----------------------------------------------------------------------------------


class _Flag(Strict):
    zerodha_trading_enabled: bool | None = None


def _decoded(name: str, value: Any) -> Any:
    """A JSON column as Python has it, whatever its type. Raises `ValueError`."""
    if not isinstance(value, (str, bytes)):
        return value  # an array, or null
    try:
        return json.loads(value, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        text = value if isinstance(value, str) else value.decode(errors="replace")
        raise ValueError(f"{name}: not JSON ({error}), got {printable(text, 60)}") from None


def _encoded(value: Any, where: str) -> str:
    """`value` as JSON. Raises `ConfigurationError` for what would not come back as it was."""
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
