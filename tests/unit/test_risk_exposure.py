"""What risk counts over several events: states, messages, what is open, modifications, also after a restart."""

from __future__ import annotations

from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from support.events import BANK, NIFTY, order, signal, tick
from support.risk_desk import (
    AUGUST,
    DAY,
    EVERY,
    FUTURE,
    JUST,
    LISTED,
    OF_BANK,
    PASSED,
    RATE,
    RATIO,
    ROUND_TRIP,
    TRIPS,
    TWICE,
    ZERODHA_CASH,
    Desk,
    Outcome,
    at,
    bought,
    fill,
    heard,
    limit,
    many,
    modify,
    oid,
    sold,
)

from alpha_cli.core.events import RISK, Cancel, Control, Denial, Modify, Order, Portfolio, Position
from alpha_cli.stages.risk.controls.conduct import usable
from alpha_cli.stages.risk.store import Store

# --- REDUCING and HALTED ---------------------------------------------------------------------


def losing(who: str, price: Any, side: str = "BUY") -> Desk:
    """Four at 100 with an own order far away, under a daily loss of 100 for the account or the strategy, at `price`."""
    desk = Desk({"brokers": {"paper": {"max_daily_loss": 100}}} if who == "paper" else
                {"strategies": {"test": {"max_daily_loss": 100}}})  # fmt: skip
    held, far = (bought, 1) if side == "BUY" else (sold, 900)
    assert desk.give(tick(0), *held(4), limit(5, far, side=side, quantity=2)) == PASSED
    desk.give(tick(10, price))
    return desk


@pytest.mark.parametrize("who", ["paper", "test"])
@pytest.mark.parametrize(("side", "price"), [("BUY", 74.99), ("SELL", 125.01)])
def test_after_too_great_a_loss_only_what_cannot_grow_the_worst_case_passes(who: str, side: str, price: float) -> None:
    """Closing passes, also in two halves; growing, flipping and opening from flat do not; cancels pass."""
    back = "SELL" if side == "BUY" else "BUY"
    refused = ("TRADING_REDUCING", 100, 100.04)
    for way, quantity, expected in ((back, 4, ""), (back, 5, "!"), (side, 1, "!"), (back, 12, "!")):
        made = losing(who, price, side).give(signal(1, side=way, quantity=quantity))
        assert made == (refused if expected else PASSED), (way, quantity)
    desk = losing(who, price, side)
    assert desk.give(tick(11, 100, BANK), signal(1, **OF_BANK)) == refused
    assert desk.give(signal(2, side="SELL", **OF_BANK)) == refused
    assert desk.give(signal(3, side=back, quantity=3), signal(4, side=back, quantity=1)) == PASSED
    assert desk.give(signal(6, side=back)) == refused, "both halves might fill"
    assert desk.give(modify(5, quantity=3)) == refused
    assert desk.give(modify(5, quantity=2)) == PASSED
    assert desk.give(modify(5, quantity=1)) == PASSED
    assert desk.give(Cancel(oid(5))) == PASSED


@pytest.mark.parametrize("who", ["paper", "test"])
@pytest.mark.parametrize(("price", "state"), [(75, ""), (74.9999, "REDUCING"), (62.5, "REDUCING"), (62.4999, "HALTED")])
def test_one_and_a_half_times_the_loss_halts(who: str, price: float, state: str) -> None:
    """At the limit nothing; beyond it REDUCING; beyond one and a half times it nothing passes but cancels."""
    desk = losing(who, price)
    target = ("paper", "") if who == "paper" else ("paper", "test")
    assert {key: one.state for key, one in desk.risk.halts.latched.states.items()} == ({target: state} if state else {})
    code = {"": "", "REDUCING": "", "HALTED": "TRADING_HALTED" if who == "paper" else "STRATEGY_HALTED"}[state]
    assert desk.give(signal(1, side="SELL", quantity=4)).code == code
    assert desk.give(modify(5, quantity=1)).code == code
    assert desk.give(Cancel(oid(5))) == PASSED
    others = desk.give(tick(11, price), signal(2, strategy_id="other"))
    assert others.code == ({"": "", "REDUCING": "TRADING_REDUCING", "HALTED": code}[state] if who == "paper" else "")


def test_a_loss_in_reducing_that_goes_on_halts() -> None:
    """The worse state takes the place of the better one, and not the other way round."""
    desk = losing("test", 74)
    assert desk.give(tick(21, 62.4999)) == ("LOSS_ABOVE_LIMIT", 100, 150.0004)
    assert desk.give(tick(32, 74), tick(43, 100)) == PASSED
    assert desk.give(signal(1, side="SELL", quantity=4)).code == "STRATEGY_HALTED"


def test_a_loss_counts_from_where_the_day_began() -> None:
    """What was lost yesterday is no loss of today, though the position is the same."""
    desk = Desk({"max_daily_loss": 100})
    assert desk.give(tick(0), *bought(10), tick(10, 95), tick(DAY, 95), tick(DAY + 20, 85)) == PASSED
    assert desk.give(tick(DAY + 40, 84.9999)) == ("LOSS_ABOVE_LIMIT", 100, 100.001)


def test_a_loss_is_seen_before_the_order_that_is_asked_for() -> None:
    """Without waiting for the next marking of positions; and charges are part of it."""
    desk = Desk({"max_daily_loss": 100})
    desk.give(tick(0), signal(1), fill(1, 1, 100, charges={"total": Decimal("50.0001")}))
    desk.market.put(tick(1, 50))
    assert desk.give(signal(2)) == ("TRADING_REDUCING", 100, 100.0001)


