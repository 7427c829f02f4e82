"""Base class for the parameters of a strategy: those of its orders, and the rules that all parameters follow."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator


class OrderParameters(BaseModel):
    """Parameters of the orders of a strategy; inherit, and add the others with bounds and units.

    A name that is not declared is refused. A parameter may have older names, `validation_alias=AliasChoices("lookback",
    "window")`; it may be given only once.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, loc_by_alias=False)

    quantity: int = Field(1, ge=1, le=1_000_000, description="units of the instrument")
    order_type: Literal["MARKET", "LIMIT"] = "MARKET"
    product: Literal["MIS", "CNC", "NRML"] = "MIS"

    @model_validator(mode="before")
    @classmethod
    def _one_of_aliases(cls, given: Any) -> Any:
        """Refuse a parameter that is given under two of its names. Raise `ValueError`."""
        for name, field in cls.model_fields.items():
            if isinstance(field.validation_alias, AliasChoices):
                names = [str(alias) for alias in field.validation_alias.choices if alias in given]
                if len(names) > 1:
                    raise ValueError(f"{' and '.join(names)} are the same parameter, {name}; give it once")
        return given
