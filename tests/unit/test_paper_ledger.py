"""The books of a paper account: exact to the last digit, whatever is bought and sold."""

from __future__ import annotations

import copy
import re
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, strategies as st

from alpha_cli.core.errors import InvariantBroken
from alpha_cli.core.events import Quantity
from alpha_cli.core.ledger import MAX_QUANTITY, Account, Holding, Unbookable
from alpha_cli.core.money import UNITS, divided, in_rupees, plain, units
from alpha_cli.core.wire import rupees

CASH = Decimal(1_000_000)
KEY = (256265, "MIS")

prices = st.integers(1, 10**9)  # ledger units, as all amounts here
charges = st.dictionaries(st.sampled_from(["brokerage", "stt", "gst"]), st.integers(0, 10**8), max_size=3)
fills = st.lists(
    st.tuples(
        st.sampled_from([1, 2, 3]),
        st.sampled_from(["MIS", "CNC"]),
        st.sampled_from(["BUY", "SELL"]),
        st.integers(1, 10**4),
        prices,
        charges,
    ),
    max_size=40,
)


def account_after(*trades: tuple[str, int, str]) -> tuple[Account, Holding]:
    """An account after trades of (side, quantity, rupees) in one instrument, and its position."""
    account = Account.opened("paper", CASH)
    for side, quantity, price in trades:
        account.fill(KEY, side, quantity, units(Decimal(price)))
        account.check()
    return account, account.positions[KEY]


@given(fills)
def test_what_was_paid_is_in_the_books_after_every_fill(sequence):
    """cash + Σ quantity×last == starting cash + Σ realised + Σ unrealised - charges."""
    account = Account.opened("paper", CASH)
    for token, product, side, quantity, price, costs in sequence:
        account.fill((token, product), side, quantity, price, costs)
        account.check()
        positions = account.positions.values()
        left = account.cash + sum(p.quantity * p.last_price for p in positions)
        unrealised = sum(p.quantity * p.last_price - p.cost for p in positions)
        right = units(CASH) + sum(p.realised for p in positions) + unrealised - account.charged
        assert left == right == account.equity


@given(fills)
def test_cash_quantity_and_charges_are_the_sum_of_the_fills(sequence):
    """An independent sum over the fills gives the same cash, positions and charges by name."""
    account = Account.opened("paper", CASH)
    cash, held, paid = Fraction(CASH), {}, {}
    for token, product, side, quantity, price, costs in sequence:
        account.fill((token, product), side, quantity, price, costs)
        signed = quantity if side == "BUY" else -quantity
        cash -= signed * Fraction(price, UNITS) + Fraction(sum(costs.values()), UNITS)
        held[token, product] = held.get((token, product), 0) + signed
        for name, amount in costs.items():
            paid[name] = paid.get(name, 0) + amount
    assert Fraction(account.cash, UNITS) == cash
    assert {key: position.quantity for key, position in account.positions.items()} == held
    assert account.charges == paid


@given(fills)
def test_every_booking_balances_and_all_of_them_are_the_account(sequence):
    """Double entry: each adds up to zero, and an account's balance is the sum of what was posted to it."""
    account = Account.opened("paper", CASH)
    trial: dict[str, int] = {"cash": units(CASH), "capital": -units(CASH)}
    bookings = [account.fill((token, product), *rest) for token, product, *rest in sequence]
    bookings += [account.deposit(12_345), account.charge({"stt": -70, "gst": 3})]
    for booking in bookings:
        assert sum(amount for _, amount in booking.postings) == 0
        for name, amount in booking.postings:
            trial[name] = trial.get(name, 0) + amount
    assert trial["cash"] == account.cash
    assert (trial["capital"], trial.get("realised", 0)) == (-account.capital, -account.realised)
    assert trial.get("positions", 0) == account.cost
    assert {name[8:]: amount for name, amount in trial.items() if name.startswith("charges:")} == account.charges
    account.check()


@given(fills, prices)
def test_closing_everything_turns_all_profit_into_cash(sequence, price):
    """Flat books: no cost is left behind, and cash - starting cash is realised P&L less charges."""
    account = Account.opened("paper", CASH)
    for token, product, side, quantity, paid, costs in sequence:
        account.fill((token, product), side, quantity, paid, costs)
    for key, position in account.positions.items():
        if position.quantity:
            account.fill(key, "SELL" if position.quantity > 0 else "BUY", abs(position.quantity), price)
    assert all(position.quantity == 0 and position.cost == 0 for position in account.positions.values())
    assert account.cash - units(CASH) == account.realised - account.charged
    account.check()