@pytest.mark.parametrize(
    ("limits", "events", "lifted"),
    [
        (TWICE, many(3), Control(action="rearm", target="test", by="me")),
        (TRIPS, (*ROUND_TRIP, signal(3)), Control(action="rearm", target="test", by="me")),
        ({"max_consecutive_rejects": 1}, (signal(1), heard(1, "REJECTED")),
         Control(action="rearm", target="test", by="me")),
        ({"max_daily_loss": 10}, (*bought(1, 100), tick(10, 1)), Control(action="resume", by="me")),
        ({"max_drawdown": 10}, (*bought(1, 100), tick(10, 1)), Control(action="resume", target="paper", by="me")),
    ],
)  # fmt: skip
def test_what_latched_stands_over_a_new_day_until_a_person_lets_it_go_on(
    limits: dict[str, Any], events: tuple[Any, ...], lifted: Control
) -> None:
    """And what brought it about is counted from zero then."""
    desk = Desk(limits)
    desk.give(tick(0), *events)
    assert desk.give(tick(DAY, 1), signal(80, at=DAY)).code in {"STRATEGY_HALTED", "TRADING_HALTED"}
    desk.give(lifted)
    assert desk.give(tick(DAY + 20, 1), signal(81, at=DAY + 20)) == PASSED


@pytest.mark.parametrize("target", [None, "zerodha"])
@pytest.mark.parametrize("before", [(), (ZERODHA_CASH,)])
def test_a_person_reduces_a_broker_whether_it_was_heard_of_before_or_not(target: str | None, before: Any) -> None:
    """All of its limits may stand under `account`, and nothing may have been asked for it yet."""
    limits = {"account": EVERY, "brokers": {"zerodha": {}}}
    desk = Desk(limits)
    assert desk.give(tick(0), ZERODHA_CASH, limit(1, 100, broker="zerodha")) == PASSED
    desk = Desk(limits)
    desk.give(tick(0), *before, Control(action="reduce", target=target), ZERODHA_CASH)
    assert desk.give(limit(1, 100, broker="zerodha")).code == "TRADING_REDUCING"


def test_a_resume_lifts_what_a_person_halted_and_not_what_a_strategy_was_stopped_for() -> None:
    """For that there is rearm, which lifts both."""
    desk = Desk(TWICE)
    assert desk.give(*many(3)).code == "EXECUTION_REPEATED"
    desk.give(Control(action="halt", target="test"), Control(action="resume"))
    assert desk.give(signal(10)).code == "STRATEGY_HALTED"
    desk.give(Control(action="halt", target="test"), Control(action="rearm", target="test"))
    assert desk.give(signal(12)) == PASSED


@pytest.mark.parametrize("action", ["halt", "reduce", "resume", "rearm"])
def test_what_risk_said_itself_in_a_recording_does_nothing(action: Any) -> None:
    """What brought it about will do so again, or not; the line does not pass either."""
    desk = Desk(TWICE)
    halted = desk.give(*many(3))
    assert halted.code == "EXECUTION_REPEATED"
    recorded = Control(action=action, target="test", by=RISK, reason="then", value={"broker": "paper"})
    assert list(desk.risk.on_control(recorded)) == []
    assert desk.give(signal(10)).code == "STRATEGY_HALTED"
    assert desk.give(signal(11, strategy_id="other")) == PASSED


# --- counters over a restart -----------------------------------------------------------------

