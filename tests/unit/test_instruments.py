"""The instrument master: what of a dump is believed, what it meant on which day, and how it is looked up."""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st
from support.events import signal, stream, tick
from support.examples import examples
from support.instrument_dumps import CALL, FUTURE, HEADER, INDEX, ROWS, SHARE, SHARE_BSE, changed, dump_file, text_of
from support.processes import DEADLINE, environment, run_alpha, shared

from alpha_cli.cli.app import execute
from alpha_cli.config.files import packaged
from alpha_cli.core.codec import decode
from alpha_cli.core.errors import BadData, ConfigurationError, InputOutputError, NoInput, TryAgain, UsageError
from alpha_cli.core.events import Tick
from alpha_cli.market.instruments import Instrument, Master, dump, open_master, resolve
from alpha_cli.market.instruments.dump import read_dump
from alpha_cli.market.instruments.freeze import FreezeTable, Limit, freeze_quantity, load_freeze_table
from alpha_cli.market.instruments.master import default_path, look_up
from alpha_cli.market.instruments.store import Loaded, load
from alpha_cli.stages.run_strategy.config import load_file

DAY = date(2026, 8, 18)
LATER = DAY + timedelta(days=1)


def instruments(*rows: str) -> list[Instrument]:
    """What the dump with these rows says."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return read_dump(dump_file(Path(folder), *rows))


def loaded(path: Path, *days: tuple[date, Sequence[str]], **options: Any) -> Master:
    """The master of these dumps, loaded in this order."""
    for day, rows in days:
        load(path, instruments(*rows), day, **options)
    master = open_master(path)
    assert master is not None
    return master


def known(master: Master) -> list[tuple[Any, ...]]:
    """All versions that the database of `master` has."""
    assert master.path is not None
    db = sqlite3.connect(master.path)
    try:
        return db.execute("SELECT * FROM instruments ORDER BY 1, 2, 3, 4").fetchall()
    finally:
        db.close()


# --- one instrument --------------------------------------------------------------------------


def test_a_row_becomes_an_instrument(tmp_path: Path) -> None:
    """Every field, numbers without the zeros that say nothing."""
    made = read_dump(dump_file(tmp_path, *ROWS))
    assert made[4] == Instrument(
        15845634, "NFO", "NIFTY26AUG25000CE", "NIFTY", "NFO-OPT", "CE", 65, Decimal("0.05"), date(2026, 8, 25),
        Decimal("25000"), "61897",
    )  # fmt: skip
    assert str(made[4].strike) == "25000"
    assert [one.key for one in made] == [
        "NSE:NIFTY 50", "NSE:INFY", "BSE:INFY", "NFO:NIFTY26AUGFUT", "NFO:NIFTY26AUG25000CE",
    ]  # fmt: skip
    assert [one.kind for one in made] == ["index", "equity", "equity", "future", "option"]
    assert [one.underlying for one in made] == ["NIFTY 50", "INFY", "INFY", "NIFTY", "NIFTY"]


def test_an_index_without_lot_and_tick_has_those_of_a_token_without_a_master(tmp_path: Path) -> None:
    """Kite gives it zeros; a tick of 0 is nothing to round to."""
    (index,) = read_dump(dump_file(tmp_path, INDEX))
    unlisted = Instrument.unlisted(256265)
    assert (index.lot_size, index.tick_size) == (unlisted.lot_size, unlisted.tick_size) == (1, Decimal("0.05"))
    assert unlisted.key == "NSE:256265"
    assert unlisted.kind == "equity"


# --- reading a dump --------------------------------------------------------------------------


def test_a_dump_is_read_plain_or_compressed_whatever_it_is_called(tmp_path: Path) -> None:
    """What it is shows in its first bytes; a BOM and CRLF are accepted."""
    text = text_of(*ROWS)
    expected = instruments(*ROWS)
    for data in (text, gzip.compress(text), b"\xef\xbb\xbf" + text, text.replace(b"\n", b"\r\n")):
        (tmp_path / "a").write_bytes(data)
        assert read_dump(tmp_path / "a") == expected


def test_columns_may_stand_in_any_order_and_some_may_lack(tmp_path: Path) -> None:
    """Those that only derivatives need, the name and the exchange's own token."""
    header = "exchange,segment,tick_size,lot_size,instrument_type,tradingsymbol,instrument_token,colour"
    (made,) = read_dump(dump_file(tmp_path, "NSE,NSE,0.05,1,EQ,INFY,408065,red", header=header))
    assert made == Instrument(408065, "NSE", "INFY")


