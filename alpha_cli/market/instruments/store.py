"""The master in SQLite: the content of every dump, with the dates for which it is valid.

A version is one instrument with the dates of the first and the last dump in which it looked so. A changed token,
lot or tick size begins another version; an instrument that a dump no longer has keeps its last date. So a
recording of last year finds what a token meant then. Dates are those of the dumps, not of the loading.
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
    """An instrument as it is in the dumps from `first_seen` to `last_seen`."""

    instrument: Instrument
    first_seen: date
    last_seen: date


class Loaded(NamedTuple):
    """What a dump changed for one exchange.

    instruments  number of instruments in the dump
    new          how many of them were not known before
    changed      how many have another token, lot size, tick size, … than before
    gone         how many of the dump before are missing now; most have expired
    """

    exchange: str
    instruments: int
    new: int
    changed: int
    gone: int


def version_of(row: Sequence[Any]) -> Version:
    """Return the version in a row of `COLUMNS`."""
    token, exchange, symbol, name, segment, kind, lot, tick, expiry, strike, exchange_token, first, last = row
    instrument = Instrument(
        token, exchange, symbol, name, segment, kind, lot, Decimal(tick),
        date.fromisoformat(expiry) if expiry else None,
        None if strike is None else Decimal(strike), exchange_token,
    )  # fmt: skip
    return Version(instrument, date.fromisoformat(first), date.fromisoformat(last))


def connected(path: Path, *, write: bool = False) -> sqlite3.Connection:
    """Open the database at `path`; for reading it must exist, for writing it is created.

    Raises `BadData` for a file of another kind, `TryAgain` while another program writes to it.
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
    """Return a database in memory with one dump of `day`."""
    db = sqlite.connect_in_memory()
    db.executescript(_SCHEMA)
    _insert(db, (Version(instrument, day, day) for instrument in instruments))
    return db


def load(
    path: Path,
    instruments: Sequence[Instrument],
    day: date,
    *,
    force: bool = False,
    progress: Callable[[int], object] | None = None,
) -> list[Loaded]:
    """Add the dump of `day` to the database at `path`, all of it or nothing. Loading it twice changes nothing more.

    force     load it even if an exchange has less than half its former instruments, or many have expired
    progress  called now and then with the number of instruments compared since

    Raises `BadData` for a dump that looks cut short or of another day, and what `connected` raises.
    """
    if not force:
        _check_day(instruments, day)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputOutputError(f"{path.parent}: {error.strerror}; name another file with --db") from None
    with closing(connected(path, write=True)) as db, sqlite_errors(path, REMEDIES), transaction(db):
        counts = Counter(instrument.exchange for instrument in instruments)
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
    """Raise `BadData` for a dump of another day: the dump of a day has hardly any contract that expired before it."""
    expiries = [instrument.expiry for instrument in instruments if instrument.expiry is not None]
    expired = sum(expiry < day for expiry in expiries)
    if expired * 10 > len(expiries):
        raise BadData(
            f"{expired} of {len(expiries)} contracts expired before {day}: an older dump? "
            "Give its day with --date YYYY-MM-DD; --force loads it anyway"
        )


def _check_size(db: sqlite3.Connection, counts: Counter[str], day: date) -> None:
    """Raise `BadData` if an exchange has lost more than half its instruments: the download was cut short."""
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
    """Write the dump of `day` to the database and return what changed, by exchange."""
    before = {exchange: _dump_before(db, exchange, day) for exchange in counts}
    changes = _compared(db, instruments, counts, day, progress)
    _write(db, changes, day)
    made = []
    for exchange, count in sorted(counts.items()):
        db.execute("INSERT OR REPLACE INTO dumps VALUES (?, ?, ?)", (exchange, day.isoformat(), count))
        gone = _gone(db, exchange, before[exchange], day)
        made.append(Loaded(exchange, count, changes.new[exchange], changes.changed[exchange], gone))
    return made


def _dump_before(db: sqlite3.Connection, exchange: str, day: date) -> str | None:
    """Return the day of the last dump of `exchange` before `day`."""
    found: str | None = db.execute(
        "SELECT max(day) FROM dumps WHERE exchange = ? AND day < ?", (exchange, day.isoformat())
    ).fetchone()[0]
    return found


#: Exchange, symbol, expiry and first day of a version, as the database has them.
_Key = tuple[str, str, str, str]


class _Changes(NamedTuple):
    """What a dump changes.

    new, changed  number of instruments by exchange
    added         versions that begin
    extended      versions that last longer: first day, last day, key
    displaced     versions that must not begin on this day any more
    """

    new: Counter[str]
    changed: Counter[str]
    added: list[Version]
    extended: list[tuple[str, ...]]
    displaced: list[_Key]


