"""A paper account whose process dies at one SQL statement after another.

    python -m support.paper_crash FOLDER

runs `die_everywhere`, in a process without threads, so that it may fork.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import sys
from pathlib import Path

from msgspec.structs import replace

from alpha_cli.core.codec import decode
from alpha_cli.core.events import Cancel, Modify, Order, Tick
from alpha_cli.stages.paper.config import PaperConfig
from alpha_cli.stages.paper.store import Store
from support.paper_days import Broker, a_day

CONFIG = PaperConfig(charges="contract-note")


def a_day_without_books(seed, count):
    """As `a_day`, without depth: how much was taken of a tick's book is not kept."""
    events = [decode(line) for line in a_day(seed, count).splitlines()]
    return [replace(one, depth=None, last_traded_quantity=None) if type(one) is Tick else one for one in events]


def books(folder):
    """All that a final book is, as text; an account that does not balance does not open."""
    store = Store(Path(folder), "paper", CONFIG)
    store.release()
    connection = sqlite3.connect(f"file:{folder}/paper.db?mode=ro", uri=True)
    try:
        return json.dumps(
            [
                connection.execute(query).fetchall()
                for query in (
                    "SELECT broker, capital, cash, realised_pnl, charges, charges_by_name FROM accounts",
                    "SELECT * FROM positions ORDER BY instrument_token, product",
                    "SELECT * FROM fills ORDER BY fill_id",
                    "SELECT order_id, status, filled_quantity, average_price, code FROM orders ORDER BY 1",
                    "SELECT account, SUM(amount) FROM entries GROUP BY 1 ORDER BY 1",
                    "SELECT date, charges, adjustment, fills FROM notes ORDER BY id",
                    "PRAGMA integrity_check",
                    "PRAGMA foreign_key_check",
                )
            ]
        )
    finally:
        connection.close()


def trade(folder, events, die_at=None):
    """Trade `events`, keep them five at a time, and die by SIGKILL before SQL statement `die_at` of those that write.

    Returns how many statements there were.
    """
    seen = 0

    def traced(statement):
        nonlocal seen
        seen += not statement.startswith(("SELECT", "select", "PRAGMA"))
        if seen == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    store = Store(Path(folder), "paper", CONFIG)
    store._db.set_trace_callback(traced)
    try:
        broker = Broker(CONFIG, store, store.account, store.resting())
        for number, event in enumerate(events):
            if type(event) in (Tick, Order, Cancel, Modify):
                broker.put(event)
            if number % 5 == 4:
                store.commit()
        broker.engine.close()
        store.commit()
    finally:
        store.release()
    return seen


def die_everywhere(folder):
    """At one statement after another: die there in a child, look at what is left, go on. Says what went wrong.

    Runs in a process of its own without threads, so that it may fork.
    """
    events = a_day_without_books(5, 60)
    whole = f"{folder}/whole"
    statements = trade(whole, events)
    expected = books(whole)
    assert len(json.loads(expected)[2]) >= 5, "too few fills to be a trial"
    tried = 0
    middle = statements // 2  # as many in a row as a commit has, and some here and there
    for die_at in sorted({*range(middle, middle + 14), *range(1, statements, statements // 6)}):
        at = f"{folder}/{die_at}"
        child = os.fork()
        if not child:
            trade(at, events, die_at)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), f"statement {die_at}: the child lived"
        books(at)
        trade(at, events)
        assert books(at) == expected, f"statement {die_at}: other books"
        tried += 1
        shutil.rmtree(at)
    sys.stdout.write(f"{tried} {statements}\n")


if __name__ == "__main__":
    die_everywhere(sys.argv[1])