BAD_ROWS = {
    "token of zero": (changed(SHARE, instrument_token="0"), "instrument_token '0' is not a number from 1"),
    "token too large": (changed(SHARE, instrument_token=str(1 << 32)), "instrument_token"),
    "token of digits of another script": (changed(SHARE, instrument_token="४०८"), "instrument_token"),
    "no symbol": (changed(SHARE, tradingsymbol=""), "tradingsymbol '' is not valid"),
    "symbol with spaces around": (changed(SHARE, tradingsymbol=" INFY"), "tradingsymbol"),
    "symbol with an escape": (changed(SHARE, tradingsymbol="IN\x1bFY"), "tradingsymbol"),
    "symbol that turns text around": (changed(SHARE, tradingsymbol="IN\u202eFY"), "tradingsymbol"),
    "symbol too long": (changed(SHARE, tradingsymbol="A" * 65), "tradingsymbol"),
    "name with a newline": (changed(SHARE, name='"IN\nFY"'), "name"),
    "lot of zero": (changed(SHARE, lot_size="0"), "lot_size '0' is not a whole number of at least 1"),
    "lot and a half": (changed(SHARE, lot_size="1.5"), "lot_size"),
    "negative lot": (changed(SHARE, lot_size="-1"), "lot_size"),
    "lot nan": (changed(SHARE, lot_size="nan"), "lot_size"),
    "lot inf": (changed(SHARE, lot_size="inf"), "lot_size"),
    "lot with an underscore": (changed(SHARE, lot_size="1_0"), "lot_size"),
    "tick of zero": (
        changed(SHARE, tick_size="0"),
        "tick_size '0' is not above 0; only an index may have no tick size",
    ),
    "tick of zero for a future": (changed(FUTURE, tick_size="0.0"), "tick_size"),
    "no tick": (changed(SHARE, tick_size=""), "tick_size '' is not a number"),
    "tick of 1e9999": (changed(SHARE, tick_size="1e9999"), "tick_size"),
    "no expiry": (changed(FUTURE, expiry=""), "expiry '' of a derivative is not a date"),
    "expiry that is no date": (changed(FUTURE, expiry="2026-02-30"), "expiry '2026-02-30'"),
    "expiry in another form": (changed(FUTURE, expiry="20260825"), "expiry"),
    "option without a strike": (changed(CALL, strike="0.0"), "strike '0.0' of an option is not above 0"),
    "negative strike": (changed(CALL, strike="-1"), "strike"),
    "unknown type": (changed(SHARE, instrument_type="XX"), "instrument_type 'XX' is not one of CE, EQ, FUT, PE"),
    "segment of another exchange": (changed(SHARE, segment="BSE"), "segment BSE does not belong to exchange NSE"),
    "exchange cut short": (changed(FUTURE, exchange="NF"), "segment NFO-FUT does not belong to exchange NF"),
    "no exchange": (changed(SHARE, exchange=""), "exchange ''"),
    "the same key": (changed(SHARE, instrument_token="5"), "line 4: NSE:INFY is listed twice"),
    "the same token": (changed(SHARE, tradingsymbol="OTHER"), "line 4: instrument_token 408065 is listed twice"),
}


@pytest.mark.parametrize("case", list(BAD_ROWS))
def test_one_wrong_row_refuses_the_dump_and_its_line_is_named(case: str, tmp_path: Path) -> None:
    """There is no half of a master."""
    row, message = BAD_ROWS[case]
    first = SHARE if "same" in case else SHARE_BSE
    with pytest.raises(BadData, match=r"instrument master .*line [45]: .*no row of the dump is used") as refused:
        read_dump(dump_file(tmp_path, INDEX, first, row, FUTURE if row != FUTURE else CALL))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "\x1b" not in str(refused.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it is empty"),
        (b"\n\n", "it is empty"),
        (text_of(), "has no instruments, only a header"),
        (b"<html>Login</html>\n", "line 1 has no column instrument_token, tradingsymbol"),
        (b'{"status":"error"}\n', "line 1 has no column instrument_token"),
        (text_of(header=HEADER.replace("tick_size", "tick")), "line 1 has no column tick_size;"),
        (text_of(header=HEADER + ",exchange"), "line 1 has exchange twice"),
        (text_of(SHARE)[:-9] + b"\n", "line 2 has 10 fields, the header 12: cut short?"),
        (text_of(SHARE)[:-1], "its last line has no end"),
        (text_of(SHARE + ",more"), "line 2 has 13 fields"),
        (text_of(SHARE, '"' + SHARE, FUTURE), "fields, the header 12: cut short?"),
        (text_of(SHARE) + b"\xff\xfe\n", "line 3: not UTF-8"),
        (b"\x00" * 100 + b"\n", "line 1 has no column"),
        (text_of(changed(SHARE, name="A" * 200_000)), "line 2: field larger than field limit"),
        (gzip.compress(text_of(SHARE))[:-9], "damaged archive"),
        (b"\x1f\x8b", "damaged archive"),
    ],
)
def test_what_is_not_a_dump_is_refused_in_one_line(data: bytes, message: str, tmp_path: Path) -> None:
    """Empty, a page, cut short, damaged."""
    path = tmp_path / "dump.csv"
    path.write_bytes(data)
    with pytest.raises(BadData, match="instrument master") as refused:
        read_dump(path)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_dump_cut_anywhere_is_refused_or_whole(tmp_path: Path) -> None:
    """A download that broke off: never a row that says something else. Cut at a line's end it is a shorter dump."""
    text = text_of(*ROWS)
    whole = instruments(*ROWS)
    path = tmp_path / "dump.csv"
    for end in range(len(text)):
        path.write_bytes(text[:end])
        try:
            made = read_dump(path)
        except BadData:
            continue
        assert made == whole[: len(made)]


