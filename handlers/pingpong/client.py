"""The other side of pingpong: a function for programs, and what the command `jackfield ping` does."""

import argparse
import asyncio
import ssl
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import count

import aiohttp
from yarl import URL

from jackfield.app import credentials

_CONNECT = 5.0  # seconds


@dataclass(frozen=True, slots=True)
class Round:
    """One ping that was answered: the seconds since the one before, or since the socket was asked for."""

    number: int
    seconds: float


async def rounds(session: aiohttp.ClientSession, url: str, limit: int | None = None) -> AsyncIterator[Round]:
    """Answer the pings of `url` until the service says that it is done, or `limit` of them.

    Raises aiohttp.ClientError where the service cannot be reached, or ends the socket otherwise than by 1000.
    """
    begun = time.perf_counter()
    async with session.ws_connect(socket_url(url), compress=0) as ws:
        for number in count(1):
            message = await ws.receive()
            if message.type is not aiohttp.WSMsgType.TEXT:
                break
            now = time.perf_counter()
            yield Round(number, now - begun)
            begun = now
            await ws.send_str("pong")
            if number == limit:
                return
    if ws.close_code != 1000:
        raise aiohttp.ClientError(f"the service closed with {ws.close_code}")


def socket_url(url: str) -> URL:
    """The socket's URL, from that of the service or of the path, http or ws."""
    parsed = URL(url)
    if parsed.scheme not in ("http", "https", "ws", "wss") or not parsed.host:
        raise ValueError(f"{credentials.shown(url)} is no URL of http, https, ws or wss")
    return parsed if parsed.path.strip("/") else parsed.with_path("/pingpong")


def ping(arguments: argparse.Namespace) -> int:
    """Answer the pings of a service, print each round and a summary. Exit 0, or 1 when it went wrong."""
    try:
        tls = ssl.create_default_context(cafile=arguments.cacert) if arguments.cacert else True
    except OSError as error:  # ssl.SSLError is one
        print(f"jackfield ping: --cacert {arguments.cacert}: {error.strerror or error}", file=sys.stderr)
        return 2
    where = credentials.shown(arguments.url)
    try:
        headers = credentials.headers(arguments.token_file, arguments.url)
        asyncio.run(_print_rounds(arguments.url, arguments.count, tls, headers))
    except aiohttp.WSServerHandshakeError as error:
        print(f"jackfield ping: {where}: answered {error.status}", file=sys.stderr)
        return 1
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        print(f"jackfield ping: {where}: {error or type(error).__name__}", file=sys.stderr)
        return 1
    except ValueError as error:
        print(f"jackfield ping: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


async def _print_rounds(url: str, limit: int | None, tls: ssl.SSLContext | bool, headers: dict[str, str]) -> None:
    socket_url(url)
    seconds = []
    timeout, connector = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT), aiohttp.TCPConnector(ssl=tls)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector, headers=headers) as session:
        async for answered in rounds(session, url, limit):
            seconds.append(answered.seconds)
            since = "the connection was asked for" if answered.number == 1 else f"ping {answered.number - 1}"
            print(
                f"ping {answered.number}: answered; it came {answered.seconds * 1000:.1f} ms after {since}", flush=True
            )
    print(_summary(seconds))


def _summary(seconds: Sequence[float]) -> str:
    """How many pings there were, and, from the second on, the time between them."""
    between = [each * 1000 for each in seconds[1:]]
    if not between:
        return f"{len(seconds)} ping{'' if len(seconds) == 1 else 's'} answered"
    return (
        f"{len(seconds)} pings answered; ms between them: min {min(between):.1f}, "
        f"mean {sum(between) / len(between):.1f}, max {max(between):.1f}"
    )
