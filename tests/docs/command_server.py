"""``glassformer`` for the pages' shell blocks: each command in a process of its own, forked from one that has torch.

Importing torch takes longer than most commands of a page do. A server imports it once and forks for every command; the
``glassformer`` that a page's shell finds is a client that hands over its arguments, its folder, its environment and its
standard streams, and ends with the command's exit status. The command itself is ``glassformer.cli.main``, as it stands.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
from pathlib import Path

CLIENT = """#!{python} -ISE
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    asked = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(server, [len(asked).to_bytes(8, "little")], [0, 1, 2])
    server.sendall(asked)
    status = server.recv(1)
sys.exit(status[0] if status else "the command was killed")
"""


def write_client(path: Path, address: str) -> None:
    """The program that a shell finds under the name ``glassformer``."""
    path.write_text(CLIENT.format(python=sys.executable, address=address), encoding="utf-8")
    path.chmod(0o755)


def serve(address: str) -> None:
    """Answer one command after another, each in a fork; the server ends when its standard input does."""
    import torch  # noqa: F401

    import glassformer.cli.sample
    import glassformer.cli.train  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        print("ready", flush=True)
        if os.fork() == 0:
            while True:
                connection, _ = server.accept()
                if os.fork() == 0:
                    server.close()
                    answer(connection)
                connection.close()
        sys.stdin.read()
    os.killpg(0, signal.SIGKILL)


def answer(connection: socket.socket) -> None:
    """Be the command, and tell its exit status."""
    length, streams, *_ = socket.recv_fds(connection, 8, 3)
    asked = b""
    while len(asked) < int.from_bytes(length, "little"):
        asked += connection.recv(2**20)
    arguments, folder, environment = json.loads(asked)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["glassformer", *arguments]
    status = 1
    try:
        from glassformer.cli.main import main

        status = main()
    except BaseException as error:  # noqa: BLE001
        sys.excepthook(type(error), error, error.__traceback__)
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
        sys.stderr.flush()
    connection.sendall(bytes([status]))
    os._exit(status)


if __name__ == "__main__":
    serve(sys.argv[1])