@pytest.mark.parametrize("compressed", [False, True])
def test_a_dump_may_come_through_a_pipe(compressed: bool) -> None:
    """As from `<(curl …)`: it can be read but once."""
    reading, writing = os.pipe()
    data = text_of(*ROWS)
    os.write(writing, gzip.compress(data) if compressed else data)
    os.close(writing)
    try:
        made = open_master(Path(f"/dev/fd/{reading}"))
        assert made is not None
        assert made.by_key("NSE:INFY") is not None
    finally:
        os.close(reading)


def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more is unpacked than a dump may have."""
    monkeypatch.setattr(dump, "MAX_BYTES", 1 << 16)
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(bytes(1 << 22)))
    with pytest.raises(BadData, match="more than 65536 bytes"):
        read_dump(path)


def test_a_dump_that_is_not_there_or_cannot_be_read_is_no_input(tmp_path: Path) -> None:
    """A folder too."""
    with pytest.raises(NoInput, match="does not exist"):
        read_dump(tmp_path / "none.csv")
    with pytest.raises(NoInput, match="directory"):
        read_dump(tmp_path)


# --- loading ---------------------------------------------------------------------------------


def test_loading_tells_what_is_new_changed_and_gone(tmp_path: Path) -> None:
    """For each exchange."""
    path = tmp_path / "deep" / "er" / "i.db"
    assert load(path, instruments(*ROWS), DAY) == [
        Loaded("BSE", 1, 1, 0, 0), Loaded("NFO", 2, 2, 0, 0), Loaded("NSE", 2, 2, 0, 0),
    ]  # fmt: skip
    next_day = instruments(SHARE, changed(FUTURE, tick_size="0.2"), INDEX.replace("256265", "256777"))
    assert load(path, next_day, LATER) == [Loaded("NFO", 1, 0, 1, 1), Loaded("NSE", 2, 0, 1, 0)]


def test_loading_the_same_dump_again_changes_nothing(tmp_path: Path) -> None:
    """Not a row; and a dump of another day that says the same adds none."""
    master = loaded(tmp_path / "i.db", (DAY, ROWS))
    before = known(master)
    assert all(one[2:] == (0, 0, 0) for one in load(tmp_path / "i.db", instruments(*ROWS), DAY))
    assert known(master) == before
    load(tmp_path / "i.db", instruments(*ROWS), LATER)
    assert [row[:4] for row in known(master)] == [row[:4] for row in before]
    assert {row[4] for row in known(master)} == {LATER.isoformat()}


def test_a_wrong_dump_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    """Whether it is wrong, cut short, or loading breaks off in the middle."""
    master = loaded(tmp_path / "i.db", (DAY, ROWS))
    before = known(master)
    with pytest.raises(KeyboardInterrupt):
        load(tmp_path / "i.db", instruments(changed(SHARE, lot_size="2")) * 4096, LATER, progress=_interrupt)
    assert known(master) == before
    path = dump_file(tmp_path, SHARE, changed(CALL, strike="x"))
    assert execute(["instruments", "load", str(path), "--db", str(tmp_path / "i.db")]) == 65
    assert known(master) == before


def _interrupt(_: int) -> None:
    raise KeyboardInterrupt


def test_an_exchange_that_lost_more_than_half_is_refused_unless_forced(tmp_path: Path) -> None:
    """Half is accepted; another exchange, or an earlier day, says nothing of it."""
    many = [changed(SHARE, instrument_token=str(1000 + n), tradingsymbol=f"S{n}") for n in range(10)]
    path = tmp_path / "i.db"
    load(path, instruments(*many), DAY)
    with pytest.raises(BadData, match=r"NSE: 4 instruments, where the dump of 2026-08-18 has 10: cut short.*--force"):
        load(path, instruments(*many[:4]), LATER)
    load(path, instruments(*many[:4]), DAY - timedelta(days=30))
    load(path, instruments(*many[:5]), LATER)
    load(path, instruments(SHARE_BSE), LATER)
    assert load(path, instruments(SHARE), LATER + timedelta(days=1), force=True) == [Loaded("NSE", 1, 1, 0, 5)]


def test_a_dump_of_another_day_is_refused_unless_forced(tmp_path: Path) -> None:
    """Its date is what lookups of the past go by; a contract or two that linger are no sign."""
    path = tmp_path / "i.db"
    after = date(2026, 8, 26)
    with pytest.raises(
        BadData, match=r"2 of 2 contracts expired before 2026-08-26: an older dump\? Give its day with --date"
    ):
        load(path, instruments(*ROWS), after)
    assert not path.exists()
    alive = [changed(CALL, instrument_token=str(n), tradingsymbol=f"C{n}", expiry="2026-09-29") for n in range(1, 10)]
    load(path, instruments(*alive, CALL), after)
    load(path, instruments(*ROWS), after, force=True)


def test_two_may_not_load_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second waits a while, then asks to be run again."""
    monkeypatch.setattr("alpha_cli.market.instruments.store.PATIENCE", 0.05)
    path = tmp_path / "i.db"
    load(path, instruments(*ROWS), DAY)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    with pytest.raises(TryAgain, match="another program is writing"):
        load(path, instruments(*ROWS), LATER)
    db.close()
    load(path, instruments(*ROWS), LATER)


