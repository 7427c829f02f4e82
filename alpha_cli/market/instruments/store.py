"""The master in SQLite: what each dump said, and from when to when it said so.

A version is one instrument with the dates of the first and the last dump that had it so. A changed token, lot
or tick size begins another version; what a dump no longer has keeps its last date. So a recording of last year
finds what a token meant then. Dates are those of the dumps, not of the loading.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from alpha_cli.core.errors import BadData, ConfigurationError, InputOutputError, TryAgain
from alpha_cli.market.instruments.instrument import Instrument
from alpha_cli.storage import sqlite
from alpha_cli.storage.sqlite import Fault, Remedy, sqlite_errors, transaction

if TYPE_CHECKING:
    import sqlite3

APPLICATION_ID = 0x616C7069  # "alpi"
VERSION = 1
PATIENCE = 5.0  # seconds to wait for a lock that another program holds
MAGIC = b"SQLite format 3\0"

_DAMAGED = Remedy(
    BadData, "{name}: damaged, or changed by another program: {error}; remove it and load the dumps again"
)
#: What to do about an error of SQLite on a master.
REMEDIES = {
    Fault.BUSY: Remedy(TryAgain, "{name}: another program is writing to it; run this again when it is done"),
    Fault.NOT_A_DATABASE: Remedy(
        BadData, "{name}: not a SQLite database; name one made by alpha instruments load"
    ),
    Fault.FULL: Remedy(InputOutputError, "{name}: the disk is full; nothing of this dump was kept"),
    Fault.DISK: Remedy(InputOutputError, "{name}: {error}; is it a file that may be read and written?"),
    Fault.DAMAGED: _DAMAGED,
    Fault.REFUSED: _DAMAGED,
    Fault.OTHER: _DAMAGED,
}  # fmt: skip

_SCHEMA = """
CREATE TABLE instruments (
    exchange TEXT NOT NULL,
    tradingsymbol TEXT NOT NULL,
    expiry TEXT NOT NULL,               -- '' for none
    first_seen TEXT NOT NULL,
    last_seen TEXT NOT NULL,
    instrument_token INTEGER NOT NULL,
    exchange_token TEXT NOT NULL,
    name TEXT NOT NULL,
    segment TEXT NOT NULL,
    instrument_type TEXT NOT NULL,
    lot_size INTEGER NOT NULL,          -- units
    tick_size TEXT NOT NULL,            -- rupees, exact
    strike TEXT,                        -- rupees, exact
    PRIMARY KEY (exchange, tradingsymbol, expiry, first_seen)
) WITHOUT ROWID;
CREATE INDEX instruments_by_token ON instruments (instrument_token);
CREATE INDEX instruments_by_name ON instruments (name, instrument_type);
CREATE INDEX instruments_by_symbol ON instruments (tradingsymbol COLLATE NOCASE);
CREATE TABLE dumps (
    exchange TEXT NOT NULL,
    day TEXT NOT NULL,
    instruments INTEGER NOT NULL,
    PRIMARY KEY (exchange, day)
) WITHOUT ROWID;
"""

COLUMNS = (
    "instrument_token, exchange, tradingsymbol, name, segment, instrument_type, lot_size, tick_size, expiry, strike, "
    "exchange_token, first_seen, last_seen"
)


class Version(NamedTuple):
    """An instrument as the dumps from `first_seen` to `last_seen` have it."""

    instrument: Instrument
    first_seen: date
    last_seen: date


class Loaded(NamedTuple):
    """What a dump changed in one exchange.

    instruments  how many it has
    new          of them not known before
    changed      known, but with another token, lot size, tick size, … now
    gone         in the dump before this one, but no longer; most have expired
    """

    exchange: str
    instruments: int
    new: int
    changed: int
    gone: int


def version_of(row: Sequence[Any]) -> Version:
    """From a row of `COLUMNS`."""
    token, exchange, symbol, name, segment, kind, lot, tick, expiry, strike, exchange_token, first, last = row
    instrument = Instrument(
        token, exchange, symbol, name, segment, kind, lot, Decimal(tick),
        date.fromisoformat(expiry) if expiry else None,
        None if strike is None else Decimal(strike), exchange_token,
    )  # fmt: skip
    return Version(instrument, date.fromisoformat(first), date.fromisoformat(last))


def connected(path: Path, *, write: bool = False) -> sqlite3.Connection:
    """The database at `path`; for reading it must be there, for writing it is made.

    Raises `BadData` for a file that is something else, `TryAgain` while another program writes to it.
    """
    with sqlite_errors(path, REMEDIES):
        db = sqlite.connect(path, "rwc" if write else "ro", patience=PATIENCE, any_thread=True)
        try:
            db.execute("PRAGMA trusted_schema = OFF")
            _check_identity(db, path, write=write)
        except BaseException:
            db.close()
            raise
    return db


def in_memory(instruments: Iterable[Instrument], day: date = date.min) -> sqlite3.Connection:
    """A database of its own with one dump of `day` in it; gone when it is closed."""
    db = sqlite.connect_in_memory()
    db.executescript(_SCHEMA)
    _insert(db, (Version(one, day, day) for one in instruments))
    return db


def load(
    path: Path,
    instruments: Sequence[Instrument],
    day: date,
    *,
    force: bool = False,
    progress: Callable[[int], object] | None = None,
) -> list[Loaded]:
    """Add the dump of `day` to the database at `path`, all of it or nothing; the same dump twice is loaded once.

    force     also if an exchange has less than half the instruments of the dump before, or many have expired
    progress  told how many instruments were compared, now and then

    Raises `BadData` for a dump that looks cut short or of another day, and what `connected` raises.
    """
    if not force:
        _check_day(instruments, day)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputOutputError(f"{path.parent}: {error.strerror}; name another file with --db") from None
    with closing(connected(path, write=True)) as db, sqlite_errors(path, REMEDIES), transaction(db):
        counts = Counter(one.exchange for one in instruments)
        if not force:
            _check_size(db, counts, day)
        return _merge(db, instruments, counts, day, progress)


def _check_identity(db: sqlite3.Connection, path: Path, *, write: bool) -> None:
    """Raise unless the database is ours. A new file is made ours, in one transaction, if we may write."""
    if not write:
        _identify(db, path)
        return
    with transaction(db):  # two programs may both find it new
        tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if _identity(db) != (0, 0) or tables:
            _identify(db, path)
            return
        for statement in filter(str.strip, _SCHEMA.split(";\n")):
            db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {VERSION}")


def _identify(db: sqlite3.Connection, path: Path) -> None:
    """Raise `BadData` for a database of another program, `ConfigurationError` for one of another version."""
    program, version = _identity(db)
    if program != APPLICATION_ID:
        raise BadData(f"{path}: not an instrument master; name one made by alpha instruments load")
    if version != VERSION:
        raise ConfigurationError(
            f"{path}: instrument master of version {version}, this alpha knows {VERSION}; load the dumps anew"
        )


def _identity(db: sqlite3.Connection) -> tuple[int, int]:
    """Return which program the database belongs to, and the version of its schema."""
    return db.execute("PRAGMA application_id").fetchone()[0], db.execute("PRAGMA user_version").fetchone()[0]


def _check_day(instruments: Sequence[Instrument], day: date) -> None:
    """Refuse a dump of another day: one of a morning has hardly a contract that expired before it."""
    expiries = [one.expiry for one in instruments if one.expiry is not None]
    expired = sum(expiry < day for expiry in expiries)
    if expired * 10 > len(expiries):
        raise BadData(
            f"{expired} of {len(expiries)} contracts expired before {day}: an older dump? "
            "Say of which day it is with --date YYYY-MM-DD; --force loads it nevertheless"
        )


def _check_size(db: sqlite3.Connection, counts: Counter[str], day: date) -> None:
    """Refuse a dump in which an exchange has lost more than half its instruments: a download cut short."""
    for exchange, count in sorted(counts.items()):
        row = db.execute(
            "SELECT day, instruments FROM dumps WHERE exchange = ? AND day <= ? ORDER BY day DESC LIMIT 1",
            (exchange, day.isoformat()),
        ).fetchone()
        if row is not None and count * 2 < row[1]:
            raise BadData(
                f"{exchange}: {count} instruments, where the dump of {row[0]} has {row[1]}: cut short? "
                "If it is right, load it with --force"
            )


def _merge(
    db: sqlite3.Connection,
    instruments: Sequence[Instrument],
    counts: Counter[str],
    day: date,
    progress: Callable[[int], object] | None,
) -> list[Loaded]:
    before = {
        exchange: db.execute(
            "SELECT max(day) FROM dumps WHERE exchange = ? AND day < ?", (exchange, day.isoformat())
        ).fetchone()[0]
        for exchange in counts
    }
    oldest = min((one.expiry for one in instruments if one.expiry is not None), default=date.max)
    known = _known(db, counts, oldest)
    new: Counter[str] = Counter()
    changed: Counter[str] = Counter()
    extended: list[tuple[str, str, str, str, str, str]] = []
    added: list[Version] = []
    displaced: list[tuple[str, str, str, str]] = []
    for place, one in enumerate(instruments, 1):
        versions = known.get((one.exchange, one.tradingsymbol, one.expiry), [])
        same = _continued(versions, one, day)
        if same is None:
            (changed if versions else new)[one.exchange] += 1
            displaced += [_key(old) for old in versions if old.first_seen == day < old.last_seen]
            added.append(Version(one, day, day))
        elif not same.first_seen <= day <= same.last_seen:
            extended.append((min(same.first_seen, day).isoformat(), max(same.last_seen, day).isoformat(), *_key(same)))
        if progress is not None and not place % 4096:
            progress(4096)
    db.executemany(
        "UPDATE instruments SET first_seen = ?, last_seen = ? "
        "WHERE exchange = ? AND tradingsymbol = ? AND expiry = ? AND first_seen = ?",
        extended,
    )
    # An older dump that is corrected says nothing of the days after it.
    after = (day + timedelta(days=1)).isoformat() if displaced else ""
    db.executemany(
        "UPDATE OR IGNORE instruments SET first_seen = ? "
        "WHERE exchange = ? AND tradingsymbol = ? AND expiry = ? AND first_seen = ?",
        [(after, *key) for key in displaced],
    )
    _insert(db, added)
    made = []
    for exchange, count in sorted(counts.items()):
        db.execute("INSERT OR REPLACE INTO dumps VALUES (?, ?, ?)", (exchange, day.isoformat(), count))
        made.append(
            Loaded(exchange, count, new[exchange], changed[exchange], _gone(db, exchange, before[exchange], day))
        )
    return made


def _known(
    db: sqlite3.Connection, exchanges: Iterable[str], oldest: date
) -> dict[tuple[str, str, date | None], list[Version]]:
    """Every version of the instruments of these exchanges that do not expire before `oldest`, oldest first."""
    known: dict[tuple[str, str, date | None], list[Version]] = {}
    for exchange in exchanges:
        rows = db.execute(
            f"SELECT {COLUMNS} FROM instruments "  # noqa: S608
            "WHERE exchange = ? AND (expiry = '' OR expiry >= ?) ORDER BY first_seen",
            (exchange, oldest.isoformat()),
        )
        for version in map(version_of, rows):
            one = version.instrument
            known.setdefault((one.exchange, one.tradingsymbol, one.expiry), []).append(version)
    return known


def _continued(versions: Sequence[Version], one: Instrument, day: date) -> Version | None:
    """Which of the `versions` of an instrument, oldest first, goes on on `day` with `one`; None: a new one begins."""
    holding = held(versions, day)
    if holding is not None and holding.instrument == one:
        return holding
    if holding is not None and holding.last_seen >= day:
        return None
    after = next((version for version in versions if version.first_seen > day), None)
    return after if after is not None and after.instrument == one else None


def held(versions: Iterable[Version], day: date) -> Version | None:
    """Which of `versions` held on `day`: of those that a dump on or after it still has, the one begun last.

    Between two dumps, and after the newest, the dump before holds. None if all began later.
    """
    begun = [version for version in versions if version.first_seen <= day]
    return max(begun, key=lambda version: (min(version.last_seen, day), version.first_seen), default=None)


def _gone(db: sqlite3.Connection, exchange: str, before: str | None, day: date) -> int:
    """How many instruments the dump before had that this one has not."""
    if before is None:
        return 0
    count: int = db.execute(
        "SELECT count(*) FROM instruments AS old WHERE exchange = ?1 AND first_seen <= ?2 AND last_seen >= ?2 "
        "AND last_seen < ?3 AND NOT EXISTS (SELECT 1 FROM instruments AS other WHERE other.exchange = ?1 "
        "AND other.tradingsymbol = old.tradingsymbol AND other.expiry = old.expiry "
        "AND other.first_seen <= ?3 AND other.last_seen >= ?3)",
        (exchange, before, day.isoformat()),
    ).fetchone()[0]
    return count


def _key(version: Version) -> tuple[str, str, str, str]:
    one = version.instrument
    return one.exchange, one.tradingsymbol, _text(one.expiry), version.first_seen.isoformat()


def _text(day: date | None) -> str:
    return "" if day is None else day.isoformat()


def _insert(db: sqlite3.Connection, versions: Iterable[Version]) -> None:
    db.executemany(
        # A dump of the same day replaces what the one before it began that day.
        f"INSERT OR REPLACE INTO instruments ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        (
            (
                one.instrument_token, one.exchange, one.tradingsymbol, one.name, one.segment, one.instrument_type,
                one.lot_size, str(one.tick_size), _text(one.expiry), None if one.strike is None else str(one.strike),
                one.exchange_token, first.isoformat(), last.isoformat(),
            )
            for one, first, last in versions
        ),
    )  # fmt: skip