def _compared(
    db: sqlite3.Connection,
    instruments: Sequence[Instrument],
    exchanges: Iterable[str],
    day: date,
    progress: Callable[[int], object] | None,
) -> _Changes:
    """Compare the dump of `day` with the versions that are known."""
    oldest = min((instrument.expiry for instrument in instruments if instrument.expiry is not None), default=date.max)
    known = _known(db, exchanges, oldest)
    changes = _Changes(Counter(), Counter(), [], [], [])
    for place, instrument in enumerate(instruments, 1):
        versions = known.get((instrument.exchange, instrument.tradingsymbol, instrument.expiry), [])
        same = _continued(versions, instrument, day)
        if same is None:
            (changes.changed if versions else changes.new)[instrument.exchange] += 1
            changes.displaced.extend(_key(old) for old in versions if old.first_seen == day < old.last_seen)
            changes.added.append(Version(instrument, day, day))
        elif not same.first_seen <= day <= same.last_seen:
            first, last = min(same.first_seen, day), max(same.last_seen, day)
            changes.extended.append((first.isoformat(), last.isoformat(), *_key(same)))
        if progress is not None and not place % 4096:
            progress(4096)
    return changes


def _write(db: sqlite3.Connection, changes: _Changes, day: date) -> None:
    db.executemany(
        "UPDATE instruments SET first_seen = ?, last_seen = ? "
        "WHERE exchange = ? AND tradingsymbol = ? AND expiry = ? AND first_seen = ?",
        changes.extended,
    )
    # A corrected dump of an older day changes nothing for the days after it.
    after = (day + timedelta(days=1)).isoformat() if changes.displaced else ""
    db.executemany(
        "UPDATE OR IGNORE instruments SET first_seen = ? "
        "WHERE exchange = ? AND tradingsymbol = ? AND expiry = ? AND first_seen = ?",
        [(after, *key) for key in changes.displaced],
    )
    _insert(db, changes.added)


def _known(
    db: sqlite3.Connection, exchanges: Iterable[str], oldest: date
) -> dict[tuple[str, str, date | None], list[Version]]:
    """Return all versions of the instruments of `exchanges` that do not expire before `oldest`, oldest first."""
    known: dict[tuple[str, str, date | None], list[Version]] = {}
    for exchange in exchanges:
        rows = db.execute(
            f"SELECT {COLUMNS} FROM instruments "  # noqa: S608
            "WHERE exchange = ? AND (expiry = '' OR expiry >= ?) ORDER BY first_seen",
            (exchange, oldest.isoformat()),
        )
        for version in map(version_of, rows):
            instrument = version.instrument
            known.setdefault((instrument.exchange, instrument.tradingsymbol, instrument.expiry), []).append(version)
    return known


def _continued(versions: Sequence[Version], instrument: Instrument, day: date) -> Version | None:
    """Return which of its `versions`, oldest first, `instrument` continues on `day`; None if a new one begins."""
    valid = version_on(versions, day)
    if valid is not None and valid.instrument == instrument:
        return valid
    if valid is not None and valid.last_seen >= day:
        return None
    after = next((version for version in versions if version.first_seen > day), None)
    return after if after is not None and after.instrument == instrument else None


def version_on(versions: Iterable[Version], day: date) -> Version | None:
    """Return which of `versions` was valid on `day`, or None if all began later.

    Of the versions that a dump on or after that day still has it is the one that began last. Between two dumps,
    and after the newest, the earlier dump is valid.
    """
    earlier = [version for version in versions if version.first_seen <= day]
    return max(earlier, key=lambda version: (min(version.last_seen, day), version.first_seen), default=None)


def _gone(db: sqlite3.Connection, exchange: str, before: str | None, day: date) -> int:
    """Return how many instruments of the dump before are missing in this one."""
    if before is None:
        return 0
    count: int = db.execute(
        "SELECT count(*) FROM instruments AS old WHERE exchange = :exchange "
        "AND first_seen <= :before AND last_seen >= :before AND last_seen < :day AND NOT EXISTS ("
        "SELECT 1 FROM instruments AS other WHERE other.exchange = :exchange "
        "AND other.tradingsymbol = old.tradingsymbol AND other.expiry = old.expiry "
        "AND other.first_seen <= :day AND other.last_seen >= :day)",
        {"exchange": exchange, "before": before, "day": day.isoformat()},
    ).fetchone()[0]
    return count


def _key(version: Version) -> _Key:
    instrument = version.instrument
    return instrument.exchange, instrument.tradingsymbol, _text(instrument.expiry), version.first_seen.isoformat()


def _text(day: date | None) -> str:
    return "" if day is None else day.isoformat()


def _insert(db: sqlite3.Connection, versions: Iterable[Version]) -> None:
    db.executemany(
        # A second dump of a day replaces the versions that the first began.
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