@pytest.mark.parametrize(
    ("sql", "error", "message"),
    [
        ("CREATE TABLE other (a)", BadData, "not an instrument master"),
        (f"PRAGMA application_id = {0x616C7069}; PRAGMA user_version = 99", ConfigurationError, "version 99"),
        (f"PRAGMA application_id = {0x616C7069}; PRAGMA user_version = 1", BadData, "no such table"),
    ],
)
def test_a_database_of_another_program_is_left_alone(
    sql: str, error: type[Exception], message: str, tmp_path: Path
) -> None:
    """Neither read nor written."""
    path = tmp_path / "other.db"
    db = sqlite3.connect(path)
    db.executescript(f"{sql}; CREATE TABLE IF NOT EXISTS mine (a);")
    db.close()
    before = path.read_bytes()
    with pytest.raises(error, match=message):
        load(path, instruments(*ROWS), DAY)
    master = open_master(path)
    assert master is not None
    with pytest.raises(error, match=message):
        master.by_token(1)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_not_written_to(tmp_path: Path) -> None:
    """A dump named as the database."""
    path = dump_file(tmp_path, *ROWS)
    with pytest.raises(BadData, match="not a SQLite database"):
        load(path, instruments(*ROWS), DAY)
    assert path.read_bytes() == text_of(*ROWS)
    with pytest.raises(InputOutputError):
        load(path / "below" / "i.db", instruments(*ROWS), DAY)


def test_a_damaged_database_is_bad_data(tmp_path: Path) -> None:
    """Cut in the middle, or with a date in it that is none."""
    path = tmp_path / "i.db"
    load(path, instruments(*ROWS), DAY)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    master = open_master(path)
    assert master is not None
    with pytest.raises(BadData, match="damaged"):
        master.find("nifty")
    path.write_bytes(whole)
    db = sqlite3.connect(path)
    db.execute("UPDATE instruments SET first_seen = 'yesterday'")
    db.commit()
    db.close()
    with pytest.raises(BadData, match="damaged"), Master(lambda: sqlite3.connect(path), path) as broken:
        broken.by_token(408065)


# --- what was true on which day --------------------------------------------------------------


def test_a_token_used_again_stands_for_what_was_alive_on_the_day(tmp_path: Path) -> None:
    """Tokens are reused after expiry: the key is what remains."""
    august, september = date(2026, 8, 25), date(2026, 9, 29)
    again = changed(FUTURE, tradingsymbol="NIFTY26SEPFUT", expiry="2026-09-29")
    master = loaded(tmp_path / "i.db", (DAY, [FUTURE]), (date(2026, 9, 1), [again]))

    def symbol(on: date | None) -> str | None:
        found = master.by_token(14866434, on)
        return None if found is None else found.tradingsymbol

    assert symbol(None) == "NIFTY26SEPFUT"
    assert symbol(DAY) == symbol(august) == symbol(date(2026, 6, 1)) == "NIFTY26AUGFUT"
    assert symbol(august + timedelta(days=1)) == symbol(september) == "NIFTY26SEPFUT"
    assert symbol(september + timedelta(days=1)) is None
    assert [version.instrument.tradingsymbol for version in master.versions(14866434)] == [
        "NIFTY26AUGFUT", "NIFTY26SEPFUT",
    ]  # fmt: skip


def test_a_changed_tick_size_holds_from_the_dump_that_has_it(tmp_path: Path) -> None:
    """NSE reviews them each month; there and back again is three times."""
    days = [DAY + timedelta(days=10 * n) for n in range(4)]
    ticks = ["0.05", "0.1", "0.05", "0.1"]
    rows = [(day, [changed(SHARE, tick_size=size)]) for day, size in zip(days, ticks, strict=True)]
    master = loaded(tmp_path / "i.db", *rows)

    def size(on: date | None) -> str:
        found = master.by_key("NSE:INFY", on)
        assert found is not None
        return str(found.tick_size)

    for day, expected in zip(days, ticks, strict=True):
        assert size(day) == size(day + timedelta(days=9)) == expected
    assert size(days[0] - timedelta(days=99)) == "0.05"
    assert size(None) == size(date(2030, 1, 1)) == "0.1"