#: What holds a counter: limits, what was done before the restart, what is asked for after it, and its refusal.
COUNTERS: dict[str, tuple[dict[str, Any], tuple[Any, ...], tuple[Any, ...], Outcome]] = {
    "repeated": ({}, (signal(1),), (signal(1),), Outcome("SIGNAL_DUPLICATE")),
    "conflict": ({}, (signal(1),), (signal(1, quantity=2),), Outcome("SIGNAL_CONFLICT")),
    "halted": ({}, (Control(action="halt", target="test"),), (signal(1),), Outcome("STRATEGY_HALTED")),
    "reducing": ({}, (signal(9), Control(action="reduce")), (signal(1),), Outcome("TRADING_REDUCING")),
    "duplicate": ({"duplicate_window": 2}, (signal(1),), (tick(1), signal(2)), Outcome("ORDER_DUPLICATE", 2, 1)),
    "self_match": (
        {"self_match_prevention": True}, (limit(1, 100),), (limit(2, 100, side="SELL"),),
        Outcome("ORDER_SELF_MATCH", 100, 100),
    ),
    "confirm_within": (
        {"confirm_within": 5}, (limit(1, 100),), (tick(6), limit(2, 100)), Outcome("ORDER_UNCONFIRMED", 5, 6),
    ),
    "position": (
        {"max_position": 5}, (*bought(3), limit(1, 99, quantity=2)), (signal(2),),
        Outcome("POSITION_ABOVE_LIMIT", 5, 6),
    ),
    "open_order_value": (
        {"max_open_order_value": 1000}, (limit(1, 100, quantity=10),), (limit(2, 0.05),),
        Outcome("EXPOSURE_OPEN_ABOVE_LIMIT", 1000, 1000.05),
    ),
    "turnover": (
        {"max_turnover": 1000}, (*bought(9), limit(1, 100)), (limit(2, 0.05),),
        Outcome("EXPOSURE_TURNOVER_ABOVE_LIMIT", 1000, 1000.05),
    ),
    "gross_exposure": (
        {"max_gross_exposure": 1000}, (*bought(9), limit(1, 100)), (signal(2),),
        Outcome("EXPOSURE_GROSS_ABOVE_LIMIT", 1000, 1100),
    ),
    "net_exposure": (
        {"max_net_exposure": 1000}, (*sold(9), limit(1, 100, side="SELL")), (signal(2, side="SELL"),),
        Outcome("EXPOSURE_NET_ABOVE_LIMIT", 1000, 1100),
    ),
    "funds": ({"max_funds_share": 1}, bought(9), (signal(2, quantity=2),), Outcome("FUNDS_INSUFFICIENT", 100, 200)),
    "repeated_execution": (TWICE, many(2), (tick(1), signal(3)), Outcome("EXECUTION_REPEATED", 2, 3)),
    "round_trips": (TRIPS, ROUND_TRIP, (signal(3),), Outcome("EXECUTION_ROUND_TRIPS", 1, 2)),
    "message_rate of a second": (RATE, many(4), (tick(0.5), signal(9)), Outcome("RATE_ABOVE_LIMIT", 4, 5)),
    "message_rate of a minute": (RATE, many(8, 2), (tick(20), signal(9)), Outcome("RATE_ABOVE_LIMIT", 8, 9)),
    "message_rate of a day": (RATE, many(16, 60), (tick(1000), signal(19)), Outcome("RATE_ABOVE_LIMIT", 16, 17)),
    "orders_to_trades": (RATIO, many(3), (signal(9),), Outcome("RATE_ORDERS_TO_TRADES", 3, 4)),
    "modifications": (
        {"max_modifications": 2}, (limit(1, 100), modify(1), modify(1)), (modify(1),),
        Outcome("RATE_MODIFICATIONS", 2, 3),
    ),
    "daily_loss": (
        {"max_daily_loss": 100}, (*bought(1, 200), tick(10, 150)), (tick(20, 99.9999), signal(2)),
        Outcome("TRADING_REDUCING", 100, 100.0001),
    ),
    "daily_loss that latched": (
        {"max_daily_loss": 100}, (*bought(1, 200), tick(10, 50)), (tick(20, 200), signal(2)),
        Outcome("TRADING_REDUCING", 100, 150),
    ),
    "daily_loss that halted": (
        {"max_daily_loss": 100}, (*bought(1, 200), tick(10, 49)), (tick(20, 200), signal(2, side="SELL")),
        Outcome("TRADING_HALTED", 100, 151),
    ),
    "drawdown": (
        {"max_drawdown": 100}, (*bought(1, 100), tick(10, 200.0001), signal(9, side="HOLD")), (signal(2),),
        Outcome("TRADING_REDUCING", 100, 100.0001),
    ),
    "consecutive_rejects": (
        {"max_consecutive_rejects": 2}, (signal(1), heard(1, "REJECTED"), signal(2)), (heard(2, "REJECTED"),),
        Outcome("EXECUTION_REJECTS", 2, 2),
    ),
    "consecutive_rejects that latched": (
        {"max_consecutive_rejects": 1}, (signal(1), heard(1, "REJECTED")), (signal(2),),
        Outcome("STRATEGY_HALTED", 1, 1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(COUNTERS))
def test_a_counter_still_holds_after_a_restart(name: str, tmp_path: Path) -> None:
    """What one process counted refuses in the next; without it the same would pass."""
    limits, before, after, expected = COUNTERS[name]
    fresh = Desk(limits, cash=1000).give(tick(0), *after)
    assert fresh == PASSED or fresh.code == "ORDER_UNKNOWN"
    with closing(Releasing(tmp_path)) as store:
        first = Desk(limits, cash=1000, store=store)
        first.give(tick(0), *before)
        first.risk.commit()
    with closing(Releasing(tmp_path)) as store:
        assert Desk(limits, cash=1000, store=store).give(tick(0), *after) == expected


class Releasing(Store):
    """A store of risk that a `with` lets go of."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "risk")

    def close(self) -> None:
        self.release()


def test_after_a_restart_a_loss_is_seen_although_nobody_asks_for_an_order(tmp_path: Path) -> None:
    """The first ticks mark what was held before, as those of one long run do."""
    with closing(Releasing(tmp_path)) as store:
        first = Desk({"max_daily_loss": 100}, store=store)
        assert first.give(tick(0), *bought(1, 200), tick(10, 150)) == PASSED
        first.risk.commit()
    with closing(Releasing(tmp_path)) as store:
        second = Desk({"max_daily_loss": 100}, store=store)
        second.give(tick(20, 99.9999))
        assert second.market.alarm is not None, "nobody wakes it"
        second.give(tick(31, 99.9999))
        assert [one.code for one in store.latched.states.values()] == ["LOSS_ABOVE_LIMIT"]


def test_a_fill_that_was_booked_before_a_restart_is_booked_once(tmp_path: Path) -> None:
    """Reports are read again from the beginning."""
    for _ in range(2):
        with closing(Releasing(tmp_path)) as store:
            desk = Desk({"max_position": 10}, store=store)
            assert desk.give(tick(0), fill(1, 5)) == PASSED
            desk.risk.commit()
    with closing(Releasing(tmp_path)) as store:
        assert Desk({"max_position": 10}, store=store).give(tick(0), signal(2, quantity=6)).observed == 11


def test_a_restart_begins_no_new_day_and_a_new_day_begins_the_daily_counts_anew(tmp_path: Path) -> None:
    """The day is kept too: what was done today still counts, and no longer tomorrow."""
    for when, code in ((0, ""), (3600, "RATE_ABOVE_LIMIT"), (DAY, "")):
        with closing(Releasing(tmp_path)) as store:
            desk = Desk({"message_rate": {"second": 50, "minute": 50, "day": 2}}, store=store)
            assert desk.give(tick(when), signal(when + 1, at=when)).code == code
            desk.risk.commit()


# --- messages --------------------------------------------------------------------------------


@pytest.mark.parametrize(("most", "left"), [(2, 1), (4, 3), (5, 4), (6, 4), (10, 8), (11, 8), (5000, 4000)])
def test_a_fifth_of_the_messages_rounded_up_is_kept_for_cancels(most: int, left: int) -> None:
    """Cancels themselves pass always, also beyond the last message."""
    assert usable(most) == left
    if most > 50:
        return
    desk = Desk({"message_rate": {"second": most, "minute": most, "day": most}})
    assert desk.give(*many(left)) == PASSED
    assert desk.give(signal(99)) == ("RATE_ABOVE_LIMIT", left, left + 1)
    for number in range(1, most + 2):
        assert desk.give(Cancel(oid(1 + number % left))) == PASSED
    assert desk.give(tick(1), signal(99)).code == "SIGNAL_DUPLICATE"
    assert desk.give(tick(1), signal(100)) == ("RATE_ABOVE_LIMIT", left, left + most + 2)


def test_modifications_and_cancels_are_messages_like_orders() -> None:
    """Four messages a second are left of five."""
    desk = Desk(RATE)
    assert desk.give(tick(0), limit(1, 100), modify(1), Cancel(oid(1)), limit(2, 100)) == PASSED
    assert desk.give(modify(2)) == ("RATE_ABOVE_LIMIT", 4, 5)
    assert desk.give(limit(3, 100)) == ("RATE_ABOVE_LIMIT", 4, 5)


def test_the_window_of_a_minute_moves_on_and_forgets_only_what_is_older() -> None:
    """Eight of the last minute are left when the first one is over, and the next is one too many again."""
    desk = Desk(RATE)
    assert desk.give(*many(8, 2), tick(60), signal(9)) == PASSED
    assert desk.give(signal(10)) == ("RATE_ABOVE_LIMIT", 8, 9)
    assert desk.give(tick(62), signal(11)) == PASSED


def test_a_short_window_of_one_strategy_does_not_cut_the_long_one_of_another() -> None:
    """Both look at the orders of the account, each as far back as it must."""
    windows = {"account": {"duplicate_window": 1}, "strategies": {"test": {"duplicate_window": 60}}}
    for between in ([], [signal(2, at=30, strategy_id="other", quantity=5)]):
        desk = Desk(windows)
        desk.give(tick(0), signal(1), *(event for event in (tick(30), *between) if between))
        assert desk.give(tick(40), signal(3, at=40)).code == "ORDER_DUPLICATE"
        assert desk.give(tick(61), signal(4, at=61)) == PASSED


def test_a_stream_that_steps_back_forgets_no_order_too_early() -> None:
    """An order from a step back counts as entered when the newest was: until then the same is a duplicate."""
    desk = Desk({"duplicate_window": 1})
    desk.give(tick(300), signal(1, at=300), tick(0), signal(2, at=0, quantity=2))
    assert desk.give(tick(30), signal(3, at=30, quantity=2)) == ("ORDER_DUPLICATE", 1, 0)
    assert desk.give(tick(302), signal(4, at=302, quantity=2)) == PASSED


def test_a_stream_that_steps_back_makes_no_room_for_messages() -> None:
    """Late ticks are older than what was sent already."""
    desk = Desk(RATE)
    assert desk.give(tick(10), *(signal(number) for number in (1, 2)), tick(5), signal(3), signal(4)) == PASSED
    assert desk.give(signal(5)) == ("RATE_ABOVE_LIMIT", 4, 5)
    assert desk.give(tick(10.5), signal(6)) == ("RATE_ABOVE_LIMIT", 4, 5)


def test_each_slice_is_a_message() -> None:
    """Five slices in one second are one too many."""
    for quantity, code in ((4 * 1800, ""), (4 * 1800 + 25, "RATE_ABOVE_LIMIT")):
        wanted = signal(1, at=AUGUST, instrument_token=FUTURE, quantity=quantity)
        assert Desk(RATE, master=LISTED).give(tick(AUGUST, 100, FUTURE), wanted).code == code


def test_an_order_that_ended_unfilled_is_no_repetition() -> None:
    """Rejected or cancelled: nothing was executed."""
    for status in ("REJECTED", "CANCELLED"):
        assert Desk(TWICE).give(*many(2), heard(2, status, 0, 0), signal(3)) == PASSED


# --- what is open ----------------------------------------------------------------------------


def test_of_several_orders_that_were_never_heard_of_the_oldest_counts() -> None:
    """On either side of the instrument."""
    desk = Desk({"confirm_within": 5})
    assert desk.give(tick(0), limit(1, 99), tick(3), limit(2, 101, side="SELL"), tick(5), limit(3, 98)) == PASSED
    assert desk.give(tick(6), limit(4, 99)) == ("ORDER_UNCONFIRMED", 5, 6)
    assert desk.give(heard(1), limit(5, 99)) == PASSED
    assert desk.give(tick(9), limit(6, 99)) == ("ORDER_UNCONFIRMED", 5, 6)


def test_an_order_counts_until_the_broker_says_that_it_ended() -> None:
    """Entered, open and partly filled it may still be filled whole; cancelled it cannot."""
    desk = Desk({"max_position": 10})
    assert desk.give(tick(0), limit(1, 100, quantity=10)) == PASSED
    assert desk.give(limit(2, 100)).observed == 11
    assert desk.give(fill(1, 4), heard(1, "OPEN", 4, 6), limit(3, 100)).observed == 11
    assert desk.give(heard(1, "CANCELLED", 4, 0), limit(4, 100, quantity=6)) == PASSED
    assert desk.give(limit(5, 100)).observed == 11


def test_a_fill_that_comes_after_the_end_of_its_order_counts_once() -> None:
    """The two reports may come in any order; a trade that is told again is no other."""
    for reports in ((heard(1, "COMPLETE", 5, 0), fill(1, 5)), (fill(1, 5), heard(1, "COMPLETE", 5, 0), fill(1, 5))):
        desk = Desk({"max_position": 10})
        assert desk.give(tick(0), limit(1, 100, quantity=5), *reports, limit(2, 100, quantity=5)) == PASSED
        assert desk.give(limit(3, 100)).observed == 11


@pytest.mark.parametrize("status", ["PUT ORDER REQ RECEIVED", "VALIDATION PENDING", "OPEN PENDING", "OPEN"])
def test_a_report_that_does_not_say_how_much_is_open_releases_nothing(status: str) -> None:
    """Both quantities are 0 where they are left out; the order may be filled whole all the same."""
    desk = Desk({"max_position": 5})
    assert desk.give(tick(0), limit(1, 100, quantity=5), heard(1, status, 0, 0)) == PASSED
    assert desk.give(limit(2, 100)) == ("POSITION_ABOVE_LIMIT", 5, 6)


def test_open_orders_are_paid_for_before_others_are() -> None:
    """Two orders of six hundred rupees do not both fit into a thousand, although neither was filled yet."""
    desk = Desk({"max_funds_share": 1}, cash=1000)
    assert desk.give(tick(0), limit(1, 100, quantity=6)) == PASSED
    assert desk.give(limit(2, 100, quantity=6)).code == "FUNDS_INSUFFICIENT"


def test_what_was_assumed_to_be_filled_is_taken_back_when_it_was_not() -> None:
    """A MARKET order counts as filled at once; rejected it is nothing, cancelled it is what was filled of it."""
    for status, filled, left in (("REJECTED", 0, 5), ("CANCELLED", 2, 3)):
        desk = Desk({"max_position": 5, "assume_market_fills": True})
        assert desk.give(tick(0), signal(1, quantity=5), signal(2)).observed == 6
        assert desk.give(heard(1, status, filled, 0), signal(3, quantity=left)) == PASSED
        assert desk.give(signal(4)).observed == 6


def test_of_what_was_assumed_to_be_filled_nothing_counts_twice() -> None:
    """Filled in part and then cancelled, whichever is told first: two are held of five."""
    for reports in ((fill(1, 2), heard(1, "CANCELLED", 2, 0)), (heard(1, "CANCELLED", 2, 0), fill(1, 2)),
                    (heard(1, "OPEN", 2, 3), fill(1, 2), heard(1, "CANCELLED", 2, 0))):  # fmt: skip
        desk = Desk({"max_position": 5, "assume_market_fills": True})
        assert desk.give(tick(0), signal(1, quantity=5), *reports, signal(2, quantity=3)) == PASSED
        assert desk.give(signal(3)).observed == 6
        assert desk.give(signal(4, side="SELL", quantity=10)) == PASSED
        assert desk.give(signal(5, side="SELL")).observed == -6


def test_what_was_assumed_and_taken_back_is_no_round_trip() -> None:
    """Nothing was ever held; and what counts as filled whole cannot be modified."""
    desk = Desk({**TRIPS, "assume_market_fills": True})
    assert desk.give(tick(0), signal(1)) == PASSED
    assert desk.give(modify(1, quantity=1)) == ("QUANTITY_NOT_POSITIVE", 1, 0)
    assert desk.give(heard(1, "REJECTED", 0, 0), signal(2)) == PASSED
    assert desk.give(signal(3, side="SELL"), signal(4, side="SELL")).code == "EXECUTION_ROUND_TRIPS"


def test_a_market_order_that_counts_as_filled_is_a_trade() -> None:
    """A message each, and a trade each: they never become too many."""
    assert Desk({**RATIO, "assume_market_fills": True}).give(*many(20)) == PASSED


def test_a_market_order_that_was_rejected_is_no_trade() -> None:
    """Although it counted as filled at first: three messages without a trade are all that there may be."""
    desk = Desk({**RATIO, "assume_market_fills": True})
    events = [one for number in (1, 2, 3) for one in (signal(number), heard(number, "REJECTED", 0, 0))]
    assert desk.give(tick(0), *events) == PASSED
    assert desk.give(signal(4)) == ("RATE_ORDERS_TO_TRADES", 3, 4)


def test_a_fill_at_another_price_than_was_assumed_corrects_what_was_spent() -> None:
    """Funds and turnover are those of the trade, not of the guess."""
    desk = Desk({"max_funds_share": 1, "max_turnover": 2000, "assume_market_fills": True}, cash=1000)
    assert desk.give(tick(0), signal(1, quantity=5), fill(1, 5, 110), limit(2, 450)) == PASSED
    assert desk.give(limit(3, 450.05)) == ("FUNDS_INSUFFICIENT", 450, 900.05)  # with what is open
    assert desk.risk.ledger.scope("paper").turnover == 550 * 10_000


def test_a_fill_at_a_worse_price_than_was_assumed_is_a_loss() -> None:
    """It is the trade that was paid for."""
    limits = {"max_daily_loss": 100, "assume_market_fills": True}
    assert Desk(limits).give(tick(0), signal(1, quantity=10), fill(1, 10, 110)) == PASSED
    latched = Desk(limits).give(tick(0), signal(1, quantity=10), fill(1, 10, 110.0001))
    assert latched == ("LOSS_ABOVE_LIMIT", 100, 100.001)


@pytest.mark.parametrize(("reports", "code"), [((), "ORDER_UNCONFIRMED"), ((heard(1),), "")])
def test_an_order_of_yesterday_that_a_broker_was_never_heard_of_still_counts(reports: Any, code: str) -> None:
    """It may have been filled; one that the broker had is gone with its day."""
    desk = Desk({"brokers": {"zerodha": {**EVERY, "max_position": 1}}})
    assert desk.give(tick(0), ZERODHA_CASH, limit(1, 100, broker="zerodha"), *reports) == PASSED
    assert desk.give(tick(DAY), limit(2, 100, at=DAY, broker="zerodha")).code == code


def statement(cash: str = "1000", price: str = "100", units: int = 5) -> Portfolio:
    """The broker says what there is: units of one instrument, and cash."""
    held = Position(NIFTY, units, Decimal(price), Decimal(0), Decimal(0))
    return Portfolio("paper", *(Decimal(cash),) * 2, *(Decimal(0),) * 3, positions=[held])


@pytest.mark.parametrize("given", [statement(), statement(price="33.333333"), statement("1000.123456")])
def test_what_a_statement_says_is_held_counts_however_many_decimals_its_amounts_have(given: Portfolio) -> None:
    """Averages are seldom whole paise; what is held counts all the same."""
    desk = Desk({"max_position": 5})
    assert desk.give(tick(0), given, signal(1)) == ("POSITION_ABOVE_LIMIT", 5, 6)
    assert desk.give(signal(2, side="SELL", quantity=11)) == ("POSITION_ABOVE_LIMIT", 5, -6)
    assert desk.give(signal(3, side="SELL", quantity=10)) == PASSED


@pytest.mark.parametrize("units", [5, -5])
def test_the_cash_of_a_statement_is_what_is_available(units: int) -> None:
    """What is held was paid for before, and what was sold short brought its cash before: it is the broker's figure."""
    desk = Desk({"max_funds_share": 1})
    assert desk.give(tick(0), statement(units=units), limit(1, 1000)) == PASSED
    desk = Desk({"max_funds_share": 1})
    assert desk.give(tick(0), statement(units=units), limit(1, 1000.05)) == ("FUNDS_INSUFFICIENT", 1000, 1000.05)


def test_a_statement_is_believed_once_about_positions_and_each_time_about_cash() -> None:
    """What is held is known from then on, by what was filled; and what is older than a statement says nothing."""
    desk = Desk({"max_position": 10, "max_turnover": 600, "max_funds_share": 1})
    later, earlier = (replace(statement(cash), timestamp=at(when)) for cash, when in (("500", 2), ("9000", 1)))
    assert desk.give(tick(0), statement(), later, earlier, signal(1, quantity=5)) == PASSED
    assert desk.give(heard(1, "CANCELLED", 0, 0), limit(2, 500.05)) == ("FUNDS_INSUFFICIENT", 500, 500.05)
    assert desk.give(signal(3, quantity=6)).code == "POSITION_ABOVE_LIMIT"


@pytest.mark.parametrize("given", [statement(price="NaN"), statement(price="Infinity"), statement("NaN")])
def test_a_statement_that_is_no_amount_ends_nothing(given: Portfolio) -> None:
    """The wire lets such a line through: the stream goes on, and no funds come of it."""
    desk = Desk()
    assert desk.give(tick(0), given, signal(1)) == PASSED


def test_slices_are_together_the_order_and_each_is_what_the_exchange_takes() -> None:
    """Whole lots, no larger than the freeze quantity; each is entered, names its parent and has an id of its own."""
    desk = Desk({"max_position": 4000}, master=LISTED)
    wanted = signal(1, at=AUGUST, instrument_token=FUTURE, quantity=3625)
    desk.give(tick(AUGUST, 100, FUTURE))
    made = [one for one in desk.risk.on_signal(wanted) if isinstance(one, Order)]
    assert [one.quantity for one in made] == [1800, 1800, 25]
    assert {one.parent_order_id for one in made} == {oid(1)}
    assert {one.order_id for one in made} == desk.risk.ledger.orders.keys()
    assert len({one.order_id for one in made}) == 3
    again = signal(2, at=AUGUST, instrument_token=FUTURE, quantity=400)
    assert desk.give(again) == ("POSITION_ABOVE_LIMIT", 4000, 4025)


def test_one_order_in_slices_is_no_repetition_of_itself() -> None:
    """A strategy that asked once does not loop, however many slices that makes."""
    desk = Desk(TWICE, master=LISTED)
    wanted = signal(1, at=AUGUST, instrument_token=FUTURE, quantity=3625)
    assert desk.give(tick(AUGUST, 100, FUTURE), wanted) == PASSED
    assert desk.give(signal(2, at=AUGUST, instrument_token=FUTURE, quantity=25)) == PASSED


@pytest.mark.parametrize(
    ("rule", "quantity"),
    [
        ({"rule": "fixed", "quantity": 7}, 7), ({"rule": "notional", "rupees": 799.99}, 7),
        ({"rule": "percent_of_equity", "percent": 70}, 7),
    ],
)  # fmt: skip
def test_what_a_sizing_rule_gives_is_held_against_the_limits(rule: dict[str, Any], quantity: int) -> None:
    """It is asked about like any other quantity; a quantity that the signal has stands."""
    desk = Desk({"sizing": rule}, cash=1000)
    desk.give(tick(0))
    assert desk.order(signal(1, quantity=None)).quantity == quantity
    assert desk.order(signal(2, quantity=3)).quantity == 3
    desk = Desk({"sizing": rule, "max_order_quantity": 6}, cash=1000)
    assert desk.give(tick(0), signal(1, quantity=None)) == ("QUANTITY_ABOVE_LIMIT", 6, 7)
    desk = Desk({"sizing": rule, "max_order_value": 699}, cash=1000)
    assert desk.give(tick(0), signal(1, quantity=None)) == ("VALUE_ABOVE_LIMIT", 699, 700)


def test_a_share_of_equity_is_one_of_cash_and_positions() -> None:
    """Half of a thousand was spent on what is worth as much now, or twice as much."""
    for price, quantity in ((100, 7), (200, 5)):
        desk = Desk({"sizing": {"rule": "percent_of_equity", "percent": 70}}, cash=1000)
        desk.give(tick(0), *bought(5), tick(1, price))
        assert desk.order(signal(1, quantity=None)).quantity == quantity


# --- modifications ---------------------------------------------------------------------------


def test_a_modification_that_passes_is_the_same_object() -> None:
    """Nothing is added and nothing lost."""
    desk = Desk({"max_position": 10})
    desk.give(tick(0), limit(1, 100, quantity=5))
    wanted = modify(1, quantity=10, price=Decimal("100.05"), reason="mine")
    (made,) = desk.risk.on_modify(wanted)
    assert made is wanted


def test_a_modification_of_an_order_that_is_not_open_here_is_withheld() -> None:
    """Never made, or ended: a denial stands in its place and names the order."""
    desk = Desk()
    desk.give(tick(0), limit(1, 100), heard(1, "CANCELLED", 0, 0), limit(2, 100), heard(2, "REJECTED", 0, 0))
    for order_id in ("nobody's", oid(1), oid(2)):
        (made,) = desk.risk.on_modify(Modify(order_id=order_id, quantity=1))
        assert isinstance(made, Denial)
        assert (made.code, made.order_id) == ("ORDER_UNKNOWN", order_id)


def test_a_modification_of_an_order_that_ended_before_its_last_trade_was_told_is_withheld() -> None:
    """Three of the five that were filled are still to be told of; what was cancelled cannot be modified."""
    desk = Desk({"max_position": 10})
    desk.give(tick(0), limit(1, 100, quantity=10), fill(1, 2), heard(1, "CANCELLED", 5, 0))
    assert desk.give(modify(1, quantity=9)).code == "ORDER_UNKNOWN"


@pytest.mark.parametrize("side", ["BUY", "SELL"])
@pytest.mark.parametrize(
    ("limits", "passes", "denied", "expected"),
    [
        ({"max_order_quantity": 10}, {"quantity": 10}, {"quantity": 11}, ("QUANTITY_ABOVE_LIMIT", 10, 11)),
        ({"max_order_value": 1000}, {"quantity": 10}, {"quantity": 11}, ("VALUE_ABOVE_LIMIT", 1000, 1100)),
        ({"max_position": 10}, {"quantity": 10}, {"quantity": 11}, ("POSITION_ABOVE_LIMIT", 10, 11)),
        ({"max_open_order_value": 1000}, {"quantity": 10}, {"quantity": 11}, ("EXPOSURE_OPEN_ABOVE_LIMIT", 1000, 1100)),
        ({"max_turnover": 1000}, {"quantity": 10}, {"quantity": 11}, ("EXPOSURE_TURNOVER_ABOVE_LIMIT", 1000, 1100)),
        ({"max_gross_exposure": 1000}, {"quantity": 10}, {"quantity": 11}, ("EXPOSURE_GROSS_ABOVE_LIMIT", 1000, 1100)),
        ({"max_net_exposure": 1000}, {"quantity": 10}, {"quantity": 11}, ("EXPOSURE_NET_ABOVE_LIMIT", 1000, 1100)),
        ({"max_funds_share": 1}, {"quantity": 10}, {"quantity": 11}, ("FUNDS_INSUFFICIENT", 1000, 1100)),
        ({}, {"quantity": 1}, {"quantity": 0}, ("QUANTITY_NOT_POSITIVE", 1, 0)),
        ({}, {"price": Decimal("0.05")}, {"price": Decimal(0)}, ("PRICE_MISSING", 0, 0)),
        ({}, {"price": Decimal("100.05")}, {"price": Decimal("100.06")}, ("PRICE_NOT_TICK_MULTIPLE", 0.05, 100.06)),
        ({}, {"order_type": "LIMIT"}, {"order_type": "MARKET"}, ("ORDER_TYPE_UNSUPPORTED", "LIMIT", "MARKET")),
        ({}, {}, {"order_type": "SL"}, ("ORDER_TYPE_UNSUPPORTED", "LIMIT", "SL")),
        ({}, {}, {"trigger_price": Decimal(90)}, ("ORDER_TYPE_UNSUPPORTED", "LIMIT", "SL")),
        ({"signal_ttl": 5}, {"timestamp": at(-5)}, {"timestamp": at(-5 - JUST)}, ("SIGNAL_EXPIRED", 5, 5.000001)),
        ({"session_hours": True}, {"timestamp": at(0)}, {"timestamp": at(-JUST)},
         ("SESSION_CLOSED", "09:15-15:30 IST", "2024-06-03T09:14:59.999999+05:30")),
    ],
)  # fmt: skip
def test_a_modification_is_asked_the_same_controls(
    limits: dict[str, Any], passes: dict[str, Any], denied: dict[str, Any], expected: tuple[Any, ...], side: str
) -> None:
    """As the order that it would make; the one that it replaces does not count beside it."""
    desk = Desk(limits, cash=1000)
    desk.give(tick(0), limit(1, 100, side=side, quantity=5))
    assert desk.give(modify(1, **passes)) == PASSED
    desk = Desk(limits, cash=1000)
    desk.give(tick(0), limit(1, 100, side=side, quantity=5))
    code, most, observed = expected
    sign = -1 if code == "POSITION_ABOVE_LIMIT" and side == "SELL" else 1
    assert desk.give(modify(1, **denied)) == (code, most, observed if sign == 1 else -observed)


@pytest.mark.parametrize(("side", "good", "bad"), [("BUY", "102", "102.05"), ("SELL", "98", "97.95")])
def test_a_modification_cannot_go_beyond_the_tolerance(side: str, good: str, bad: str) -> None:
    """On the worse side of the last price, whichever that is."""
    desk = Desk({"price_tolerance": 0.02})
    assert desk.give(tick(0), limit(1, 100, side=side), modify(1, price=Decimal(good))) == PASSED
    assert desk.give(modify(1, price=Decimal(bad))) == ("PRICE_OUT_OF_TOLERANCE", 0.02, 0.0205)


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"max_order_value": 1000}, "VALUE_ABOVE_LIMIT"), ({"max_open_order_value": 1000}, "EXPOSURE_OPEN_ABOVE_LIMIT"),
        ({"max_turnover": 1000}, "EXPOSURE_TURNOVER_ABOVE_LIMIT"), ({"max_funds_share": 1}, "FUNDS_INSUFFICIENT"),
    ],
)  # fmt: skip
def test_a_modification_of_the_price_alone_costs_more_too(limits: dict[str, Any], code: str) -> None:
    """Ten for a thousand rupees are the most; a tick dearer is beyond."""
    desk = Desk(limits, cash=1000)
    assert desk.give(tick(0), limit(1, 99.95, quantity=10), modify(1, price=Decimal(100))) == PASSED
    assert desk.give(modify(1, price=Decimal("100.05"))) == (code, 1000, 1000.5)


