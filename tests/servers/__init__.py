"""Embedding services that tests start as processes of their own, on 127.0.0.1 only.

    from servers import serve

    with serve("v2", model="projection") as service, serve("proxy", upstream=service.url) as proxy:
        ...

The first argument names the module of this folder that is run, the others are its options:
``v2`` and ``vertex`` (FastAPI), ``mlserver`` (the real MLServer), ``proxy`` (injects faults).
"""

from servers.process import Server, serve

__all__ = ["Server", "serve"]