@examples(30)
@given(st.permutations(range(4)), st.lists(st.sampled_from(["1", "2"]), min_size=4, max_size=4))
def test_dumps_loaded_in_any_order_say_of_their_own_days_what_they_said(order: list[int], lots: list[str]) -> None:
    """A dump found later, of an earlier day, spoils nothing; nor does loading them all again."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "i.db"
        for number in (*order, *order[:2]):
            load(path, [Instrument(5, "NSE", "X", lot_size=int(lots[number]))], DAY + timedelta(days=number))
        with open_master(path) as master:  # type: ignore[union-attr]
            for number, lot in enumerate(lots):
                found = master.by_token(5, DAY + timedelta(days=number))
                assert found is not None
                assert found.lot_size == int(lot)


def test_a_correction_of_the_same_day_takes_the_place_of_what_it_corrects(tmp_path: Path) -> None:
    """And of an earlier day it says nothing of the later ones."""
    master = loaded(tmp_path / "i.db", (DAY, [SHARE]), (LATER, [SHARE]), (DAY, [changed(SHARE, lot_size="7")]))
    assert [master.by_token(408065, day).lot_size for day in (DAY, LATER)] == [7, 1]  # type: ignore[union-attr]


# --- looking up ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def master() -> Master:
    near = changed(CALL, instrument_token="70", tradingsymbol="NIFTY2681825000CE", expiry="2026-08-18")
    bank = changed(CALL, instrument_token="71", tradingsymbol="BANKNIFTY26AUG25000CE", name="BANKNIFTY")
    high = changed(CALL, instrument_token="72", tradingsymbol="NIFTY26AUG125000CE", strike="125000.0")
    return Master.of(instruments(*ROWS, near, bank, high))


def test_a_key_is_found_in_any_case(master: Master) -> None:
    """And only a whole one, of that exchange."""
    found = master.by_key("NFO:NIFTY26AUG25000CE")
    assert found is not None
    assert found.instrument_token == 15845634
    assert master.by_key("nfo:nifty26aug25000ce") == found == master.by_token(15845634)
    assert master.by_key("NSE:NIFTY 50") is not None
    for unknown in ("BFO:NIFTY26AUG25000CE", "NFO:NIFTY26AUG25000", "NIFTY26AUG25000CE", "", ":", "NFO:", "a' OR 1=1"):
        assert master.by_key(unknown) is None
    assert master.by_token(1) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nifty 25000 ce aug", ["NIFTY2681825000CE", "NIFTY26AUG25000CE", "BANKNIFTY26AUG25000CE"]),
        ("Nifty 25000 CE 25aug2026", ["NIFTY26AUG25000CE", "BANKNIFTY26AUG25000CE", "NIFTY26AUG125000CE"]),
        ("nifty 2026-08-18", ["NIFTY2681825000CE"]),
        ("nifty fut", ["NIFTY26AUGFUT"]),
        ("nifty 50", ["NIFTY 50", "NIFTY2681825000CE", "NIFTY26AUG25000CE"]),
        ("infosys", ["INFY", "INFY"]),
        ("bse infy", ["INFY"]),
        ("nothing of the kind", []),
        ("%", []),
        ("_", []),
    ],
)
def test_find_takes_words_in_any_order_and_puts_the_likely_first(
    text: str, expected: list[str], master: Master
) -> None:
    """What a word matches as a whole, then the nearest expiry, then the strike."""
    assert [one.tradingsymbol for one in master.find(text)][: max(len(expected), 1)][:3] == expected


def test_find_keeps_to_the_exchange_the_limit_and_the_living(master: Master) -> None:
    """What has expired is left out once a day is named."""
    assert [one.exchange for one in master.find("infy", exchange="bse")] == ["BSE"]
    assert len(master.find("nifty", 2)) == 2
    assert master.find("nifty", 0) == []
    on_expiry, after = (len(master.find("25000", on=DAY + timedelta(days=n))) for n in (0, 1))
    assert on_expiry - after == 1


def test_no_name_and_no_token_makes_a_lookup_fail(master: Master) -> None:
    """Bytes that are no text, NUL, numbers beyond what SQLite holds, a thousand words."""
    for text in ("\udcff", "a\0b", "'; DROP TABLE instruments; --", "🚀"):
        assert master.by_key(f"NSE:{text}") is None
        assert master.by_symbol(text) == []
        assert master.find(text) == []
        with pytest.raises(UsageError, match="not in the instrument master"):
            resolve(text, master)
    for token in (0, -1, 1 << 32, 1 << 63, 1 << 200):
        assert master.by_token(token) is None
    with pytest.raises(UsageError, match="1000 words to find: at most 32"):
        master.find("a " * 1000)


def test_a_database_may_be_called_anything(tmp_path: Path) -> None:
    """Also what a URI would take for something else, and bytes that are no text."""
    for name in ("a b?mode=memory#x%41.db", os.fsdecode(b"\xff.db")):
        assert loaded(tmp_path / name, (DAY, ROWS)).by_token(408065) is not None
        assert (tmp_path / name).is_file()


def test_find_shows_each_instrument_once_as_the_newest_dump_has_it(tmp_path: Path) -> None:
    """Not every version of it."""
    master = loaded(tmp_path / "i.db", (DAY, [SHARE]), (LATER, [changed(SHARE, lot_size="3")]))
    assert [one.lot_size for one in master.find("infy")] == [3]


def test_resolve_takes_tokens_keys_and_symbols_of_one_exchange(master: Master) -> None:
    """A token is taken as it is, known or not, with a master or without."""
    assert resolve("256265", None) == resolve(" 256265 ", master) == 256265
    assert resolve("99", master) == 99
    assert resolve("NSE:INFY", master) == resolve(" nse:infy", master) == 408065
    assert resolve("NIFTY26AUGFUT", master) == 14866434


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("INFY", "on several exchanges; write one of BSE:INFY, NSE:INFY"),
        ("NSE:INFI", "not in the instrument master, did you mean NSE:INFY"),
        ("BFO:NIFTY26AUGFU", "did you mean NFO:NIFTY26AUGFUT"),
        ("NIFTY26AUG25000PE", "did you mean NFO:NIFTY26AUG25000CE"),
        ("zzzzz", "not in the instrument master; look for it with alpha instruments find zzzzz"),
        ("0", "a token is a number from 1 to 4294967295"),
        ("-5", "a token is a number"),
        ("4294967296", "a token is a number"),
        ("9" * 5000, "a token is a number"),
        ("", "write a token, EXCHANGE:SYMBOL or a symbol"),
        ("\x1b[2J", r"\\x1b\[2J"),
    ],
)
def test_what_cannot_be_resolved_is_answered_with_what_was_likely_meant(
    text: str, message: str, master: Master
) -> None:
    """One line, without anything a terminal would act on."""
    with pytest.raises(UsageError, match=message) as refused:
        resolve(text, master)
    assert len(str(refused.value)) < 400
    assert "\x1b" not in str(refused.value)


def test_a_symbol_without_a_master_says_how_to_get_one() -> None:
    """The two ways."""
    with pytest.raises(UsageError, match=r"no instrument master.*alpha instruments fetch.*load FILE"):
        resolve("NSE:INFY", None)


def test_look_up_wants_a_token_that_is_known(master: Master) -> None:
    """Otherwise there would be nothing to show."""
    assert look_up("408065", master).key == "NSE:INFY"
    for token in ("99", "0", "9" * 30):
        with pytest.raises(UsageError, match="no such token"):
            look_up(token, master)


def test_what_was_found_is_not_read_again(tmp_path: Path) -> None:
    """A stage asks for each signal; the file may go meanwhile."""
    made = loaded(tmp_path / "i.db", (DAY, ROWS))
    found = made.by_token(408065, DAY), made.by_key("NSE:INFY", DAY)
    made.close()
    (tmp_path / "i.db").unlink()
    assert (made.by_token(408065, DAY), made.by_key("NSE:INFY", DAY)) == found
    with pytest.raises(InputOutputError):
        made.by_token(256265, DAY)


# --- where the master is ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"ALPHA_INSTRUMENTS": "/x/y.db", "XDG_DATA_HOME": "/data"}, "/x/y.db"),
        ({"ALPHA_INSTRUMENTS": "", "XDG_DATA_HOME": "/data"}, None),
        ({"XDG_DATA_HOME": "/data"}, "/data/alpha/instruments.db"),
        ({"XDG_DATA_HOME": "relative"}, "~/.local/share/alpha/instruments.db"),
        ({}, "~/.local/share/alpha/instruments.db"),
    ],
)
def test_where_the_master_is(environment: dict[str, str], expected: str | None) -> None:
    """Named, none, or in the user's data."""
    assert default_path(environment) == (None if expected is None else Path(expected).expanduser())


