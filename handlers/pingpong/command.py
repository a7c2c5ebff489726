"""The command `jackfield ping`."""

import argparse

from jackfield.app import credentials


def command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `jackfield ping`."""
    parser = commands.add_parser("ping", help="answer the pings of a service", description=_ping.__doc__)
    parser.add_argument("url", metavar="URL", help="the service or its path: ws://host:port/pingpong")
    parser.add_argument("--count", type=_positive, metavar="N", help="leave after so many rounds")
    parser.add_argument("--cacert", metavar="FILE", help="trust the certificates in this PEM file, for https and wss")
    credentials.add_option(parser)
    parser.set_defaults(run=_ping)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _ping(arguments: argparse.Namespace) -> int:
    """Answer the pings of a service, print each round and a summary. Exit 0, or 1 when it went wrong."""
    from jackfield.handlers.pingpong import client  # here: other commands must not wait for what it needs

    return client.ping(arguments)
