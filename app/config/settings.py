"""The frozen tree that config.yaml becomes. What a setting may be is said here, once."""

import re
from ipaddress import IPv6Address, ip_network
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from jackfield.app.handler import Handler, HandlerOptions
from jackfield.app.options import Duration, File, FilePath, Rate
from jackfield.app.proxies import UNIX

_OWN_PATHS = ("index", "healthz", "readyz", "metrics", "assets")
_HOST = r"^([A-Za-z0-9._-]+|[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*(%[A-Za-z0-9._-]+)?)$"
_PATH = r"^(/[A-Za-z0-9._~-]+)+$"
_ORIGIN = r"^[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?$"
_DEFAULT_PORTS = (("http://", ":80"), ("https://", ":443"))


def _check_path(path: str) -> str:
    parts = path.split("/")[1:]
    if not re.fullmatch(_PATH, path) or not {".", ".."}.isdisjoint(parts):
        raise ValueError("expected a path as in /upload, of letters, digits, '-', '.', '_' and '~'")
    if parts[0] in _OWN_PATHS:
        raise ValueError(f"/{parts[0]} is the service's own")
    return path


def _check_base(path: str) -> str:
    return _check_path(path) if path else path


def _check_allowed_host(host: str) -> str:
    if not re.fullmatch(r"[a-z0-9._-]+|\[[0-9a-f:.]+\]", host):
        raise ValueError(
            "expected a name as it stands in `Host`, in small letters and without a port, as in example.org or '[::1]'"
        )
    return host


def _check_origin(origin: str) -> str:
    if origin.endswith("/"):
        raise ValueError("an origin has no path: leave out the slash at its end")
    default_port = any(origin.startswith(scheme) and origin.endswith(port) for scheme, port in _DEFAULT_PORTS)
    if origin != "null" and (default_port or not re.fullmatch(_ORIGIN, origin)):
        raise ValueError(
            "expected an origin as browsers send it, in small letters and without the scheme's own port,"
            " as in https://example.org or http://localhost:3000"
        )
    return origin


def _check_host(host: str) -> str:
    if not re.fullmatch(_HOST, host):
        raise ValueError("expected a host name or an address, as in 0.0.0.0 or '::'")
    if ":" in host:
        IPv6Address(host)  # raises a ValueError that says what is wrong with it
    return host


def _check_proxy(name: str) -> str:
    if name != UNIX:
        ip_network(name)  # raises a ValueError that says what is wrong with it
    return name


def _text_schema(pattern: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern})


Host = Annotated[str, AfterValidator(_check_host), _text_schema(_HOST)]
"""What to listen on: "127.0.0.1", "::", "localhost"; no port, no scheme, no brackets."""

HandlerPath = Annotated[str, AfterValidator(_check_path), _text_schema(_PATH)]
"""Where a handler's sockets are: "/upload". Never the service's own, never a pattern."""

BasePath = Annotated[str, AfterValidator(_check_base), _text_schema(f"{_PATH}|^$")]
"""What a proxy puts in front of every path: "/files", or nothing."""

AllowedHost = Annotated[str, AfterValidator(_check_allowed_host), _text_schema(r"^[A-Za-z0-9._:\[\]-]+$")]
"""A name or an address in the header `Host`, without its port."""

Origin = Annotated[str, AfterValidator(_check_origin), _text_schema(f"{_ORIGIN}|^null$")]
"""As in the header `Origin`: "https://example.org"."""


Proxy = Annotated[str, AfterValidator(_check_proxy), WithJsonSchema({"type": "string"})]
"""An address or a network of a proxy that is trusted, or `unix`."""

HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True)


class TlsSettings(_Section):
    """The files of the certificate (with its chain) and its private key, in PEM."""

    certificate: File
    key: File


class AuthSettings(_Section):
    """Who may come; without both everybody may."""

    tokens: File | None = None  # a YAML file of tokens
    proxy_user: HeaderName | None = None  # a header in which proxies that are trusted name the user


class LimitSettings(_Section):
    """For one user; for one address, or one /64 of IPv6, where there is none. None is no limit."""

    connections: Annotated[int, Field(ge=1)] | None = 1000  # sockets
    requests: Rate | None = 1000.0  # of HTTP, a second


class AdminSettings(_Section):
    """Where those who watch the service ask: `/healthz`, `/readyz` and `/metrics` are there, and nowhere else."""

    host: Host = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 9090


class ServerSettings(_Section):
    """What the service listens on, and its limits."""

    host: Host = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] | None = 8080
    unix_socket: FilePath | None = None
    base_path: BasePath = ""
    allowed_hosts: Annotated[tuple[AllowedHost, ...], Field(strict=False)] = ()
    allowed_origins: Annotated[tuple[Origin, ...], Field(strict=False)] = ()
    trusted_proxies: Annotated[tuple[Proxy, ...], Field(strict=False)] = ()
    admin: AdminSettings | None = None
    auth: AuthSettings = AuthSettings()
    limits: LimitSettings = LimitSettings()
    max_connections: Annotated[int, Field(ge=1)] = 10000
    heartbeat: Annotated[Duration, Field(gt=0)] = 20.0
    shutdown_timeout: Annotated[Duration, Field(gt=0)] = 10.0
    body_timeout: Annotated[Duration, Field(gt=0)] = 30.0
    tls: TlsSettings | None = None


class LoggingSettings(_Section):
    """What is logged, and how a line looks."""

    level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


class HandlerSettings(_Section):
    """One handler: its name in config.yaml, its class, its path, and its own options, validated by it."""

    name: str
    use: str
    path: HandlerPath
    factory: type[Handler]
    options: HandlerOptions


class Settings(_Section):
    """The whole configuration."""

    server: ServerSettings = ServerSettings()
    logging: LoggingSettings = LoggingSettings()
    handlers: dict[str, HandlerSettings] = {}
    ignored: tuple[str, ...] = ()  # variables of the environment that lead nowhere, and are none of ours