def test_a_third_of_a_position_releases_a_cost_that_is_rounded_once():
    """3 units for 100.01: selling one releases 33.3367, and the rest of the cost stays, to the last digit."""
    account, position = account_after(("BUY", 1, "33.34"), ("BUY", 1, "33.33"), ("BUY", 1, "33.34"), ("SELL", 1, "40"))
    assert position.realised == 400_000 - 333_367
    assert position.cost == 1_000_100 - 333_367
    assert account.realised == position.realised


@pytest.mark.parametrize(
    ("trades", "quantity", "average", "realised"),
    [
        ([("BUY", 10, "100"), ("SELL", 15, "110")], -5, "110", "100"),
        ([("SELL", 10, "100"), ("BUY", 15, "90")], 5, "90", "100"),
        ([("SELL", 10, "100"), ("SELL", 10, "110"), ("BUY", 5, "100")], -15, "105", "25"),
        ([("BUY", 10, "100"), ("SELL", 10, "90")], 0, "0", "-100"),
        ([("BUY", 1, "100"), ("BUY", 2, "100.01")], 3, "100.0067", "0"),
    ],
)
def test_average_cost_by_hand(trades, quantity, average, realised):
    """Flips close all and open the rest at the fill's price; averages show four decimals, half-even."""
    account, position = account_after(*trades)
    assert (position.quantity, str(position.average_price)) == (quantity, average)
    assert position.realised == account.realised == units(Decimal(realised))


def test_unrealised_follows_the_last_price():
    """A short of 5 at 110 has lost 25 rupees when the price is 115."""
    account, position = account_after(("SELL", 5, "110"))
    position.last_price = units(Decimal(115))
    assert in_rupees(position.unrealised) == in_rupees(account.unrealised) == Decimal(-25)
    assert in_rupees(account.equity) == CASH - 25
    account.check()


def test_products_are_separate_positions():
    """MIS and CNC of one instrument do not net."""
    account = Account.opened("paper", CASH)
    account.fill((1, "MIS"), "BUY", 1, 100)
    account.fill((1, "CNC"), "SELL", 1, 100)
    assert [position.quantity for position in account.positions.values()] == [1, -1]


@pytest.mark.parametrize(
    "tamper",
    [
        lambda account: setattr(account, "cash", account.cash + 1),
        lambda account: setattr(account, "capital", account.capital - 1),
        lambda account: setattr(account, "realised", account.realised + UNITS),
        lambda account: account.charges.update(stt=1),
        lambda account: setattr(account.positions[KEY], "cost", 1),
        lambda account: setattr(account.positions[KEY], "quantity", 0),
        lambda account: account.positions.update({(1, "MIS"): Holding(1, "MIS", MAX_QUANTITY + 1)}),
    ],
)
def test_books_that_do_not_balance_are_refused(tamper):
    """A hundredth of a paisa too much is an error with exit code 70."""
    account, _ = account_after(("BUY", 10, "100"), ("SELL", 5, "110"))
    tamper(account)
    with pytest.raises(InvariantBroken, match="stop trading") as caught:
        account.check()
    assert caught.value.exit_code == 70


@pytest.mark.parametrize(
    ("trades", "figure"),
    [
        ([("BUY", MAX_QUANTITY, "0.0001"), ("BUY", 1, "0.0001")], "position would be 1000000000001 units"),
        ([("SELL", MAX_QUANTITY, "0.0001"), ("SELL", 1, "0.0001")], "position would be -1000000000001 units"),
        ([("SELL", 10**6, "999999")], "cash would be 1000000000000 rupees"),
        ([("BUY", 10**6, "1000001")], "cash would be -1000000000000 rupees"),
        ([("BUY", 10**6, "999999"), ("SELL", 10**5, "1000000.0001")], None),
        ([("BUY", 10**6, "1"), ("BUY", 1, "1000000")], "position's value would be 1000001000000 rupees"),
        ([("SELL", 1, "999998999999"), ("BUY", 2, "999999999999")], None),
    ],
)
def test_a_fill_that_the_wire_could_not_tell_is_refused_whole(trades, figure):
    """The message names the figure, and nothing of the books has changed."""
    account, _ = account_after(("BUY", 1, "1"))
    account.fill(KEY, "SELL", 1, UNITS)
    for side, quantity, price in trades[:-1]:
        account.fill(KEY, side, quantity, units(Decimal(price)))
    before = copy.deepcopy(account)
    side, quantity, price = trades[-1]
    if figure is None:
        account.fill(KEY, side, quantity, units(Decimal(price)))
        account.check()
        return
    with pytest.raises(Unbookable, match=re.escape(figure)):
        account.fill(KEY, side, quantity, units(Decimal(price)), {"stt": 0})
    assert account == before
    with pytest.raises(Unbookable):
        account.fill((7, "CNC"), side, quantity * 10**6, 1_000_000 * UNITS)
    assert account == before


