"""Latency of a strategy, from samples: a histogram with buckets a sixteenth apart; and the count of ticks."""

from __future__ import annotations

#: A call is timed if the number of its tick has none of these bits: one in 64, which costs too little to measure.
SAMPLING = 63
_KEPT_BITS = 5  # of a duration: a bucket is at most 1/16 of it wide


class TickCounter:
    """The number of ticks of one instrument within its sessions so far."""

    __slots__ = ("ticks",)

    def __init__(self) -> None:
        self.ticks = 0


class Timing:
    """Durations in nanoseconds, as a histogram."""

    __slots__ = ("_buckets", "samples")

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self.samples = 0

    def add(self, nanoseconds: int) -> None:
        """Count one duration."""
        shift = max(nanoseconds.bit_length() - _KEPT_BITS, 0)
        bucket = nanoseconds >> shift << shift
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
        self.samples += 1

    def quantile(self, share: float) -> float | None:
        """Return the microseconds that `share` of the samples did not exceed, to a sixteenth; None without samples."""
        left = share * self.samples
        for bucket in sorted(self._buckets):
            left -= self._buckets[bucket]
            if left <= 0:
                return bucket / 1000
        return None
