"""Looking instruments up by token, by key or by words of their names.

SQLite is imported and the file opened at the first query. Answers are cached.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alpha_cli.core.errors import BadData, NoInput, UsageError
from alpha_cli.core.text import printable
from alpha_cli.market.instruments.instrument import Instrument

if TYPE_CHECKING:
    import sqlite3

    from alpha_cli.market.instruments.store import Version

ENVIRONMENT = "ALPHA_INSTRUMENTS"
LOAD = "alpha instruments fetch, or alpha instruments load FILE"

_MAX_TOKEN = (1 << 32) - 1
_MAX_WORDS = 32  # to find
_MOST_CACHED = 1 << 16  # answers; more instruments than anyone follows


class Master:
    """The instruments of a database or a dump, looked up read-only.

    `on` is a date in India. A token, and sometimes a symbol, means different instruments over time: with `on` the
    answer is the instrument that was listed then, without it the one of the newest dump.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection], path: Path | None = None) -> None:
        self.path = path
        self._connect = connect
        self._db: sqlite3.Connection | None = None
        self._by_token: dict[tuple[int, date | None], Instrument] = {}
        self._by_key: dict[tuple[str, date | None], Instrument] = {}
        self._futures: dict[tuple[str, date], bool] = {}

    @classmethod
    def of(cls, instruments: Iterable[Instrument]) -> Master:
        """Return a master of these instruments, in memory."""
        listed = list(instruments)

        def connect() -> sqlite3.Connection:
            from alpha_cli.market.instruments.store import in_memory

            return in_memory(listed)

        return cls(connect)

    def by_token(self, token: int, on: date | None = None) -> Instrument | None:
        """Return the instrument of `token`, or None if it is unknown or was not listed on `on`."""
        known = self._by_token.get((token, on))
        if known is None:
            known = _listed(self.versions(token), on)
            if known is not None and len(self._by_token) < _MOST_CACHED:
                self._by_token[token, on] = known
        return known

    def by_key(self, key: str, on: date | None = None) -> Instrument | None:
        """Return the instrument with a key such as `NFO:NIFTY26AUG25000CE`, in any case, or None."""
        known = self._by_key.get((key, on))
        if known is None:
            exchange, _, symbol = key.strip().partition(":")
            found = self._symbols(symbol.strip(), exchange.strip().upper())
            exact = [version for version in found if version.instrument.tradingsymbol == symbol.strip()]
            known = _listed(exact or found, on)
            if known is not None and len(self._by_key) < _MOST_CACHED:
                self._by_key[key, on] = known
        return known

    def by_symbol(self, symbol: str, on: date | None = None) -> list[Instrument]:
        """Return the instruments with this symbol, at most one for each exchange, ordered by exchange."""
        versions: dict[str, list[Version]] = {}
        for version in self._symbols(symbol.strip()):
            versions.setdefault(version.instrument.exchange, []).append(version)
        listed = (_listed(versions[exchange], on) for exchange in sorted(versions))
        return [instrument for instrument in listed if instrument is not None]

    def versions(self, token: int) -> list[Version]:
        """Return every version that `token` has had, oldest first."""
        if not 0 < token <= _MAX_TOKEN:
            return []
        return self._rows("WHERE instrument_token = ? ORDER BY first_seen, last_seen", (token,))

    def history(self, instrument: Instrument) -> list[Version]:
        """Return every version of `instrument`, by its key and expiry, oldest first."""
        expiry = "" if instrument.expiry is None else instrument.expiry.isoformat()
        return self._rows(
            "WHERE exchange = ? AND tradingsymbol = ? AND expiry = ? ORDER BY first_seen",
            (instrument.exchange, instrument.tradingsymbol, expiry),
        )

    def find(
        self, text: str, limit: int = 20, *, exchange: str | None = None, on: date | None = None
    ) -> list[Instrument]:
        """Return instruments that contain every word of `text` in symbol, name, type, segment, strike or expiry.

        Case does not matter. Whole-word matches come first, then the nearest expiry, then the strike. With `on`,
        contracts that have expired by then are left out. Raises `UsageError` for too many words.
        """
        words = text.upper().split()
        if len(words) > _MAX_WORDS:
            raise UsageError(f"{len(words)} words to find: at most {_MAX_WORDS}")
        conditions = [f"instr({_HAYSTACK}, ?)" for _ in words]
        values: list[Any] = list(words)
        if exchange is not None:
            conditions.append("exchange = ?")
            values.append(exchange.upper())
        if on is not None:
            conditions.append("(expiry = '' OR expiry >= ?)")
            values.append(on.isoformat())
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        newest: dict[tuple[str, date | None], Version] = {}
        for version in self._rows(f"{where} ORDER BY last_seen, first_seen", values):
            newest[version.instrument.key, version.instrument.expiry] = version
        ranked = sorted((version.instrument for version in newest.values()), key=lambda found: _rank(found, words))
        return ranked[: max(limit, 0)]

    def has_futures(self, underlying: str, on: date) -> bool:
        """Return whether futures on `underlying` are listed on `on`: such shares have a closing auction."""
        key = (underlying, on)
        if key not in self._futures:
            versions = self._rows("WHERE name = ? AND instrument_type = 'FUT' ORDER BY first_seen", (underlying,))
            self._futures[key] = _listed(versions, on) is not None
        return self._futures[key]

    def near(self, symbol: str, exchange: str | None = None) -> list[str]:
        """Return at most three keys whose symbol resembles `symbol`, for a suggestion."""
        from difflib import get_close_matches

        wanted = symbol.upper()
        rows = self._query(
            "SELECT DISTINCT exchange, tradingsymbol FROM instruments WHERE tradingsymbol >= ? AND tradingsymbol < ? "
            "AND exchange = coalesce(?, exchange) ORDER BY 2, 1 LIMIT 20000",
            (wanted[:2], wanted[:2] + "\U0010ffff", None if exchange is None else exchange.upper()),
        )
        keys: dict[str, str] = {}
        for place, name in rows:
            if abs(len(name) - len(wanted)) <= 4:
                keys.setdefault(name, f"{place}:{name}")
        return [keys[name] for name in get_close_matches(wanted, keys, n=3, cutoff=0.7)]

    def close(self) -> None:
        """Close the file. The next query opens it again."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def __del__(self) -> None:
        """Close the file of a master that nobody uses any more."""
        self.close()

    def __enter__(self) -> Master:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _symbols(self, symbol: str, exchange: str | None = None) -> list[Version]:
        found = self._rows("WHERE tradingsymbol = ? COLLATE NOCASE ORDER BY first_seen", (symbol,))
        return [version for version in found if exchange in {None, version.instrument.exchange}]

    def _rows(self, rest: str, values: Sequence[Any]) -> list[Version]:
        from alpha_cli.market.instruments.store import COLUMNS, version_of

        rows = self._query(f"SELECT {COLUMNS} FROM instruments {rest}", values)  # noqa: S608
        try:
            return [version_of(row) for row in rows]
        except (ArithmeticError, TypeError, ValueError) as error:
            raise BadData(f"{self.path}: damaged: {error}; remove it and load the dumps again") from None

    def _query(self, sql: str, values: Sequence[Any]) -> list[Any]:
        from alpha_cli.market.instruments.store import REMEDIES
        from alpha_cli.storage.sqlite import sqlite_errors

        if self._db is None:
            self._db = self._connect()
        with sqlite_errors(self.path or Path(":memory:"), REMEDIES):
            try:
                return self._db.execute(sql, values).fetchall()
            except UnicodeEncodeError:  # bytes of the command line that are not text; no instrument has such a name
                return []


def default_path(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return the default master: `$ALPHA_INSTRUMENTS`, else in the user's data folder. None: use no master."""
    named = environment.get(ENVIRONMENT)
    if named is not None:
        return Path(named) if named else None
    data = environment.get("XDG_DATA_HOME", "")
    try:
        base = Path(data) if os.path.isabs(data) else Path("~/.local/share").expanduser()  # noqa: PTH117  (XDG's rule)
    except RuntimeError:  # a user without a home
        return None
    return base / "alpha" / "instruments.db"