def test_charges_and_deposits_count_towards_what_the_books_can_tell():
    """A charge or a deposit that would make the cash too large to be told is refused, and changes nothing."""
    account = Account.opened("paper", CASH)
    before = copy.deepcopy(account)
    with pytest.raises(Unbookable, match="cash would be -1000000000000 rupees"):
        account.fill(KEY, "BUY", 1, UNITS, {"stt": (10**12 + 10**6 - 1) * UNITS})
    for amount in (10**12 * UNITS, -(10**12 + 10**6) * UNITS):
        with pytest.raises(Unbookable, match="cash would be"):
            account.deposit(amount)
    assert account == before


@given(st.integers(-(10**20), 10**20), st.integers(-(10**12), 10**12).filter(bool))
def test_division_rounds_half_to_even(amount, by):
    """Against the arithmetic of fractions, whose `round` is half-even."""
    assert divided(amount, by) == round(Fraction(amount, by))


@pytest.mark.parametrize("amount", ["1.00001", "NaN", "Infinity", "1e-5"])
def test_rupees_that_are_no_ledger_units_are_an_error(amount):
    """Nothing is rounded on its way in."""
    with pytest.raises((ValueError, ArithmeticError)):
        units(Decimal(amount))


@given(st.integers(-(10**20), 10**20))
def test_ledger_units_and_rupees_are_the_same_amount(amount):
    """There and back, never with an exponent or trailing zeros."""
    shown = in_rupees(amount)
    assert (units(shown), Fraction(shown)) == (amount, Fraction(amount, UNITS))
    assert str(shown) == str(plain(shown))


def test_the_largest_position_is_that_of_the_wire():
    """One bound, said in two places."""
    (bounds,) = Quantity.__metadata__
    assert (bounds.ge, bounds.le) == (-MAX_QUANTITY, MAX_QUANTITY)


@pytest.mark.parametrize(
    ("price", "shown"),
    [(22150.05, "22150.05"), (22150.0, "22150"), (100.0, "100"), (0.05, "0.05"), (1e11, "100000000000"),
     (0.1 + 0.2, "0.3"), (1.00005, "1"), (1.00015, "1.0002")],
)  # fmt: skip
def test_prices_are_what_the_exchange_meant(price, shown):
    """A float becomes its shortest decimal, at most four places, never an exponent."""
    assert str(rupees(price)) == shown


@given(st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**24), max_value=10**24))
def test_plain_changes_the_look_and_not_the_amount(amount):
    """No exponent, no trailing zeros, no negative zero, the same value."""
    shown = str(plain(amount))
    assert Decimal(shown) == amount
    assert "E" not in shown
    assert shown != "-0"
    assert "." not in shown or not shown.endswith("0")


@pytest.mark.parametrize("count", [200_000, pytest.param(10_000_000, marks=pytest.mark.stress)])
def test_many_fills_of_five_paise_do_not_drift(count):
    """Where floats would be off by now the cash is exact: each fill pays 0.05, and 0.0003 and 0.0001 in charges."""
    account = Account.opened("paper", CASH)
    fill, paid = account.fill, {"stt": 3, "gst": 1}
    for _ in range(count):
        fill(KEY, "BUY", 1, 500, paid)
    assert in_rupees(account.cash) == CASH - count * Decimal("0.0504")
    assert (account.charges, account.positions[KEY].quantity) == ({"stt": 3 * count, "gst": count}, count)
    assert account.positions[KEY].average_price == Decimal("0.05")
    account.check()