@pytest.mark.parametrize("side", ["BUY", "SELL"])
@pytest.mark.parametrize(
    "tight",
    [{"max_position": 5}, {"max_open_order_value": 500}, {"max_turnover": 500}, {"max_gross_exposure": 500},
     {"max_net_exposure": 500}],
)  # fmt: skip
def test_beyond_a_limit_a_modification_that_makes_nothing_worse_passes(
    tight: dict[str, Any], side: str, tmp_path: Path
) -> None:
    """After a restart with tighter limits an open order may be left as it is or made smaller, and not larger."""
    with closing(Releasing(tmp_path)) as store:
        first = Desk(store=store)
        assert first.give(tick(0), limit(1, 100, side=side, quantity=10)) == PASSED
        first.risk.commit()
    with closing(Releasing(tmp_path)) as store:
        second = Desk(tight, store=store)
        assert second.give(tick(0), modify(1)) == PASSED
        assert second.give(modify(1, price=Decimal(100))) == PASSED
        assert second.give(modify(1, quantity=11)).code in {
            "POSITION_ABOVE_LIMIT", "EXPOSURE_OPEN_ABOVE_LIMIT", "EXPOSURE_TURNOVER_ABOVE_LIMIT",
            "EXPOSURE_GROSS_ABOVE_LIMIT", "EXPOSURE_NET_ABOVE_LIMIT",
        }  # fmt: skip
        assert second.give(modify(1, quantity=9)) == PASSED


