"""How long a strategy takes, from samples: buckets a sixteenth apart, whatever the number of samples."""

from __future__ import annotations

#: A tick is timed if its number has none of these bits, one in 64: measuring costs nothing that can be measured.
SPARED = 63
_KEPT_BITS = 5  # of a duration: a bucket is at most 1/16 of it wide


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
        """Microseconds that `share` of the samples did not exceed, to within a sixteenth; None without samples."""
        left = share * self.samples
        for bucket in sorted(self._buckets):
            left -= self._buckets[bucket]
            if left <= 0:
                return bucket / 1000
        return None
