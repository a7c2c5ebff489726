"""The command `jackfield uploads`, for whoever runs the service: what is open or stored, and cancelling."""

import argparse
from pathlib import Path


def command(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `uploads` to the commands of `jackfield`."""
    text = "list the open uploads, or the receipts, in the directory of a service; or cancel some"
    parser = subparsers.add_parser("uploads", help=text, description=text)
    parser.add_argument("--config", type=Path, default=Path("config.yaml"), metavar="FILE")
    parser.add_argument(
        "--directory", type=Path, metavar="DIR", help="where uploads are stored, without a configuration"
    )
    parser.add_argument("--admin", metavar="URL", help="ask the service that runs, by its server.admin")
    parser.add_argument("--handler", default="upload", metavar="NAME", help="its name in the configuration (upload)")
    parser.add_argument("--receipts", action="store_true", help="what is stored and has a receipt, not what is open")
    parser.add_argument("--cancel", action="append", default=[], metavar="ID", help="throw it away; may be repeated")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from jackfield.handlers.upload.command import listing  # here: other commands must not wait for what it needs

    return listing.run(arguments)
