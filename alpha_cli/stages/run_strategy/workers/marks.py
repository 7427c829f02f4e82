"""What a worker is doing, in memory that outlives its process."""

from __future__ import annotations

from mmap import mmap
from typing import Any

from alpha_cli.stages.run_strategy.executor import Process, Strategy


class Marks:
    """Which strategy a worker is calling, at which line of the batch, and its number of calls so far."""

    SIZE = 96
    _NAME = 24

    def __init__(self, memory: mmap) -> None:
        self._memory = memory
        self._numbers = memoryview(memory)[: self._NAME].cast("Q")  # calls so far, line, length of the name

    def clear(self) -> None:
        """Mark that nothing is being called."""
        self._numbers[2] = 0

    def at(self, line: int) -> None:
        """Mark the line of the batch that is being handled."""
        self._numbers[1] = line

    def guard(self, strategy: Strategy, call: Process) -> Process:
        """Return `call` with a mark while it runs."""
        numbers, memory, first = self._numbers, self._memory, self._NAME
        name = strategy.id.encode()
        length, last = len(name), first + len(name)

        def marked(*given: Any) -> Any:
            before = numbers[2]  # of an outer call of the same strategy, or 0
            memory[first:last] = name
            numbers[0] += 1
            numbers[2] = length
            try:
                return call(*given)
            finally:
                numbers[2] = before

        return marked

    def making(self, name: str | None) -> None:
        """Mark that a strategy is being made; None: that none is."""
        if name is not None:
            data = name.encode()
            self._memory[self._NAME : self._NAME + len(data)] = data
        self._numbers[2] = 0 if name is None else len(name)

    @property
    def strategy(self) -> str | None:
        """Return the strategy that is being called, None between two calls."""
        length = self._numbers[2]
        return self._memory[self._NAME : self._NAME + length].decode() if length else None

    @property
    def line(self) -> int:
        """Return the line of the batch that it is called for."""
        return self._numbers[1]

    @property
    def calls(self) -> int:
        """Return the calls so far: the same number at two looks means the same call."""
        return self._numbers[0]
