"""Looking instruments up, by token, by key or by what a person remembers of their name.

SQLite is imported and the file opened at the first look. What was found once is kept.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
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
_KEPT = 1 << 16  # answers; more instruments than anyone follows


class Master:
    """The instruments of a database or a dump, looked up read-only.

    `on` is a date in India. A token, and now and then a symbol, has meant several things over time: with `on` it is
    what was alive then, without it what the newest dump that has it says.
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
        """A master of just these, kept in memory."""
        given = list(instruments)

        def connect() -> sqlite3.Connection:
            from alpha_cli.market.instruments.store import in_memory

            return in_memory(given)

        return cls(connect)

    def by_token(self, token: int, on: date | None = None) -> Instrument | None:
        """What `token` stands for, or None if it is not known, or stood for nothing that was alive on `on`."""
        known = self._by_token.get((token, on))
        if known is None:
            known = _alive(self.versions(token), on)
            if known is not None and len(self._by_token) < _KEPT:
                self._by_token[token, on] = known
        return known

    def by_key(self, key: str, on: date | None = None) -> Instrument | None:
        """The instrument with a key such as `NFO:NIFTY26AUG25000CE`, in whatever case, or None."""
        known = self._by_key.get((key, on))
        if known is None:
            exchange, _, symbol = key.strip().partition(":")
            found = self._symbols(symbol.strip(), exchange.strip().upper())
            exact = [version for version in found if version.instrument.tradingsymbol == symbol.strip()]
            known = _alive(exact or found, on)
            if known is not None and len(self._by_key) < _KEPT:
                self._by_key[key, on] = known
        return known

    def by_symbol(self, symbol: str, on: date | None = None) -> list[Instrument]:
        """What has this symbol, at most one for each exchange, in their order."""
        versions: dict[str, list[Version]] = {}
        for version in self._symbols(symbol.strip()):
            versions.setdefault(version.instrument.exchange, []).append(version)
        alive = (_alive(versions[exchange], on) for exchange in sorted(versions))
        return [one for one in alive if one is not None]

    def versions(self, token: int) -> list[Version]:
        """All that `token` has stood for, oldest first."""
        if not 0 < token <= _MAX_TOKEN:
            return []
        return self._rows("WHERE instrument_token = ? ORDER BY first_seen, last_seen", (token,))

    def history(self, instrument: Instrument) -> list[Version]:
        """All that the dumps have said of `instrument` (its key and its expiry), oldest first."""
        expiry = "" if instrument.expiry is None else instrument.expiry.isoformat()
        return self._rows(
            "WHERE exchange = ? AND tradingsymbol = ? AND expiry = ? ORDER BY first_seen",
            (instrument.exchange, instrument.tradingsymbol, expiry),
        )

    def find(
        self, text: str, limit: int = 20, *, exchange: str | None = None, on: date | None = None
    ) -> list[Instrument]:
        """What every word of `text` occurs in, in any case: symbol, name, type, segment, strike or date of expiry.

        Best first: what words match as a whole, then the nearest expiry, then the strike. With `on`, what has
        expired by then is left out. Raises `UsageError` for more words than anybody means.
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
        ranked = sorted((version.instrument for version in newest.values()), key=lambda one: _rank(one, words))
        return ranked[: max(limit, 0)]

    def has_futures(self, underlying: str, on: date) -> bool:
        """Whether futures on `underlying` are listed on `on`: such shares close by auction."""
        key = (underlying, on)
        if key not in self._futures:
            versions = self._rows("WHERE name = ? AND instrument_type = 'FUT' ORDER BY first_seen", (underlying,))
            self._futures[key] = _alive(versions, on) is not None
        return self._futures[key]

    def near(self, symbol: str, exchange: str | None = None) -> list[str]:
        """Keys whose symbol looks like `symbol`, for a suggestion; at most three."""
        from difflib import get_close_matches

        wanted = symbol.upper()
        rows = self._query(
            "SELECT DISTINCT exchange, tradingsymbol FROM instruments WHERE tradingsymbol >= ?1 AND tradingsymbol < ?2 "
            "AND exchange = coalesce(?3, exchange) ORDER BY 2, 1 LIMIT 20000",
            (wanted[:2], wanted[:2] + "\U0010ffff", None if exchange is None else exchange.upper()),
        )
        keys: dict[str, str] = {}
        for place, name in rows:
            if abs(len(name) - len(wanted)) <= 4:
                keys.setdefault(name, f"{place}:{name}")
        return [keys[name] for name in get_close_matches(wanted, keys, n=3, cutoff=0.7)]

    def close(self) -> None:
        """Let go of the file; it is opened again if need be."""
        if self._db is not None:
            self._db.close()
            self._db = None

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
            except UnicodeEncodeError:  # bytes of a command line that are no text: no instrument is called so
                return []


def default_path(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Where the master is if nobody says: `$ALPHA_INSTRUMENTS`, else in the user's data. None: there is to be none."""
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
    """The master at `path`: a database of `alpha instruments load`, or a dump of Kite's.

    Without `path` it is the one at `default_path`, and None where nobody has made one. Raises `NoInput` for a
    named file that is not there, `BadData` for a dump that is wrong.
    """
    named = path is not None or bool(os.environ.get(ENVIRONMENT))
    path = path or default_path()
    if path is None:
        return None
    try:
        beginning = b""
        if stat.S_ISREG(path.stat().st_mode):  # a pipe, as of `<(zcat dump.gz)`, can be read but once
            with path.open("rb") as file:
                beginning = file.read(16)
    except FileNotFoundError:
        if not named:
            return None
        raise NoInput(
            f"instrument master {path} does not exist; make it with {LOAD}; "
            "Kite gives the dump at api.kite.trade/instruments"
        ) from None
    except OSError as error:
        raise NoInput(f"instrument master {path}: {error.strerror or error}") from None
    from alpha_cli.market.instruments import store

    if beginning == store.MAGIC:
        found = path

        def connect() -> sqlite3.Connection:
            return store.connected(found)

        return Master(connect, path)
    from alpha_cli.market.instruments.dump import read_dump

    instruments = read_dump(path)
    return Master(lambda: store.in_memory(instruments), path)


