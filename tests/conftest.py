"""Hypothesis profiles and their seed, skips that are failures in CI, and the fixtures that several folders share."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from support import examples
from support.processes import NO_SHARED_DATA

examples.register()

os.environ["ALPHA_INSTRUMENTS"] = ""  # no instrument master, also where a developer has one


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed of random examples here, so that it can be told: hypothesis would keep its own to itself."""
    if examples.profile_in_force() in examples.SEEDED and config.getoption("hypothesis_seed") is None:
        chosen = getattr(config, "workerinput", {}).get("hypothesis_seed", random.SystemRandom().randrange(10**6))
        config.option.hypothesis_seed = hypothesis.core.global_force_seed = chosen


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give every process of pytest-xdist the same seed."""
    if (seed := node.config.getoption("hypothesis_seed")) is not None:
        node.workerinput["hypothesis_seed"] = seed


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what takes long first: no core is left with a long test while the others have nothing to do."""
    order = ["properties", "docs", "processes", "unit"]
    items.sort(key=lambda item: order.index(item.path.parent.name))


def _seed(config: pytest.Config) -> str | None:
    """How to try the same random examples again."""
    seed = config.getoption("hypothesis_seed")
    if seed is None:
        return None
    return f"seed {seed}: repeat with --hypothesis-profile={examples.profile_in_force()} --hypothesis-seed={seed}"


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Tell the seed at the end, where it is still to be seen."""
    if (seed := _seed(config)) is not None:
        terminalreporter.write_line(f"hypothesis: {seed}")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """In CI a skip is a failure: what a test needs is installed there. Absent shared data alone may skip.

    A known defect, marked xfail, is no skip: its test ran.
    """
    report = (yield).get_result()
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if NO_SHARED_DATA not in reason:
            report.outcome, report.longrepr = "failed", f"skipped in CI: {reason}"
    if report.failed and item.get_closest_marker("hypothesis") and (seed := _seed(item.config)) is not None:
        report.sections.append(("hypothesis seed", seed))


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