def test_a_modification_may_not_cross_ones_own_order() -> None:
    """Itself it does not cross."""
    desk = Desk({"self_match_prevention": True})
    assert desk.give(tick(0), limit(1, 100), limit(2, 101, side="SELL"), modify(1, price=Decimal("100.95"))) == PASSED
    assert desk.give(modify(1, price=Decimal(101))) == ("ORDER_SELF_MATCH", 101, 101)
    assert desk.give(modify(2, price=Decimal("100.95"))) == ("ORDER_SELF_MATCH", 100.95, 100.95)


def test_a_modification_is_about_what_is_left_of_the_order() -> None:
    """Four of ten were filled: what is left may be worth as much as one order may be, and no more."""
    desk = Desk({"max_order_value": 600})
    assert desk.give(tick(0), limit(1, 100, quantity=6), fill(1, 4), modify(1, quantity=10)) == PASSED
    assert desk.give(modify(1, quantity=11)) == ("VALUE_ABOVE_LIMIT", 600, 700)
    assert desk.give(modify(1, quantity=4)) == ("QUANTITY_NOT_POSITIVE", 1, 0)


def test_a_modification_that_was_refused_changes_nothing() -> None:
    """The order is counted as it was."""
    desk = Desk({"max_position": 10})
    assert desk.give(tick(0), limit(1, 100, quantity=5), modify(1, quantity=11)).code == "POSITION_ABOVE_LIMIT"
    assert desk.give(limit(2, 100, quantity=5)) == PASSED


