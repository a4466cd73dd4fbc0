"""``python -m servers KIND '{"option": value}'``: print the URL once ready, serve until told.

Ends when standard input does. Started by hand, ctrl-c ends it.
"""

import importlib
import json
import os
import signal
import socket
import sys
import threading


def main(kind, options="{}"):
    threading.Thread(target=_end_with_parent, daemon=True).start()
    module = importlib.import_module(f"servers.{kind}_server")
    options = json.loads(options)
    if hasattr(module, "run"):  # not an ASGI application: brings its own server
        module.run(announce, **options)
    else:
        run_asgi(module.make_app(**options))


def run_asgi(app):
    import uvicorn

    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    announce(listener.getsockname()[1])  # connections wait in the backlog from here on
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[listener])


def announce(port):
    with os.fdopen(REAL_STDOUT, "w") as output:
        print(f"http://127.0.0.1:{port}", file=output)


def _end_with_parent():
    if not sys.stdin.isatty():
        while sys.stdin.buffer.read(1):
            pass
        # Whoever started this through serve() made it the leader of its own group.
        alone = os.getpgrp() == os.getpid()
        (os.killpg if alone else os.kill)(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    # Standard output is for the URL alone: what servers write there goes to standard error.
    REAL_STDOUT = os.dup(1)
    os.dup2(2, 1)
    main(*sys.argv[1:])
