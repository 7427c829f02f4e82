"""How many examples a property is tried with, by hypothesis profile.

    @examples(150)
    @given(days)
    def test_…

ci       at most 30 of each property, the same ones in every run: what was green stays green
new      10 random ones; the second, small pass of CI, which can find what `ci` cannot
dev      random, as many as the test says; what pytest does where neither CI nor an option says otherwise
nightly  random, ten times as many

`pytest --hypothesis-profile NAME` takes another. `new` and `nightly` print a seed, with which they try the same
examples again; `dev` keeps failures in `.hypothesis` and tries them first.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar

import pytest
from hypothesis import HealthCheck, settings

T = TypeVar("T")

USUAL = 100  # examples of a property that does not say how many
STEPS = 50  # of a state machine that does not say how many


class Profile(NamedTuple):
    """What becomes of the number of examples, and of the steps of a state machine."""

    times: int = 1
    at_most: int = 10**9
    steps_at_most: int = 10**9

    def examples(self, count: int) -> int:
        return min(count * self.times, self.at_most)


PROFILES = {
    "ci": Profile(at_most=30, steps_at_most=40),
    "new": Profile(at_most=10, steps_at_most=40),
    "dev": Profile(),
    "nightly": Profile(times=10),
}
SEEDED = {"new", "nightly"}  # random, from a seed that is told


def profile_in_force() -> str:
    """Return its name; options of pytest add to it."""
    return settings.get_current_profile_name().partition("-with-")[0]


def register() -> None:
    """Register the profiles and load the one of this environment; an option of pytest may load another."""
    for name, profile in PROFILES.items():
        kept: dict[str, Any] = {"database": None} if name in {"ci", "new"} else {}
        settings.register_profile(
            name,
            deadline=None,  # a busy machine is no failure
            suppress_health_check=[HealthCheck.too_slow],
            max_examples=profile.examples(USUAL),
            stateful_step_count=min(STEPS, profile.steps_at_most),
            derandomize=name == "ci",
            print_blob=True,
            **kept,
        )
    settings.load_profile("ci" if os.environ.get("CI") else "dev")


def examples(count: int = USUAL, *, steps: int = STEPS, **options: Any) -> settings:
    """Return the settings of a property that ought to be tried with `count` examples, in the profile in force."""
    profile = PROFILES[profile_in_force()]
    return settings(
        max_examples=profile.examples(count), stateful_step_count=min(steps, profile.steps_at_most), **options
    )


def rest_nightly(first: int, values: Iterable[Any], *, names: int = 1) -> list[Any]:
    """Return `values` for `parametrize`: CI tries the `first` of them, the nightly run all.

    For cases of one kind that each take seconds. `names` is how many parameters a case has.
    """
    return [
        value if place < first else pytest.param(*(value if names > 1 else (value,)), marks=pytest.mark.nightly)
        for place, value in enumerate(values)
    ]


def every_in_ci(step: int, values: Iterable[T]) -> list[T]:
    """Return every `step`-th of `values` in CI, and all of them elsewhere. For long lists of one kind."""
    return list(values)[:: step if profile_in_force() in {"ci", "new"} else 1]
