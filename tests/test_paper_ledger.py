"""The books of a paper account: exact to the last digit, whatever is bought and sold."""

from __future__ import annotations

import copy
import re
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings, strategies as st

from alpha_cli.errors import InvariantBroken
from alpha_cli.events import Quantity
from alpha_cli.paper.ledger import MAX_QUANTITY, Account, Holding, Unbookable, plain
from alpha_cli.wire import rupees

CASH = Decimal(1_000_000)
KEY = (256265, "MIS")

prices = st.integers(1, 10**9).map(lambda ticks: Decimal(ticks) / 10_000)
fills = st.lists(
    st.tuples(
        st.sampled_from([1, 2, 3]),
        st.sampled_from(["MIS", "CNC"]),
        st.sampled_from(["BUY", "SELL"]),
        st.integers(1, 10**4),
        prices,
        st.integers(0, 10**6).map(lambda paise: Decimal(paise) / 100),
    ),
    max_size=40,
)


def account_after(*trades: tuple[str, int, str]) -> tuple[Account, Holding]:
    """An account after trades of (side, quantity, price) in one instrument, and its position."""
    account = Account.opened("paper", CASH)
    for side, quantity, price in trades:
        account.apply(KEY, side, quantity, Decimal(price))
        account.check()
    return account, account.positions[KEY]


@settings(deadline=None)
@given(fills)
def test_what_was_paid_is_in_the_books_after_every_fill(sequence):
    """cash + Σ quantity×last == starting cash + Σ realised + Σ unrealised - charges, with exact fractions."""
    account = Account.opened("paper", CASH)
    for token, product, side, quantity, price, charges in sequence:
        account.apply((token, product), side, quantity, price, charges)
        account.check()
        positions = account.positions.values()
        left = Fraction(account.cash) + sum(p.quantity * Fraction(p.last_price) for p in positions)
        unrealised = sum(p.quantity * Fraction(p.last_price) - Fraction(p.cost) for p in positions)
        right = Fraction(CASH) + sum(Fraction(p.realised) for p in positions) + unrealised - Fraction(account.charges)
        assert left == right


@settings(deadline=None)
@given(fills)
def test_cash_and_quantity_are_the_sum_of_the_fills(sequence):
    """An independent sum over the fills gives the same cash and the same positions."""
    account = Account.opened("paper", CASH)
    cash, held = Fraction(CASH), {}
    for token, product, side, quantity, price, charges in sequence:
        account.apply((token, product), side, quantity, price, charges)
        signed = quantity if side == "BUY" else -quantity
        cash -= signed * Fraction(price) + Fraction(charges)
        held[token, product] = held.get((token, product), 0) + signed
    assert Fraction(account.cash) == cash
    assert {key: position.quantity for key, position in account.positions.items()} == held


@settings(deadline=None)
@given(fills, prices)
def test_closing_everything_turns_all_profit_into_cash(sequence, price):
    """Flat books: no cost is left behind, and cash - starting cash is realised P&L less charges."""
    account = Account.opened("paper", CASH)
    for token, product, side, quantity, paid, charges in sequence:
        account.apply((token, product), side, quantity, paid, charges)
    for key, position in account.positions.items():
        if position.quantity:
            account.apply(key, "SELL" if position.quantity > 0 else "BUY", abs(position.quantity), price)
    assert all(position.quantity == 0 and position.cost == 0 for position in account.positions.values())
    assert account.cash - CASH == account.realised - account.charges
    account.check()


def test_a_hundred_thousand_fills_of_five_paise_do_not_drift():
    """Where floats would be off by now, the cash is exact: 100,000 × 0.05 = 5,000."""
    account = Account.opened("paper", CASH)
    price = Decimal("0.05")
    for _ in range(100_000):
        account.apply(KEY, "BUY", 1, price)
    assert account.cash == Decimal(995_000)
    assert account.positions[KEY].average_price == price
    account.check()


def test_a_third_of_a_position_releases_a_cost_that_is_rounded_once():
    """3 units for 100.01: selling one releases 33.3367, and the rest of the cost stays, to the last digit."""
    account, position = account_after(("BUY", 1, "33.34"), ("BUY", 1, "33.33"), ("BUY", 1, "33.34"), ("SELL", 1, "40"))
    assert position.realised == Decimal("40") - Decimal("33.3367")
    assert position.cost == Decimal("100.01") - Decimal("33.3367")
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
    assert position.realised == account.realised == Decimal(realised)


def test_unrealised_follows_the_last_price():
    """A short of 5 at 110 has lost 25 rupees when the price is 115."""
    account, position = account_after(("SELL", 5, "110"))
    position.last_price = Decimal(115)
    assert position.unrealised == account.unrealised == Decimal(-25)
    assert account.equity == CASH - 25
    account.check()


def test_products_are_separate_positions():
    """MIS and CNC of one instrument do not net."""
    account = Account.opened("paper", CASH)
    account.apply((1, "MIS"), "BUY", 1, Decimal(100))
    account.apply((1, "CNC"), "SELL", 1, Decimal(100))
    assert [position.quantity for position in account.positions.values()] == [1, -1]


@pytest.mark.parametrize(
    "tamper",
    [
        lambda account: setattr(account, "cash", account.cash + Decimal("0.0001")),
        lambda account: setattr(account, "realised", account.realised + 1),
        lambda account: setattr(account.positions[KEY], "cost", Decimal(1)),
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
        ([("BUY", 1, "1.00001")], "price 1.00001 has more than 4 decimals"),
        ([("BUY", 1, "1000000000000")], "price 1000000000000 is not an amount of rupees"),
        ([("BUY", 1, "NaN")], "price NaN is not an amount of rupees"),
    ],
)
def test_a_fill_that_the_wire_could_not_tell_is_refused_whole(trades, figure):
    """The message names the figure, and nothing of the books has changed."""
    account, _ = account_after(("BUY", 1, "1"))
    account.apply(KEY, "SELL", 1, Decimal(1))
    for side, quantity, price in trades[:-1]:
        account.apply(KEY, side, quantity, Decimal(price))
    before = copy.deepcopy(account)
    side, quantity, price = trades[-1]
    if figure is None:
        account.apply(KEY, side, quantity, Decimal(price))
        account.check()
        return
    with pytest.raises(Unbookable, match=re.escape(figure)):
        account.apply(KEY, side, quantity, Decimal(price))
    assert account == before
    with pytest.raises(Unbookable):
        account.apply((7, "CNC"), side, quantity * 10**6, Decimal("1000000"))
    assert account == before


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
