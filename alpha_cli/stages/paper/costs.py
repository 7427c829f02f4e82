"""Charges of trades in ledger units: an estimate on each fill, and the contract note that settles a day."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

from alpha_cli.core.events import Fill, Order
from alpha_cli.core.money import in_rupees, units
from alpha_cli.market.contracts import Contract, Contracts
from alpha_cli.stages.paper.codes import Code, Refused
from alpha_cli.stages.paper.config import ChargesMode
from alpha_cli.stages.paper.orders import EXPIRY, SQUARE_OFF, PaperOrder, is_made_by

if TYPE_CHECKING:
    from alpha_cli.market.charges.engine import Charges, Tariff

_FOUR_DECIMALS = Decimal("0.0001")


class Costs:
    """Charges by name; no charges in the mode `none`."""

    def __init__(self, mode: ChargesMode) -> None:
        self.mode = mode
        self._tariff: Tariff | None = None
        self._known: set[tuple[date, str, str, str]] = set()  # days and kinds of trades whose charges are known

    @property
    def tariff(self) -> Tariff:
        """The tariff, read when it is first needed."""
        if self._tariff is None:
            from alpha_cli.market.charges.engine import Tariff

            self._tariff = Tariff.load()
        return self._tariff

    def check_known(self, order: Order, contract: Contract) -> None:
        """Raise `Refused` if the charges of the order, or of its square-off, are not known for that day."""
        instrument = contract.instrument
        kind = (contract.on, instrument.exchange, contract.traded_as, order.product)
        if self.mode == "none" or kind in self._known:
            return
        from alpha_cli.market.charges.rates import ChargesUnknown

        try:
            for side in ("BUY", "SELL"):
                self.tariff.rates_for(contract.on, instrument.exchange, contract.traded_as, order.product, side)
            if order.product == "CNC":
                self.tariff.dp(contract.on)
            elif order.product == "MIS":
                self.tariff.auto_square_off(contract.on)
        except ChargesUnknown as error:
            raise Refused(Code.CHARGES_UNKNOWN, str(error)) from None
        self._known.add(kind)

    def of_fill(
        self, working: PaperOrder, contract: Contract, quantity: int, price: int, *, delivered: bool
    ) -> Mapping[str, int]:
        """Return what a fill of `quantity` units at `price` costs, after the earlier fills of the same order.

        An estimate, by the product of the order. Charges of the day or of an event are taken with the fill that
        causes them: DP with the first sale from the demat account (`delivered`), that of the auto square-off with
        the first fill of its order.
        """
        if self.mode == "none":
            return {}
        if working.made_by == EXPIRY:
            return self._of_expiry(working, contract, quantity, price)
        order = working.order
        kind = (contract.instrument.exchange, contract.traded_as, order.product, order.side)
        made = self.tariff.in_units(contract.on, kind, quantity * price, working.turnover)
        if delivered:
            _add(made, self.tariff.dp(contract.on))
        if working.made_by == SQUARE_OFF and not working.fills:
            _add(made, self.tariff.auto_square_off(contract.on))
        return made

    def of_day(self, day: date, fills: Iterable[Fill], contracts: Contracts) -> dict[str, int]:
        """Return the charges of the contract note of `day` over all its `fills`, DP and square-off included."""
        from alpha_cli.market.charges.note import NoteTrade, contract_note

        trades = []
        for fill in fills:
            contract = contracts.contract(fill.instrument_token, day)
            expired = is_made_by(EXPIRY, fill)
            if expired and (contract.kind != "option" or not fill.price):
                continue  # settled by its last price, or worthless: no charges
            trades.append(
                NoteTrade(
                    order_id=fill.order_id,
                    exchange=contract.instrument.exchange,
                    symbol=contract.instrument.tradingsymbol,
                    kind=contract.traded_as,
                    product=fill.product,
                    side=fill.side,
                    quantity=fill.quantity,
                    price=fill.price,
                    exercise=expired,
                    auto_square_off=is_made_by(SQUARE_OFF, fill),
                )
            )
        charges = contract_note(self.tariff, day, trades).charges
        return {name: units(amount) for name, amount in charges.items() if name != "total"}

    def _of_expiry(self, working: PaperOrder, contract: Contract, quantity: int, price: int) -> dict[str, int]:
        if contract.kind != "option" or not price:
            return {}
        made: dict[str, int] = {}
        _add(
            made,
            self.tariff.on_exercise(
                contract.on, contract.instrument.exchange, in_rupees(price * quantity), working.order.side
            ),
        )
        return made


def _add(made: dict[str, int], charges: Charges) -> None:
    """Add `charges` in rupees to `made`, rounded half up to a ledger unit."""
    from alpha_cli.market.charges.engine import EXACT

    for name, amount in charges.items():
        if name != "total":
            made[name] = made.get(name, 0) + units(EXACT.quantize(amount, _FOUR_DECIMALS))