def test_no_master_is_no_error_unless_it_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever never loaded one trades as before."""
    assert open_master() is None
    monkeypatch.delenv("ALPHA_INSTRUMENTS")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert open_master() is None
    load(tmp_path / "alpha" / "instruments.db", instruments(*ROWS), DAY)
    with open_master() as made:  # type: ignore[union-attr]
        assert made.by_token(408065) is not None
    monkeypatch.setenv("ALPHA_INSTRUMENTS", str(tmp_path / "none.db"))
    with pytest.raises(NoInput, match=r"none\.db does not exist; make it with alpha instruments fetch"):
        open_master()
    with pytest.raises(NoInput, match="directory"):
        open_master(tmp_path)


# --- freeze quantities -----------------------------------------------------------------------


def contract(name: str, exchange: str = "NFO", kind: str = "FUT") -> Instrument:
    return Instrument(1, exchange, f"{name}26AUGFUT", name, f"{exchange}-{kind}", kind, expiry=date(2026, 8, 25))


@pytest.mark.parametrize(
    ("name", "on", "expected"),
    [
        ("NIFTY", date(2026, 11, 21), 1800),
        ("BANKNIFTY", date(2026, 8, 3), 600),
        ("BANKNIFTY", date(2026, 6, 30), 900),
        ("FINNIFTY", date(2026, 3, 31), 1200),
        ("FINNIFTY", date(2026, 4, 1), 1800),
        ("MIDCPNIFTY", date(2025, 3, 3), 4200),
        ("NIFTYNXT50", date(2026, 8, 3), 600),
        ("BANKNIFTY", date(2025, 9, 30), 900),
        ("BANKNIFTY", date(2025, 10, 15), None),  # its circular's figures were not found
        ("NIFTY", date(2019, 1, 1), None),
        ("RELIANCE", date(2026, 8, 3), None),
    ],
)
def test_the_freeze_quantity_is_that_of_the_day(name: str, on: date, expected: int | None) -> None:
    """Each as the circular has it that the file names; None where none is known."""
    assert freeze_quantity(contract(name), on) == expected


def test_only_contracts_have_a_freeze_quantity() -> None:
    """Neither the index nor a share of that name; and on another exchange it is another."""
    on = date(2026, 8, 18)
    assert freeze_quantity(Instrument(1, "NFO", "NIFTY", "NIFTY", "INDICES"), on) is None
    assert freeze_quantity(Instrument(1, "NFO", "NIFTY", "NIFTY"), on) is None
    assert freeze_quantity(contract("SENSEX", "BFO", "CE"), on) == 1000
    assert freeze_quantity(contract("NIFTY", "BFO"), on) is None


def test_every_limit_that_is_shipped_names_its_source() -> None:
    """And what is missing is said in the note."""
    table = load_freeze_table(packaged("configs") / "freeze.json")
    assert all(len(limit.source) > 10 for limit in table.limits)
    assert "MCX" in " ".join(table.note)
    assert [limit.start for limit in table.limits if limit.exchange == "NFO"] == sorted(
        limit.start for limit in table.limits if limit.exchange == "NFO"
    )


def test_a_table_of_ones_own_takes_the_place_of_the_shipped_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found as other configuration is."""
    monkeypatch.setenv("ALPHA_CONFIG_DIR", str(tmp_path))
    row = {"exchange": "NFO", "from": "2020-01-01", "quantities": {"NIFTY": 7}, "source": "mine"}
    (tmp_path / "freeze.json").write_text(json.dumps({"limits": [row]}))
    assert freeze_quantity(contract("NIFTY"), DAY) == 7
    assert freeze_quantity(contract("NIFTY"), DAY, FreezeTable((Limit("NFO", DAY, {"NIFTY": 3}, "x"),))) == 3