def test_what_a_modification_makes_smaller_counts_until_the_broker_confirms_it() -> None:
    """It may come too late."""
    desk = Desk({"max_position": 10})
    assert desk.give(tick(0), limit(1, 100, quantity=10), modify(1, quantity=4)) == PASSED
    assert desk.give(limit(2, 100)).observed == 11
    assert desk.give(heard(1, "OPEN", 0, 4), limit(3, 100, quantity=6)) == PASSED


def test_a_modification_is_one_message_and_a_halted_strategy_makes_none() -> None:
    """Cancels still pass."""
    desk = Desk()
    desk.give(tick(0), limit(1, 100), Control(action="halt", target="test"))
    assert desk.give(modify(1, quantity=1)).code == "STRATEGY_HALTED"
    assert desk.give(Cancel(oid(1))) == PASSED


def test_an_order_in_the_input_is_withheld() -> None:
    """Nothing has checked it, whoever says that it passed other limits; it counts for nothing."""
    desk = Desk({"max_position": 1})
    (made,) = desk.risk.on_order(order(1, quantity=7, limits_hash="0" * 16))
    assert (made.code, made.order_id, made.observed) == ("ORDER_FOREIGN", "o1", 7)  # type: ignore[attr-defined]
    assert desk.give(tick(0), signal(1)) == PASSED


