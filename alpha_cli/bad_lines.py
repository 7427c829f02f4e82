"""What becomes of a line that is not an event: stop, skip, or keep it in a dead-letter file.

A dead letter is `{"error", "line_number", "raw"}`; the feed adds the `instrument_token` where it can
tell. `raw` is the line itself, so a letter can be mended and replayed; bytes that are not UTF-8 come
as `raw_base64` beside it. A long line is kept by its beginning.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from alpha_cli.errors import BadLine, InputOutputError, printable
from alpha_cli.lines import KEPT_OF_LONG_LINE

FAIL = "fail"
SKIP_LINES = "skip"


class BadLines:
    """Counts and disposes of bad lines as `policy` says: `fail`, `skip` or a path."""

    def __init__(self, stage: str, policy: str) -> None:
        self.stage = stage
        self.policy = policy
        self.rejected = 0
        self.blank = 0
        self.failure: BadLine | None = None
        self._file: int | None = None

    def reject(self, line_number: int | None, raw: bytes, reason: str, instrument_token: int | None = None) -> None:
        """Dispose of one bad line; after the first under `fail`, `failure` says why to stop."""
        if self.failure is not None:
            return
        self.rejected += 1
        where = "" if line_number is None else f"line {line_number}: "
        shown = printable(raw[:KEPT_OF_LONG_LINE].decode("utf-8", "replace"), 80)
        if self.policy == FAIL:
            self.failure = BadLine(f"{where}{printable(reason, 200)}: {shown} (--bad skip or --bad FILE goes on)")
            return
        if self.policy != SKIP_LINES:
            self._keep(line_number, raw, reason, instrument_token)
        if _is_round(self.rejected):  # 1st, 2nd, ... 10th, 20th, ... so that a flood stays readable
            what = "bad line" if self.rejected == 1 else f"{self.rejected} bad lines so far"
            sys.stderr.write(f"alpha {self.stage}: {what}: {where}{printable(reason, 200)}: {shown}\n")

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _keep(self, line_number: int | None, raw: bytes, reason: str, instrument_token: int | None) -> None:
        import orjson  # only a bad line needs it

        letter: dict[str, Any] = {"error": reason, "line_number": line_number}
        if instrument_token is not None:
            letter["instrument_token"] = instrument_token
        kept = raw if len(raw) <= 1 << 20 else raw[:KEPT_OF_LONG_LINE]
        letter["raw"] = kept.decode("utf-8", "replace")
        if letter["raw"].encode() != kept:
            from base64 import b64encode

            letter["raw_base64"] = b64encode(kept).decode("ascii")
        try:
            if self._file is None:
                self._file = os.open(self.policy, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
            data = orjson.dumps(letter) + b"\n"
            while data:
                data = data[os.write(self._file, data) :]
        except OSError as error:
            raise InputOutputError(f"dead-letter file {self.policy}: {error.strerror}") from None


def _is_round(count: int) -> bool:
    """1..9, 10, 20, ..., 90, 100, 200, ...: one digit and zeros."""
    return not str(count)[1:].strip("0")