def resolve(text: str, master: Master | None, on: date | None = None) -> int:
    """The token of `text`: a token, EXCHANGE:SYMBOL, or a symbol that only one exchange has.

    A token is taken as it is, without a master too. Raises `UsageError` for what is not known or could be
    several, and says what was likely meant.
    """
    return _resolved(text, master, on).instrument_token


def look_up(text: str, master: Master, on: date | None = None) -> Instrument:
    """The instrument that `text` names, as for `resolve`. Raises `UsageError`."""
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
    instruments = [one for one in found if one is not None]
    if len(instruments) == 1:
        return instruments[0]
    if instruments:
        keys = ", ".join(one.key for one in instruments)
        raise UsageError(f"instrument {shown}: on several exchanges; write one of {keys}")
    near = master.near(symbol, exchange) or master.near(symbol) if colon else master.near(name)
    hint = f", did you mean {' or '.join(near)}?" if near else f"; look for it with alpha instruments find {shown}"
    raise UsageError(f"instrument {shown}: not in {_named(master)}{hint}")


def _named(master: Master) -> str:
    return "the instrument master" if master.path is None else f"the instrument master {master.path}"


def _alive(versions: Sequence[Version], on: date | None) -> Instrument | None:
    """Which of `versions` held on `on`; without it, that of the newest dump.

    Before the first dump it is the first, for a contract is listed for weeks before anybody looks.
    """
    from alpha_cli.market.instruments.store import held

    if on is None:
        best = max(versions, key=lambda version: (version.last_seen, version.first_seen), default=None)
    else:
        living = [one for one in versions if one.instrument.expiry is None or one.instrument.expiry >= on]
        best = held(living, on) or min(living, key=lambda one: one.first_seen, default=None)
    return None if best is None else best.instrument


_MONTHS = "JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC"

#: All that a word may occur in. Of the expiry: 2026-08-25 and 25AUG2026.
_HAYSTACK = (
    "upper(exchange || ':' || tradingsymbol || ' ' || name || ' ' || instrument_type || ' ' || "
    "CASE segment WHEN 'INDICES' THEN 'INDEX' ELSE segment END || ' ' || "  # or CE would find every index
    "coalesce(strike, '') || ' ' || expiry || ' ' || substr(expiry, 9, 2) || "
    f"substr('{_MONTHS}', max(substr(expiry, 6, 2) - 1, 0) * 3 + 1, CASE expiry WHEN '' THEN 0 ELSE 3 END) || "
    "substr(expiry, 1, 4))"
)


def _rank(one: Instrument, words: Sequence[str]) -> tuple[Any, ...]:
    whole = set(_words_of(one))
    symbol, names = one.tradingsymbol.upper(), one.name.upper().split()
    distance = sum(
        0 if word in whole else 1 if symbol.startswith(word) else 2 if word in names else 3 for word in words
    )
    return distance, one.expiry or date.min, one.strike or 0, one.exchange, one.tradingsymbol


def _words_of(one: Instrument) -> Iterator[str]:
    """What a word may match as a whole."""
    yield from (one.key.upper(), one.tradingsymbol.upper(), one.name.upper())
    yield from (one.exchange, one.segment, one.instrument_type, one.kind.upper(), *one.segment.split("-"))
    if one.strike is not None:
        yield str(one.strike)
    if one.expiry is not None:
        day, month = f"{one.expiry.day:02}", _MONTHS[one.expiry.month * 3 - 3 :][:3]
        yield from (one.expiry.isoformat(), month, str(one.expiry.year), day + month, f"{day}{month}{one.expiry.year}")
