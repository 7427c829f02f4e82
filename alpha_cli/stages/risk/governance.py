"""Who may loosen limits: nobody by the way. A looser file is refused until its hash is repeated with `--ack-limits`.

Every change is kept with who made it and when. Source: 17 CFR 240.15c3-5(d), direct and exclusive control.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from msgspec.structs import asdict

from alpha_cli.core.errors import ConfigurationError
from alpha_cli.core.text import printable
from alpha_cli.stages.risk.config import InstrumentLevel, RiskFile
from alpha_cli.stages.risk.explained import as_written
from alpha_cli.stages.risk.limits import PAPER, TIGHTER, of_level

if TYPE_CHECKING:
    from alpha_cli.stages.risk.store import Store


def put_in_force(store: Store, new: RiskFile, acknowledged: str | None, *, at: datetime, by: str) -> list[str]:
    """Let `new` hold from now on. What it changes; raises `ConfigurationError` if it is looser, unless acknowledged."""
    import pydantic

    kept = store.limits()
    name = new.hash()
    if kept is None:
        store.note_limits(name=name, file=new.model_dump_json(), at=at, by=by, changes=["the first limits here"])
        return []
    try:
        old = RiskFile.model_validate_json(kept)
    except pydantic.ValidationError:
        looser: list[str] = ["the limits that held before cannot be read"]
        changed: list[str] = []
    else:
        if old.hash() == name:
            return []
        looser, changed = differences(old, new)
    if looser and acknowledged != name:
        more = f", and {len(looser) - 3} more" if len(looser) > 3 else ""
        wrong = "" if acknowledged is None else f" (--ack-limits {printable(acknowledged, 40)} names other limits)"
        raise ConfigurationError(
            f"the limits are looser than those of the last run: {'; '.join(looser[:3])}{more}; "
            f"if that is meant, run once with --ack-limits {name}{wrong}"
        )
    changes = [*(f"looser: {one}" for one in looser), *changed]
    store.note_limits(name=name, file=new.model_dump_json(), at=at, by=by, changes=changes)
    return changes


def differences(old: RiskFile, new: RiskFile) -> tuple[list[str], list[str]]:
    """What is looser in `new`, and what is otherwise changed. What cannot be compared counts as looser."""
    looser: list[str] = []
    changed: list[str] = []
    before, after = old.levels(), new.levels()
    live = bool(new.live)  # then every level but that of paper holds for real orders
    for name in sorted(before.keys() | after.keys()):
        was, now = before.get(name), after.get(name)
        old_values, new_values = _set(was), _set(now)
        real = live and name != f"brokers.{PAPER}"
        for setting in sorted(old_values.keys() | new_values.keys()):
            one, other = old_values.get(setting), new_values.get(setting)
            if one == other:
                continue
            said = f"{name}.{setting}: {_said(was, setting)} to {_said(now, setting)}"
            (looser if _is_looser(setting, one, other, live=real) else changed).append(said)
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


def _set(level: InstrumentLevel | None) -> dict[str, Any]:
    """setting -> value, of what is set."""
    if level is None:
        return {}
    found = {setting: value for setting, value in asdict(of_level(level)).items() if value is not None}
    sizing = getattr(level, "sizing", None)
    return found if sizing is None else {**found, "sizing": sizing.model_dump(mode="json")}


def _said(level: InstrumentLevel | None, setting: str) -> str:
    value = getattr(level, setting, None)
    return "unset" if value is None else as_written(value)
