"""A stand-in for a peer: a small HTTP server that answers one route, and fails as it is told to.

`python -m tests.benchmarks.stand_in PORT --fail-at 50` answers the fiftieth request 500.
"""

import argparse
import asyncio
import os

from benchmarks.peers.apps.bare_flask import USER

HEAD = b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
OK, BROKEN = HEAD % (200, len(USER), USER), HEAD % (500, 13, b'{"code":"no"}')


class StandIn:
    """Counts requests, and answers each."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._count = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection, which have no bodies."""
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self._count += 1
                if self._count == self._options.drop_at:
                    break
                await self._answer(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    async def _answer(self, writer: asyncio.StreamWriter) -> None:
        count, options = self._count, self._options
        if count == options.die_at:
            os._exit(3)
        if count == options.hang_at:
            await asyncio.Event().wait()
        fails = count == options.fail_at or (options.fail_every and count % options.fail_every == 0)
        if count == options.garbage_at:
            writer.write(b"no HTTP\r\n\r\n")
        else:
            writer.write(BROKEN if fails else OK)
        await writer.drain()


async def _run(options: argparse.Namespace) -> None:
    server = await asyncio.start_server(StandIn(options).serve, "127.0.0.1", options.port)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    for name in ("fail-at", "fail-every", "die-at", "drop-at", "hang-at", "garbage-at"):
        parser.add_argument(f"--{name}", type=int, default=0)
    asyncio.run(_run(parser.parse_args()))
