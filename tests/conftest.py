"""Hypothesis profiles, skips that are failures in CI, and the fixtures that several folders share."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from support.processes import NO_SHARED_DATA

# A busy machine is no failure; and CI looks at the same examples each time, people at new ones.
hypothesis.settings.register_profile("alpha", deadline=None, derandomize=bool(os.environ.get("CI")))
hypothesis.settings.load_profile("alpha")

os.environ["ALPHA_INSTRUMENTS"] = ""  # no instrument master, also where a developer has one


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, None]:
    """In CI a skip is a failure: what a test needs is installed there. Absent shared data alone may skip.

    A known defect, marked xfail, is no skip: its test ran.
    """
    report = (yield).get_result()
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if NO_SHARED_DATA not in reason:
            report.outcome, report.longrepr = "failed", f"skipped in CI: {reason}"


@pytest.fixture
def gate(tmp_path: Path) -> Iterable[Callable[..., Any]]:
    """Makes a `support.risk_gate.Gate` on a folder of its own, and ends it."""
    from support.risk_gate import Gate

    made: list[Gate] = []

    def begin(limits: dict[str, Any] | None = None, **options: Any) -> Gate:
        made.append(Gate(tmp_path / "state", limits, **options))
        return made[-1]

    yield begin
    for one in made:
        one.store.release()
