"""The way of an order through the paper engine stays straight: few changes from file to file."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "trace_order.py"


def test_an_order_turns_back_at_most_21_times():
    """To a file that it left before, and changes file at most 21 times within the stage."""
    spec = importlib.util.spec_from_file_location("trace_order", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    before = sys.getprofile()
    try:
        steps = script.trace()
    finally:
        sys.setprofile(before)
    figures = script.figures(steps)
    assert len(steps) > 50
    assert steps[0].function == "Engine.on_order"
    assert figures.turn_backs <= 21
    assert figures.within_paper <= 21
