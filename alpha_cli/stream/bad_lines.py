"""What becomes of a line that is not an event: stop, skip, or keep it in a dead-letter file.

A dead letter is `{"error", "line_number", "raw"}`; the feed adds the `instrument_token` where it can
tell. `raw` is the line itself, so a letter can be mended and replayed; bytes that are not UTF-8 come
as `raw_base64` beside it. Of a long line only the beginning is kept.
"""

from __future__ import annotations

import os
from typing import Any

from alpha_cli.core.errors import BadLine, InputOutputError, UsageError
from alpha_cli.core.text import printable
from alpha_cli.storage.files import write_all
from alpha_cli.stream.lines import KEPT_OF_LONG_LINE
from alpha_cli.stream.log import log_line, worth_logging

FAIL = "fail"
SKIP_LINES = "skip"


class BadLines:
    """Counts and disposes of bad lines as `policy` says: `fail`, `skip` or a path."""

    def __init__(self, stage: str, policy: str) -> None:
        self.stage = stage
        self.policy = policy
        self.rejected = 0
        self.failure: BadLine | None = None
        self._file: int | None = None
        if policy not in (FAIL, SKIP_LINES):
            self._open()

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
        if worth_logging(self.rejected):
            what = "bad line" if self.rejected == 1 else f"{self.rejected} bad lines so far"
            log_line(f"alpha {self.stage}: {what}: {where}{printable(reason, 200)}: {shown}")

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self) -> None:
        """Open the dead-letter file at once: that it cannot be written should not show in mid-session."""
        if self.policy.lower() in (FAIL, SKIP_LINES):
            raise UsageError(f"--bad {self.policy}: write {self.policy.lower()}, or ./{self.policy} for such a file")
        try:
            self._file = os.open(self.policy, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise InputOutputError(f"dead-letter file {self.policy}: {error.strerror}") from None

    def _keep(self, line_number: int | None, raw: bytes, reason: str, instrument_token: int | None) -> None:
        import orjson  # only a bad line needs it

        assert self._file is not None

        letter: dict[str, Any] = {"error": reason, "line_number": line_number}
        if instrument_token is not None:
            letter["instrument_token"] = instrument_token
        kept = raw if len(raw) <= 1 << 20 else raw[:KEPT_OF_LONG_LINE]
        letter["raw"] = kept.decode("utf-8", "replace")
        if letter["raw"].encode() != kept:
            from base64 import b64encode

            letter["raw_base64"] = b64encode(kept).decode("ascii")
        try:
            write_all(self._file, orjson.dumps(letter) + b"\n")
        except OSError as error:
            raise InputOutputError(f"dead-letter file {self.policy}: {error.strerror}") from None
