"""Strategy configurations in a PostgreSQL database."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from alpha_cli.core.errors import (
    AlphaError,
    AuthenticationError,
    ConfigurationError,
    InvariantBroken,
    TryAgain,
    Unavailable,
    UsageError,
)
from alpha_cli.core.text import printable
from alpha_cli.stages.run_strategy.config_backend import PATIENCE, RULE, TABLE


class PostgreSQLBackend:
    """A connection to the PostgreSQL database at `url`. Raise `AlphaError`."""

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
        """Return why there is no connection. libpq shows it only in its text, and in whether it needed a password."""
        message = " ".join(str(error).split()).removeprefix("connection failed: ")
        asked = getattr(error, "pgconn", None)
        if re.search(r'database ".*" does not exist', message):
            return ConfigurationError(f"{self.name}: {message}; create it, or name another")
        if re.search(r"for connection option|invalid \w+ value|bad value for", message):
            return ConfigurationError(f"{self.name}: {message}")
        if re.search(r"too many|connection slots", message):
            return Unavailable(f"{self.name}: {message}")
        refused = (
            r'authentication failed|no password supplied|role ".*" does not exist|pg_hba\.conf|permission|permitted'
        )
        if re.search(refused, message) or (asked is not None and (asked.needs_password or asked.used_password)):
            return AuthenticationError(f"{self.name}: {message}; check user and password (PGPASSWORD, ~/.pgpass)")
        return Unavailable(f"{self.name}: {message}")

    def meaning(self, error: Exception) -> AlphaError | None:
        """Return the error to raise instead of psycopg's; None if it is not psycopg's."""
        import psycopg

        if not isinstance(error, psycopg.Error):
            return None
        message = " ".join((error.diag.message_primary or str(error)).split())
        state = error.sqlstate or ""
        if state.startswith("28") or state == "42501":
            return AuthenticationError(f"{self.name}: {message}; grant it to this user, or use another")
        if state.startswith("40") or state == "55P03":
            return TryAgain(f"{self.name}: {message}; another program is writing to {TABLE}, run again")
        if state.startswith("XX"):
            return InvariantBroken(f"{self.name}: {message}; see the server's log")
        lost = not state and isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
        if lost or state.startswith(("08", "53", "57P")):
            return Unavailable(f"{self.name}: {message}")
        rule = RULE if isinstance(error, psycopg.IntegrityError) else ""
        return ConfigurationError(f"{self.name}: {message}{rule}")


# The parts of a URL, strictly: a character of a password that is not encoded must not be taken for the host.
_URL = re.compile(
    r"(postgres(?:ql)?)://(?:([^:/?#@]*)(:[^/?#@]*)?@)?((?:[^:/?#@\[\],]*|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?"
    r"(?:,(?:[^:/?#@\[\],]*|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?)*)(?:/([^?#@]*))?(?:\?[^#@]*)?"
)


def _without_password(url: str) -> str:
    """Return `url` to be shown. Raise `UsageError`, which shows nothing of it, if it cannot tell the password."""
    found = _URL.fullmatch(url)
    if not found:
        raise UsageError(
            "--config-db: not a URL as in postgresql://user@host:5432/database; in a password write "
            "@ : / ? # % as %40 %3A %2F %3F %23 %25"
        )
    scheme, user, password, hosts, database = found.groups()
    who = "" if user is None else f"{user}:***@" if password else f"{user}@"
    return printable(f"{scheme}://{who}{hosts}/{database or ''}", 300)
