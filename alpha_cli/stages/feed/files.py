"""The files of a replay: finding them, and reading them block by block.

All files are checked before the first line is written, so that a wrong name is reported at once.
"""

from __future__ import annotations

import os
import select
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from alpha_cli.core.errors import BadData, InputOutputError, NoInput, UsageError
from alpha_cli.core.text import printable
from alpha_cli.stream.lines import READ_SIZE
from alpha_cli.stream.shutdown import Shutdown

NDJSON = (".ndjson", ".jsonl")
CSV = (".csv",)
_MOST_OPEN = 256
_LONGEST_NAME = 255
_FIRST_READ = 4096  # so that a merge of a thousand files has only the beginning of each in memory


class OpenFiles:
    """The open files: at most half of what the process may open; then the least recently read one is closed.

    Reopening a compressed file means reading it from its beginning, which is slow; hence so many.
    """

    def __init__(self) -> None:
        import resource

        allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = _MOST_OPEN if allowed == resource.RLIM_INFINITY else max(min(allowed // 2, _MOST_OPEN), 1)
        self._files: dict[File, None] = {}

    def use(self, file: File) -> None:
        """Note that `file` is about to be read, and close others if there are too many."""
        self._files.pop(file, None)
        while len(self._files) >= self._most:
            next(iter(self._files)).suspend()
        self._files[file] = None

    def forget(self, file: File) -> None:
        """Note that `file` is closed."""
        self._files.pop(file, None)


class File:
    """A file that is opened at the first read, and can be closed and reopened where it was."""

    def __init__(self, path: Path, open_files: OpenFiles) -> None:
        self.path = path
        self.name = printable(os.fsencode(path.name).decode("utf-8", "replace"), _LONGEST_NAME)
        self._open_files = open_files
        self.is_csv = _kind(path) in CSV
        self.size = path.stat().st_size
        self._is_zipped = path.suffix.lower() == ".gz"
        self._raw: IO[bytes] | None = None
        self._file: Any = None
        self._offset = 0
        self._reported = 0

    def reader(self, progress: Callable[[int], object] | None = None) -> Callable[[], bytes]:
        """Return a function that reads the next block. It raises `BadData` or `InputOutputError`."""

        def read() -> bytes:
            try:
                data = self._read()
                if progress is not None and self._raw is not None:
                    at = self._raw.tell()
                    progress(max(at - self._reported, 0))
                    self._reported = max(at, self._reported)
            except OSError as error:
                if error.errno is None:  # gzip.BadGzipFile
                    raise BadData(f"{self.name}: damaged gzip: {error}") from None
                raise InputOutputError(f"{self.name}: reading failed: {error.strerror}") from None
            except EOFError:
                raise BadData(f"{self.name}: the gzip ends early; the part before was read") from None
            if not data:
                self.suspend()
            return data

        return read

    def suspend(self) -> None:
        """Close the file until the next read: more files may be merged than can be open at once."""
        if self._file is not None:
            self._file.close()
        if self._raw is not None:
            self._raw.close()
        self._file = self._raw = None
        self._open_files.forget(self)

    def _read(self) -> bytes:
        self._open_files.use(self)
        if self._file is None:
            self._raw = self._file = self.path.open("rb", buffering=0)
            if self._is_zipped:
                import gzip

                self._file = gzip.GzipFile(fileobj=self._raw)
            if self._offset:
                self._file.seek(self._offset)
        size = READ_SIZE if self._offset else _FIRST_READ
        data: bytes = self._unzipped(size) if self._is_zipped else self._file.read(size)
        self._offset += len(data)
        return data

    def _unzipped(self, size: int) -> bytes:
        import zlib

        try:
            data: bytes = self._file.read1(size)  # read() would lose the data before the damage
        except zlib.error as error:
            raise BadData(f"{self.name}: damaged gzip: {error}") from None
        return data


def find(sources: tuple[str, ...]) -> list[File]:
    """Return the files that `sources` name, those of a folder in the order of their names. Raises `NoInput`."""
    files: list[File] = []
    open_files = OpenFiles()
    for source in sources:
        path = Path(source)
        try:
            if path.is_dir():
                inside = sorted(child for child in path.iterdir() if _kind(child) and child.is_file())
                if not inside:
                    raise NoInput(f"{source}: no .ndjson, .jsonl or .csv file (or .gz of one) in this folder")
                files += [_file(child, open_files) for child in inside]
            else:
                files.append(_file(path, open_files))
        except OSError as error:
            hint = "; sources are synthetic, a file, a folder, or - for stdin" if "/" not in source else ""
            raise NoInput(f"{source}: {error.strerror}{hint}") from None
    return files


def is_stream(source: str) -> bool:
    """Return whether `source` can be read only once, as a pipe or `<(command)`."""
    if source == "-":
        return True
    try:
        mode = Path(source).stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def stream_reader(fd: int, shutdown: Shutdown, waits: Callable[[], object] | None = None) -> Callable[[], bytes | None]:
    """Return a function that reads the available bytes of `fd`; after a signal it reports the end of input.

    It returns None when a side input of a stage fired first. `waits` is called once if nothing comes for a second at
    the beginning.
    """
    silent_until = None if waits is None else time.monotonic() + 1.0

    def read() -> bytes | None:
        nonlocal silent_until
        while shutdown.requested is None:
            patience = None if silent_until is None else max(silent_until - time.monotonic(), 0.0)
            if not shutdown.readable(fd, patience):
                if shutdown.requested is None and shutdown.side_input_fired():
                    return None
                if silent_until is not None and waits is not None and time.monotonic() >= silent_until:
                    silent_until = None
                    if shutdown.requested is None:
                        waits()
                continue
            silent_until = None
            try:
                return os.read(fd, READ_SIZE)
            except BlockingIOError:
                select.select([fd], [], [], 0.01)
            except OSError as error:
                raise InputOutputError(f"reading the input failed: {error.strerror}") from None
        return b""

    return read


def _file(path: Path, open_files: OpenFiles) -> File:
    file = File(path, open_files)
    if not _kind(path):
        raise UsageError(f"{file.name}: unknown kind of file; name it .ndjson, .jsonl or .csv, or .gz of one")
    if not os.access(path, os.R_OK):
        raise NoInput(f"{path}: not readable by this user")
    return file


def _kind(path: Path) -> str:
    """Return the suffix that tells how to read the file, or "" for an unknown one."""
    name = path.name.lower().removesuffix(".gz")
    return next((suffix for suffix in NDJSON + CSV if name.endswith(suffix)), "")
