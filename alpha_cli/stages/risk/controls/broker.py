"""Controls that need the broker, or the machine that trades: asked again right before an order is sent.

The execution stage provides `BrokerFacts`; a missing fact refuses.
"""

from __future__ import annotations

from alpha_cli.stages.risk.codes import Code
from alpha_cli.stages.risk.facts import BrokerFacts, Facts
from alpha_cli.stages.risk.refusal import Refusal, rupees, seconds

_NOTHING = BrokerFacts()

#: Consecutive differing comparisons before it counts: a single one may fall between two messages.
MISMATCHES = 2


def circuit(facts: Facts) -> Refusal | None:
    """Require a price within the day's circuit limits."""
    if not facts.limits.circuit_limits:
        return None
    band, price = (
        _of(facts).circuit,
        facts.request.limit_price if facts.request.limit_price is not None else facts.price.reference,
    )
    if band is None or price is None:
        return Refusal(Code.PRICE_CIRCUIT_UNKNOWN, "the day's circuit limits, or the price, are not known")
    if band[0] <= price <= band[1]:
        return None
    band_text = f"{rupees(band[0])} to {rupees(band[1])}"
    return Refusal(Code.PRICE_OUTSIDE_CIRCUIT, "outside the day's circuit limits", band_text, rupees(price))


def children(facts: Facts) -> Refusal | None:
    """Require that the slices of an order are together no larger than the approved order."""
    approved, quantity = _of(facts).approved, facts.request.quantity or 0
    if approved is None:
        return Refusal(Code.ORDER_CHILDREN_ABOVE_PARENT, "how much was approved is not known", None, quantity)
    if quantity + approved[1] <= approved[0]:
        return None
    return Refusal(
        Code.ORDER_CHILDREN_ABOVE_PARENT, "the slices would be more than the order", approved[0], approved[1] + quantity
    )


def funds_age(facts: Facts) -> Refusal | None:
    """Refuse an entry if the funds were queried too long ago."""
    limit, age = facts.limits.max_funds_age, _of(facts).funds_age
    assert limit is not None
    if not facts.is_entry or (age is not None and age <= limit):
        return None
    return Refusal(Code.FUNDS_STALE, "the funds were asked for too long ago", seconds(limit), seconds(age))


def reconciled(facts: Facts) -> Refusal | None:
    """Refuse an entry while the outcome of an order is not known, or positions or cash differ from the broker's."""
    if not facts.limits.reconcile or not facts.is_entry:
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
    """Refuse an entry if feed or risk were silent too long."""
    limit, age = facts.limits.max_heartbeat_age, _of(facts).heartbeat_age
    assert limit is not None
    if not facts.is_entry or (age is not None and age <= limit):
        return None
    return Refusal(Code.HEARTBEAT_MISSING, "feed or risk have been silent", seconds(limit), seconds(age))


def clock_skew(facts: Facts) -> Refusal | None:
    """Refuse an entry if the clock differs from the exchange's."""
    limit, skew = facts.limits.max_clock_skew, _of(facts).clock_skew
    assert limit is not None
    if not facts.is_entry:
        return None
    if skew is None:
        return Refusal(Code.CLOCK_UNKNOWN, "by how much the clock is off is not known", seconds(limit))
    if abs(skew) <= limit:
        return None
    return Refusal(Code.CLOCK_SKEWED, "the clock is off", seconds(limit), seconds(abs(skew)))


def clock_jump(facts: Facts) -> Refusal | None:
    """Refuse an entry if the clock jumped."""
    limit, jump = facts.limits.max_clock_jump, _of(facts).clock_jump
    assert limit is not None
    if not facts.is_entry:
        return None
    if jump is None:
        return Refusal(Code.CLOCK_UNKNOWN, "whether the clock jumped is not known", seconds(limit))
    if abs(jump) <= limit:
        return None
    return Refusal(Code.CLOCK_JUMPED, "the clock jumped", seconds(limit), seconds(abs(jump)))


def same_limits(facts: Facts) -> Refusal | None:
    """Require that the order passed the limits that are loaded here."""
    hashes = _of(facts).limits_hash
    if hashes is not None and hashes[0] == hashes[1]:
        return None
    return Refusal(Code.LIMIT_HASH_MISMATCH, "the order passed other limits", *_pair(hashes))


def same_version(facts: Facts) -> Refusal | None:
    """Require that the order was made by this version."""
    versions = _of(facts).version
    if versions is not None and versions[0] == versions[1]:
        return None
    return Refusal(Code.LIMIT_VERSION_MISMATCH, "the order was made by another version", *_pair(versions))


def algo_id(facts: Facts) -> Refusal | None:
    """Require that the order carries the exchange's id of the algorithm, if one is set."""
    wanted = facts.limits.algo_id
    if wanted is False or _of(facts).algo_id == wanted:
        return None
    return Refusal(Code.ALGO_ID_MISSING, "the order does not carry the algo_id", wanted, _of(facts).algo_id)


def registered_ip(facts: Facts) -> Refusal | None:
    """Require that orders leave from the address registered with the broker."""
    wanted = facts.limits.registered_ip
    if wanted is False or _of(facts).address == wanted:
        return None
    return Refusal(Code.ALGO_ADDRESS_MISMATCH, "not the registered address", wanted, _of(facts).address)


def _of(facts: Facts) -> BrokerFacts:
    return facts.broker or _NOTHING


def _pair(found: tuple[str | None, str] | None) -> tuple[str | None, str | None]:
    """Return limit and observed value of a comparison."""
    return (None, None) if found is None else (found[1], found[0])
