"""Who may loosen limits: a looser file is refused until its hash is repeated with `--ack-limits`.

Every change is stored with who made it and when. Source: 17 CFR 240.15c3-5(d), direct and exclusive control.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from msgspec.structs import asdict

from alpha_cli.core.errors import ConfigurationError
from alpha_cli.core.text import printable
from alpha_cli.stages.risk.config import InstrumentLevel, RiskFile
from alpha_cli.stages.risk.explained import as_written
from alpha_cli.stages.risk.limits import PAPER, TIGHTER
from alpha_cli.stages.risk.resolve import limits_hash, of_level

if TYPE_CHECKING:
    from alpha_cli.stages.risk.store import Store


def apply_limits(store: Store, new: RiskFile, acknowledged: str | None, *, at: datetime, by: str) -> list[str]:
    """Store `new` as the limits from now on and return what it changes.

    Raises `ConfigurationError` if it is looser and not acknowledged.
    """
    import pydantic

    stored = store.limits()
    name = limits_hash(new)
    if stored is None:
        store.note_limits(name=name, file=new.model_dump_json(), at=at, by=by, changes=["the first limits here"])
        return []
    try:
        old = RiskFile.model_validate_json(stored)
    except pydantic.ValidationError:
        looser: list[str] = ["the limits that held before cannot be read"]
        changed: list[str] = []
    else:
        if limits_hash(old) == name:
            return []
        looser, changed = differences(old, new)
    if looser and acknowledged != name:
        more = f", and {len(looser) - 3} more" if len(looser) > 3 else ""
        wrong = "" if acknowledged is None else f" (--ack-limits {printable(acknowledged, 40)} names other limits)"
        raise ConfigurationError(
            f"the limits are looser than those of the last run: {'; '.join(looser[:3])}{more}; "
            f"if that is meant, run once with --ack-limits {name}{wrong}"
        )
    changes = [*(f"looser: {change}" for change in looser), *changed]
    store.note_limits(name=name, file=new.model_dump_json(), at=at, by=by, changes=changes)
    return changes


def differences(old: RiskFile, new: RiskFile) -> tuple[list[str], list[str]]:
    """Return what is looser in `new`, and what is changed otherwise. What cannot be compared counts as looser."""
    looser: list[str] = []
    changed: list[str] = []
    before, after = old.levels(), new.levels()
    live = bool(new.live)  # then every level but that of paper applies to real orders
    for name in sorted(before.keys() | after.keys()):
        was, now = before.get(name), after.get(name)
        old_values, new_values = _values(was), _values(now)
        real = live and name != f"brokers.{PAPER}"
        for setting in sorted(old_values.keys() | new_values.keys()):
            old_value, new_value = old_values.get(setting), new_values.get(setting)
            if old_value == new_value:
                continue
            change = f"{name}.{setting}: {_text(was, setting)} to {_text(now, setting)}"
            (looser if _is_looser(setting, old_value, new_value, live=real) else changed).append(change)
    return looser, changed


def _is_looser(setting: str, old: Any, new: Any, *, live: bool) -> bool:
    if setting not in TIGHTER:  # how signals are sized
        return True
    if new is None or old is None:
        return new is None or live  # for a real broker, what is not set refuses everything
    if setting == "allowed_instruments":
        return not new[0] <= old[0]
    if (
        setting == "price_tolerance"
        and live
        and any(a is None and b is not None for a, b in zip(old, new, strict=True))
    ):
        return True
    return bool(TIGHTER[setting](old, new) != new)


def _values(level: InstrumentLevel | None) -> dict[str, Any]:
    """Return setting -> value, of what is set."""
    if level is None:
        return {}
    found = {setting: value for setting, value in asdict(of_level(level)).items() if value is not None}
    sizing = getattr(level, "sizing", None)
    return found if sizing is None else {**found, "sizing": sizing.model_dump(mode="json")}


def _text(level: InstrumentLevel | None, setting: str) -> str:
    value = getattr(level, setting, None)
    return "unset" if value is None else as_written(value)
