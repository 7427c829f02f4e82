"""The server of `warm`: has imported `alpha`, and forks for every run that is asked for."""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import selectors
import socket
import sys
import time
from typing import Any, NoReturn


def exactly(connection: socket.socket, size: int) -> bytes:
    """Return the next `size` bytes. Raise `ConnectionError` if they do not come."""
    data = b""
    while len(data) < size:
        chunk = connection.recv(size - len(data))
        if not chunk:
            raise ConnectionError("the server of warm starts has gone")
        data += chunk
    return data


def _import_everything() -> None:
    from alpha_cli.cli.registry import COMMANDS

    for row in COMMANDS.values():
        importlib.import_module(row.module.partition(":")[0])
    for stage in ("feed", "bars", "show", "run_strategy", "risk", "paper"):
        importlib.import_module(f"alpha_cli.stages.{stage}.build")


def serve() -> None:
    """Fork for every connection to standard input, and send back how the process ended."""
    _import_everything()
    gc.freeze()  # so that a fork copies less
    listening = socket.socket(fileno=os.dup(0))
    selector = selectors.DefaultSelector()
    selector.register(listening, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is listening:
                _fork(selector, listening)
            else:
                selector.unregister(key.fileobj)
                os.close(key.fd)
                pid, connection = key.data
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                with connection, contextlib.suppress(OSError):  # nobody may want to know any more
                    connection.sendall(code.to_bytes(4, "big", signed=True))


def _fork(selector: selectors.BaseSelector, listening: socket.socket) -> None:
    connection, _ = listening.accept()
    size, stdio, _, _ = socket.recv_fds(connection, 4, 3)
    args, env, cwd, group = json.loads(exactly(connection, int.from_bytes(size, "big")))
    pid = os.fork()
    if not pid:
        for key in list(selector.get_map().values()):
            if key.data:
                os.close(key.fd)
                key.data[1].close()
        selector.close()
        listening.close()
        connection.close()
        if group is not None:
            os.setpgid(0, group)
        _become(stdio, args, env, cwd)
    if group is not None:
        with contextlib.suppress(PermissionError, ProcessLookupError):  # the child has done it, or has ended
            os.setpgid(pid, group or pid)
    for fd in stdio:
        os.close(fd)
    with contextlib.suppress(OSError):
        connection.sendall(pid.to_bytes(4, "big"))
    selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, connection))


def _become(stdio: list[int], args: list[str], env: dict[str, str], cwd: str) -> NoReturn:
    """Be what `python -m alpha_cli ARGS…` is once it has started."""
    for place, fd in enumerate(stdio):
        os.dup2(fd, place)
        os.close(fd)
    streams: dict[str, Any] = {"stdin": sys.stdin, "stdout": sys.stdout, "stderr": sys.stderr}
    for place, (name, before) in enumerate(streams.items()):
        made = open(  # noqa: SIM115
            place, before.mode, encoding=before.encoding, errors=before.errors, closefd=False,
            buffering=1 if name == "stderr" else -1,
        )  # fmt: skip
        setattr(sys, name, made)
        setattr(sys, f"__{name}__", made)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    os.chdir(cwd)
    sys.path[0] = cwd
    sys.argv = ["alpha", *args]
    from alpha_cli.__main__ import main

    main()


if __name__ == "__main__":
    serve()
