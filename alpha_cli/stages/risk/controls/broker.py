"""What only the broker, or the machine that trades, can answer: asked again right before an order is sent.

The execution stage gathers `BrokerFacts`; a fact that is missing refuses.
"""

from __future__ import annotations

from alpha_cli.stages.risk.codes import Code
from alpha_cli.stages.risk.facts import BrokerFacts, Facts, Refusal, rupees, seconds

_NOTHING = BrokerFacts()

#: Comparisons in a row that differ before it counts: one may be caught between two messages.
MISMATCHES = 2


def circuit(facts: Facts) -> Refusal | None:
    """The price lies within the day's circuit limits."""
    if not facts.limits.circuit_limits:
        return None
    band, price = _of(facts).circuit, facts.price if facts.price is not None else facts.reference
    if band is None or price is None:
        return Refusal(Code.PRICE_CIRCUIT_UNKNOWN, "the day's circuit limits, or the price, are not known")
    if band[0] <= price <= band[1]:
        return None
    said = f"{rupees(band[0])} to {rupees(band[1])}"
    return Refusal(Code.PRICE_OUTSIDE_CIRCUIT, "outside the day's circuit limits", said, rupees(price))


def children(facts: Facts) -> Refusal | None:
    """The slices of an order are together no more than the order that was approved. Counted at the last step."""
    approved, quantity = _of(facts).approved, facts.quantity or 0
    if approved is None:
        return Refusal(Code.ORDER_CHILDREN_ABOVE_PARENT, "how much was approved is not known", None, quantity)
    if quantity + approved[1] <= approved[0]:
        return None
    return Refusal(
        Code.ORDER_CHILDREN_ABOVE_PARENT, "the slices would be more than the order", approved[0], approved[1] + quantity
    )


def funds_age(facts: Facts) -> Refusal | None:
    """The figure of the funds is of now."""
    limit, age = facts.limits.max_funds_age, _of(facts).funds_age
    assert limit is not None
    if not facts.entry or (age is not None and age <= limit):
        return None
    return Refusal(Code.FUNDS_STALE, "the funds were asked for too long ago", seconds(limit), seconds(age))


def reconciled(facts: Facts) -> Refusal | None:
    """No entry where the outcome of an order is not known, or where the books differ from the broker's."""
    if not facts.limits.reconcile or not facts.entry:
        return None
    known = _of(facts)
    if known.unknown is None or known.unknown > 0:
        return Refusal(Code.RECONCILIATION_UNKNOWN, "orders on the instrument with unknown outcome", 0, known.unknown)
    if known.mismatches is None or known.mismatches >= MISMATCHES:
        return Refusal(
            Code.RECONCILIATION_MISMATCH, "positions or cash differ from the broker's", MISMATCHES - 1, known.mismatches
        )
    return None


def heartbeat(facts: Facts) -> Refusal | None:
    """Feed and risk are alive."""
    limit, age = facts.limits.max_heartbeat_age, _of(facts).heartbeat_age
    assert limit is not None
    if not facts.entry or (age is not None and age <= limit):
        return None
    return Refusal(Code.HEARTBEAT_MISSING, "feed or risk have been silent", seconds(limit), seconds(age))


def clock_skew(facts: Facts) -> Refusal | None:
    """The clock agrees with the exchange's."""
    limit, skew = facts.limits.max_clock_skew, _of(facts).clock_skew
    assert limit is not None
    if not facts.entry:
        return None
    if skew is None:
        return Refusal(Code.CLOCK_UNKNOWN, "by how much the clock is off is not known", seconds(limit))
    if abs(skew) <= limit:
        return None
    return Refusal(Code.CLOCK_SKEWED, "the clock is off", seconds(limit), seconds(abs(skew)))


def clock_jump(facts: Facts) -> Refusal | None:
    """The clock did not jump."""
    limit, jump = facts.limits.max_clock_jump, _of(facts).clock_jump
    assert limit is not None
    if not facts.entry:
        return None
    if jump is None:
        return Refusal(Code.CLOCK_UNKNOWN, "whether the clock jumped is not known", seconds(limit))
    if abs(jump) <= limit:
        return None
    return Refusal(Code.CLOCK_JUMPED, "the clock jumped", seconds(limit), seconds(abs(jump)))


def same_limits(facts: Facts) -> Refusal | None:
    """The order passed the limits that are loaded here, and not others."""
    hashes = _of(facts).limits_hash
    if hashes is not None and hashes[0] == hashes[1]:
        return None
    return Refusal(Code.LIMIT_HASH_MISMATCH, "the order passed other limits", *_pair(hashes))


def same_version(facts: Facts) -> Refusal | None:
    """The order was made by this very version."""
    versions = _of(facts).version
    if versions is not None and versions[0] == versions[1]:
        return None
    return Refusal(Code.LIMIT_VERSION_MISMATCH, "the order was made by another version", *_pair(versions))


def algo_id(facts: Facts) -> Refusal | None:
    """The order carries the exchange's id of the algorithm, where there is one."""
    wanted = facts.limits.algo_id
    if wanted is False or _of(facts).algo_id == wanted:
        return None
    return Refusal(Code.ALGO_ID_MISSING, "the order does not carry the algo_id", wanted, _of(facts).algo_id)


def registered_ip(facts: Facts) -> Refusal | None:
    """Orders leave from the address that is registered with the broker."""
    wanted = facts.limits.registered_ip
    if wanted is False or _of(facts).address == wanted:
        return None
    return Refusal(Code.ALGO_ADDRESS_MISMATCH, "not the registered address", wanted, _of(facts).address)


def _of(facts: Facts) -> BrokerFacts:
    return facts.broker or _NOTHING


def _pair(found: tuple[str | None, str] | None) -> tuple[str | None, str | None]:
    """Limit and observed value of a comparison."""
    return (None, None) if found is None else (found[1], found[0])