# --- a sale below the market ---------------------------------------------------------------------------------

BELOW_THE_MARKET = {
    "max_order_value": "VALUE_ABOVE_LIMIT",
    "max_open_order_value": "EXPOSURE_OPEN_ABOVE_LIMIT",
    "max_turnover": "EXPOSURE_TURNOVER_ABOVE_LIMIT",
}


@pytest.mark.parametrize("name", list(BELOW_THE_MARKET))
@pytest.mark.parametrize("price", [0.05, 1, 99.95])
def test_a_sale_below_the_market_is_worth_the_market(name: str, price: float) -> None:
    """5,000 at the market's 100 rupees are 5,00,000, whatever less the order asks: it fills at the bid."""
    answer = Desk({name: 1000}, cash=10**7).give(tick(0, 100), limit(1, price, side="SELL", quantity=5000))
    assert (answer.code, answer.limit, answer.observed) == (BELOW_THE_MARKET[name], 1000, 500_000)


def test_a_sale_that_is_modified_below_the_market_is_worth_the_market() -> None:
    """Ten asked for 200 rupees may be sold at 100 when the price is modified to 1."""
    desk = Desk({"max_order_value": 1050}, cash=10**7)
    assert desk.give(tick(0, 100), limit(1, 105, side="SELL", quantity=10)) == PASSED
    assert desk.give(tick(1, 106), modify(1, price=Decimal(1))).code == "VALUE_ABOVE_LIMIT"
