"""`alpha paper` as a real process behind pipes, through the whole suite of `broker_conformance`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.broker_conformance import BEHAVIOURS, Able, Behaviour, Ended, cases_for, table
from support.events import HELLO, NIFTY, START
from support.processes import Pipeline, alpha, counters, run_alpha

from alpha_cli.core.codec import decode, encode
from alpha_cli.core.events import Depth, Eof, Event, Level, Tick

#: What `alpha paper` writes; with --forward everything else in its output came in.
OWN = (b'{"type":"fill"', b'{"type":"order_update"', b'{"type":"portfolio"', b'{"type":"contract_note"')
PROBE = b'{"type":"probe","number":%d}'


class PaperProcess:
    """The driver: with --forward every line comes back, so what was said when a probe returns is the answer."""

    name = "paper"
    able = frozenset(Able) - {Able.STRICT}
    cash = Decimal(1_000_000)
    token = NIFTY

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = START
        self.sent: list[bytes] = []
        self._probes = 0
        self._process: Pipeline | None = None

    def start(self, *, kept: bool = False, priced: bool = True) -> None:
        self.release()
        state = ["--state", str(self.folder)] if kept else []
        self._process = Pipeline(alpha("paper", "--forward", *state))
        self._process.write(encode(HELLO) + b"\n")
        self.sent = []
        if priced:
            self.market(100)

    def market(
        self,
        price: float,
        *,
        offers: Sequence[tuple[float, int]] = (),
        bids: Sequence[tuple[float, int]] = (),
    ) -> None:
        self.now += timedelta(seconds=1)
        self._tick(price, offers, bids)

    def close_market(self) -> None:
        self.now = self.now.replace(hour=15, minute=30, second=0)
        self._tick(100)

    def _tick(
        self, price: float, offers: Sequence[tuple[float, int]] = (), bids: Sequence[tuple[float, int]] = ()
    ) -> None:
        sides = [tuple(Level(*level, orders=1) for level in levels) for levels in (bids, offers)]
        depth = Depth(*sides) if offers or bids else None
        self.send(Tick(instrument_token=self.token, timestamp=self.now, last_price=price, depth=depth))

    def send(self, *events: Event | bytes) -> None:
        lines = [event if isinstance(event, bytes) else encode(event) for event in events]
        self.sent += lines
        self._running.write(b"".join(line + b"\n" for line in lines))

    def heard(self) -> list[Event]:
        self._probes += 1
        probe = PROBE % self._probes
        self._running.write(probe + b"\n")
        return _said(self._running.wait_for(probe))

    def stop(self, code: int = 0) -> Ended:
        self._running.write(encode(Eof(ok=code == 0, code=code)) + b"\n")
        return self.cut()

    def cut(self) -> Ended:
        process = self._running
        (code,) = process.finish()
        output, errors = process.output, process.stderr()
        assert "Traceback" not in errors
        self.release()
        own = b"".join(line + b"\n" for line in output.splitlines() if line.startswith(OWN))
        return Ended(code, _said(output), own, counters(errors))

    def kill(self) -> list[Event]:
        said = self.heard()
        self._running.signal(9)
        self._running.wait()
        self.release()
        return said

    def second(self) -> int:
        return run_alpha(["paper", "--state", str(self.folder)]).returncode

    def halt(self) -> None:
        (self.folder / "HALT").write_text("by hand\n")

    def release(self) -> None:
        """Let go of the process, if there is one."""
        if self._process is not None:
            self._process.__exit__()
            self._process = None

    @property
    def _running(self) -> Pipeline:
        assert self._process is not None
        return self._process


def _said(output: bytes) -> list[Event]:
    return [decode(line) for line in output.splitlines() if line.startswith(OWN)]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[PaperProcess]:
    driver = PaperProcess(tmp_path / "state")
    yield driver
    driver.release()


def _name(row: Behaviour, case: tuple[Any, ...]) -> str:
    return "-".join([row.name, *(str(value) for value in case if isinstance(value, str | int | float))])


@pytest.mark.parametrize(
    ("row", "case"), [pytest.param(row, case, id=_name(row, case)) for row, case in cases_for(PaperProcess.able)]
)
def test_paper(broker: PaperProcess, row: Behaviour, case: tuple[Any, ...]) -> None:
    """One behaviour of the suite, on one of its cases."""
    row.check(broker, *case)


def test_paper_is_asked_everything() -> None:
    """No behaviour of the suite needs what `alpha paper` lacks."""
    assert [row.name for row in BEHAVIOURS if not row.needs <= PaperProcess.able] == []


def test_the_table_lists_the_suite() -> None:
    """For the docs: one row a behaviour, numbered, with its source."""
    rows = table().splitlines()[2:]
    assert len(rows) == len(BEHAVIOURS) == len({row.name for row in BEHAVIOURS})
    assert [row.number for row in BEHAVIOURS] == list(range(1, len(rows) + 1))
    assert all(line.count("|") == 5 and row.source in line for line, row in zip(rows, BEHAVIOURS, strict=True))