ROW: dict[str, Any] = {"exchange": "NFO", "from": "2020-01-01", "quantities": {"NIFTY": 7}, "source": "mine"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "malformed|truncated"),
        ("[]", "Expected `object`"),
        ("{", "truncated"),
        (json.dumps({"limits": [{**ROW, "until": "2019-01-01"}]}), "until 2019-01-01 is before that day"),
        (json.dumps({"limits": [ROW, ROW]}), "listed twice"),
        (json.dumps({"limits": [{**ROW, "quantities": {"NIFTY": 0}}]}), "NIFTY: 0 is not a quantity"),
        (json.dumps({"limits": [{**ROW, "quantities": {"NIFTY": 1.5}}]}), "Expected `int`"),
        (json.dumps({"limits": [{**ROW, "from": "soon"}]}), "Invalid RFC3339|Invalid"),
        (json.dumps({"limits": [{**ROW, "form": 1}]}), "unknown field `form`"),
        (json.dumps({"limits": [{key: ROW[key] for key in ("exchange", "from", "quantities")}]}), "field `source`"),
        ("[" * 100_000, "."),
        ("\xff", "."),
    ],
)
def test_a_wrong_table_is_a_configuration_error(text: str, message: str, tmp_path: Path) -> None:
    """One line that names the file."""
    path = tmp_path / "freeze.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigurationError, match=message) as refused:
        load_freeze_table(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert "\n" not in str(refused.value)


# --- wherever an instrument is named ---------------------------------------------------------


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "i.db"
    load(path, instruments(*ROWS), DAY)
    return path


def test_feed_takes_symbols(database: Path) -> None:
    """Beside tokens; the index token of the SENSEX, 265, is no count."""
    load(database, instruments(changed(SHARE_BSE, instrument_token="265", tradingsymbol="SENSEX")), DAY)
    env = {"ALPHA_INSTRUMENTS": str(database)}

    def tokens(text: str) -> set[int]:
        made = run_alpha(["feed", "-q", "--ticks", "8", "--instruments", text], env=env)
        assert made.returncode == 0, made.stderr
        events = map(decode, made.stdout.splitlines())
        return {event.instrument_token for event in events if isinstance(event, Tick)}

    assert tokens("NSE:INFY, 256265,NSE:NIFTY 50".rpartition(",")[0]) == {408065, 256265}
    assert tokens("BSE:SENSEX") == {265}
    assert len(tokens("2")) == 2


def test_feed_takes_a_symbol_for_records_that_name_none(database: Path, tmp_path: Path) -> None:
    """Where it took a token."""
    (tmp_path / "a.csv").write_text("timestamp,last_price\n2024-06-03T09:15:00,100\n")
    args = ["feed", "-q", str(tmp_path / "a.csv"), "--instrument-token"]
    env = {"ALPHA_INSTRUMENTS": str(database)}
    assert b'"instrument_token":408065' in run_alpha([*args, "NSE:INFY"], env=env).stdout
    assert b'"instrument_token":77' in run_alpha([*args, "77"], env=env).stdout
    for wrong, message in (("NSE:INFI", b"did you mean NSE:INFY"), ("-1", b"a token is a number")):
        made = run_alpha([*args, wrong], env=env)
        assert (made.returncode, made.stdout, made.stderr.count(b"\n")) == (2, b"", 1)
        assert message in made.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("NSE:INFI", b"did you mean NSE:INFY"),
        ("INFY", b"write one of BSE:INFY, NSE:INFY"),
        ("NSE:INFY,408065", b"list of different instruments"),
        ("NSE:INFY,,5", b"write a token, EXCHANGE:SYMBOL or a symbol"),
    ],
)
def test_feed_refuses_a_symbol_that_it_cannot_resolve(text: str, message: bytes, database: Path) -> None:
    """2, one line."""
    made = run_alpha(["feed", "--instruments", text], env={"ALPHA_INSTRUMENTS": str(database)})
    assert (made.returncode, made.stdout, made.stderr.count(b"\n")) == (2, b"", 1)
    assert message in made.stderr