def open_master(path: Path | None = None) -> Master | None:
    """Return the master at `path`: a database of `alpha instruments load`, or a dump of Kite's.

    Without `path` it is the one at `default_path`, or None if that does not exist. Raises `NoInput` if a file
    that was named does not exist, `BadData` for a faulty dump.
    """
    must_exist = path is not None or bool(os.environ.get(ENVIRONMENT))
    path = path or default_path()
    beginning = None if path is None else _beginning(path, must_exist=must_exist)
    if path is None or beginning is None:
        return None
    from alpha_cli.market.instruments import store

    if beginning == store.MAGIC:
        return Master(partial(store.connected, path), path)
    from alpha_cli.market.instruments.dump import read_dump

    return Master(partial(store.in_memory, read_dump(path)), path)


def _beginning(path: Path, *, must_exist: bool) -> bytes | None:
    """Return the first bytes of the file; none of a pipe, as of `<(zcat dump.gz)`, which can be read only once.

    None if there is no such file and it need not exist. Raises `NoInput`.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return b""
        with path.open("rb") as file:
            return file.read(16)
    except FileNotFoundError:
        if not must_exist:
            return None
        raise NoInput(
            f"instrument master {path} does not exist; make it with {LOAD}; "
            "Kite has the dump at api.kite.trade/instruments"
        ) from None
    except OSError as error:
        raise NoInput(f"instrument master {path}: {error.strerror or error}") from None


def resolve(text: str, master: Master | None, on: date | None = None) -> int:
    """Return the token that `text` names: a token, EXCHANGE:SYMBOL, or a symbol that only one exchange has.

    A token needs no master. Raises `UsageError`, with a suggestion, for an unknown or ambiguous name.
    """
    return _resolved(text, master, on).instrument_token


def look_up(text: str, master: Master, on: date | None = None) -> Instrument:
    """Return the instrument that `text` names, as for `resolve`. Raises `UsageError`."""
    name = text.strip()
    if name.isascii() and name.isdigit():
        found = master.by_token(int(name), on) if int(name) <= _MAX_TOKEN else None
        if found is None:
            raise UsageError(f"instrument {name}: no such token in {_named(master)}")
        return found
    return _resolved(text, master, on)


def _resolved(text: str, master: Master | None, on: date | None) -> Instrument:
    name = text.strip()
    shown = printable(name, 80)
    if name.isascii() and name.lstrip("+-").isdigit():
        if name.startswith(("+", "-")) or len(name) > 10 or not 0 < int(name) <= _MAX_TOKEN:
            raise UsageError(f"instrument {shown}: a token is a number from 1 to {_MAX_TOKEN}")
        return Instrument.unlisted(int(name))
    if not name:
        raise UsageError("instrument '': write a token, EXCHANGE:SYMBOL or a symbol")
    if master is None:
        raise UsageError(f"instrument {shown}: no instrument master to find its token in; make one with {LOAD}")
    exchange, colon, symbol = name.partition(":")
    found = [master.by_key(name, on)] if colon else master.by_symbol(name, on)
    instruments = [instrument for instrument in found if instrument is not None]
    if len(instruments) == 1:
        return instruments[0]
    if instruments:
        keys = ", ".join(instrument.key for instrument in instruments)
        raise UsageError(f"instrument {shown}: on several exchanges; write one of {keys}")
    near = master.near(symbol, exchange) or master.near(symbol) if colon else master.near(name)
    hint = f", did you mean {' or '.join(near)}?" if near else f"; look for it with alpha instruments find {shown}"
    raise UsageError(f"instrument {shown}: not in {_named(master)}{hint}")


def _named(master: Master) -> str:
    return "the instrument master" if master.path is None else f"the instrument master {master.path}"


def _listed(versions: Sequence[Version], on: date | None) -> Instrument | None:
    """Return which of `versions` was valid on `on`; without `on`, the one of the newest dump.

    Before the first dump it is the first one: contracts are listed for weeks before a dump is loaded.
    """
    from alpha_cli.market.instruments.store import version_on

    if on is None:
        best = max(versions, key=lambda version: (version.last_seen, version.first_seen), default=None)
    else:
        live = [version for version in versions if _lives(version.instrument, on)]
        best = version_on(live, on) or min(live, key=lambda version: version.first_seen, default=None)
    return None if best is None else best.instrument


def _lives(instrument: Instrument, on: date) -> bool:
    return instrument.expiry is None or instrument.expiry >= on


_MONTHS = "JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC"

#: The text in which words are searched; the expiry as 2026-08-25 and 25AUG2026.
_HAYSTACK = (
    "upper(exchange || ':' || tradingsymbol || ' ' || name || ' ' || instrument_type || ' ' || "
    "CASE segment WHEN 'INDICES' THEN 'INDEX' ELSE segment END || ' ' || "  # INDICES contains CE
    "coalesce(strike, '') || ' ' || expiry || ' ' || substr(expiry, 9, 2) || "
    f"substr('{_MONTHS}', max(substr(expiry, 6, 2) - 1, 0) * 3 + 1, CASE expiry WHEN '' THEN 0 ELSE 3 END) || "
    "substr(expiry, 1, 4))"
)


def _rank(instrument: Instrument, words: Sequence[str]) -> tuple[Any, ...]:
    whole = set(_words_of(instrument))
    symbol, names = instrument.tradingsymbol.upper(), instrument.name.upper().split()
    distance = sum(
        0 if word in whole else 1 if symbol.startswith(word) else 2 if word in names else 3 for word in words
    )
    return (
        distance,
        instrument.expiry or date.min,
        instrument.strike or 0,
        instrument.exchange,
        instrument.tradingsymbol,
    )


def _words_of(instrument: Instrument) -> Iterator[str]:
    """Yield the words that a search word may match as a whole."""
    yield from (instrument.key.upper(), instrument.tradingsymbol.upper(), instrument.name.upper())
    yield from (
        instrument.exchange,
        instrument.segment,
        instrument.instrument_type,
        instrument.kind.upper(),
        *instrument.segment.split("-"),
    )
    if instrument.strike is not None:
        yield str(instrument.strike)
    if instrument.expiry is not None:
        day, month = f"{instrument.expiry.day:02}", _MONTHS[instrument.expiry.month * 3 - 3 :][:3]
        yield from (
            instrument.expiry.isoformat(),
            month,
            str(instrument.expiry.year),
            day + month,
            f"{day}{month}{instrument.expiry.year}",
        )