@pytest.mark.parametrize("key", ["instruments", "instrument_tokens"])
def test_a_strategy_names_its_instruments_by_symbol(
    key: str, database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are tokens from then on; without a symbol no master is asked for."""
    file = tmp_path / "mine.yaml"
    file.write_text(f"id: mine\nstrategy_type: momentum\n{key}: ['NSE:INFY', 256265, NIFTY26AUGFUT]\n")
    with pytest.raises(ConfigurationError, match=r"mine.yaml: instruments: .*NSE:INFY: no instrument master"):
        load_file(file)
    monkeypatch.setenv("ALPHA_INSTRUMENTS", str(database))
    assert load_file(file).instruments == (408065, 256265, 14866434)
    for wrong, message in (("NSE:INFI", "did you mean NSE:INFY"), ("INFY", "write one of")):
        file.write_text(f"id: mine\nstrategy_type: momentum\n{key}: ['{wrong}']\n")
        with pytest.raises(ConfigurationError, match=message):
            load_file(file)
    monkeypatch.setenv("ALPHA_INSTRUMENTS", str(tmp_path / "none"))
    with pytest.raises(ConfigurationError, match="none does not exist"):
        load_file(file)
    file.write_text(f"id: mine\nstrategy_type: momentum\n{key}: [256265]\n")
    assert load_file(file).instruments == (256265,)


@pytest.mark.parametrize("where", ["option", "environment", "default"])
def test_risk_takes_the_database_wherever_it_is_named(where: str, database: Path, tmp_path: Path) -> None:
    """What is not in it is denied, and so is what has expired by the time of the tick."""
    share = 408065
    given_stream = stream([tick(token=share), signal(1, instrument_token=share), signal(2, instrument_token=99)])
    args, env = ["risk"], {}
    if where == "option":
        args += ["--instruments", str(database)]
    elif where == "environment":
        env["ALPHA_INSTRUMENTS"] = str(database)
    else:
        (tmp_path / "alpha").mkdir()
        database.rename(tmp_path / "alpha" / "instruments.db")
        env = {"XDG_DATA_HOME": str(tmp_path)}
    made = _run_without_setting(args, given_stream, env) if where == "default" else run_alpha(args, given_stream, env)
    assert made.returncode == 0, made.stderr
    assert made.stdout.count(b'"type":"order"') == 1
    assert made.stdout.count(b'"code":"INSTRUMENT_UNKNOWN"') == 1
    assert b'"observed":99' in made.stdout


def _run_without_setting(args: list[str], data: bytes, env: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    """As a user runs it who set nothing."""
    given_environment = environment(env)
    del given_environment["ALPHA_INSTRUMENTS"]
    return subprocess.run(
        [sys.executable, "-m", "alpha_cli", *args], input=data, capture_output=True, timeout=DEADLINE, check=False,
        env=given_environment,
    )  # fmt: skip


def test_risk_denies_a_contract_that_has_expired(tmp_path: Path) -> None:
    """On its last day it trades, the day after it does not."""
    row = changed(FUTURE, instrument_token="256265", expiry="2024-06-03")
    path = tmp_path / "i.db"
    load(path, instruments(row), date(2024, 5, 1))
    days = [run_alpha(["risk", "--instruments", str(path)], stream([tick(at), signal(1, at=at)])) for at in (0, 86_400)]
    assert [made.stdout.count(b"INSTRUMENT_EXPIRED") for made in days] == [0, 1]


def test_a_test_never_sees_the_master_of_whoever_runs_it() -> None:
    """Neither in this process nor in one it starts."""
    assert os.environ["ALPHA_INSTRUMENTS"] == environment()["ALPHA_INSTRUMENTS"] == ""


# --- real dumps ------------------------------------------------------------------------------


def test_a_real_dump_of_derivatives(tmp_path: Path) -> None:
    """NFO and BFO of 2026-08-18: every row, and a lookup of each comes back to it."""
    made = read_dump(shared("kite-instruments") / "kite_nfo_bfo_2026-08-18.csv.gz")
    assert len(made) == 39_941
    assert load(tmp_path / "i.db", made, DAY) == [
        Loaded("BFO", 4258, 4258, 0, 0), Loaded("NFO", 35_683, 35_683, 0, 0),
    ]  # fmt: skip
    with open_master(tmp_path / "i.db") as found:  # type: ignore[union-attr]
        for one in made[::997]:
            assert found.by_key(one.key, DAY) == found.by_token(one.instrument_token, DAY) == one
        assert [one.key for one in found.find("nifty 25000 ce aug", 2, on=DAY)] == [
            "NFO:NIFTY2681825000CE", "NFO:NIFTY26AUG25000CE",
        ]  # fmt: skip
        assert {one.tick_size for one in made} == set(map(Decimal, ("0.01", "0.05", "0.1", "0.2", "0.5", "1", "5")))
        assert freeze_quantity(found.by_key("BFO:SENSEX26AUGFUT"), DAY) == 1000  # type: ignore[arg-type]


def test_a_real_dump_with_fewer_columns() -> None:
    """NSE of July 2025, names in doubled quotes and some missing."""
    made = {one.tradingsymbol: one for one in read_dump(shared("kite-instruments") / "kite_nse_subset_2025-07.csv.gz")}
    assert len(made) == 8115
    assert made["INFY"] == Instrument(408065, "NSE", "INFY", "INFOSYS")
    assert made["ZTECH-ST"].name == "Z-TECH (INDIA)"
    assert made["0MOFSL26-N1"].name == ""


def test_the_mocks_of_kite() -> None:
    """Of an older day, three exchanges."""
    made = read_dump(shared("kite-instruments") / "mocks_instruments_all.csv")
    assert {one.exchange for one in made} == {"NSE", "BSE", "NFO"}
    assert len(made) == 99
