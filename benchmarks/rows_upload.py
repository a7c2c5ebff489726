"""The rows of bulk: one stream, any framing, many streams, growth, TLS."""

import subprocess
from pathlib import Path

from benchmarks.bench import OURS, Bench
from benchmarks.contenders import (
    FLOOR,
    JACKFIELD_PUT,
    JACKFIELD_TUS,
    NAIVE,
    NGINX,
    PEERS,
    PICOWS,
    TUS_NODE,
    TUS_PYTHON,
    jackfield,
)
from benchmarks.measure import CPU, PEAK, RATE, SECONDS, Sample, measure_upload
from benchmarks.payload import FRAGMENTS, MESSAGES, MIB, ONE_FRAME, SMALL_MESSAGES
from benchmarks.rows import Entry, Goal, Row

BULK = (RATE, CPU, PEAK)


def one_stream(bench: Bench) -> Row:
    """Against everybody."""
    bounds = {NAIVE: 1.6, TUS_NODE: 1.4, TUS_PYTHON: 1.4, PICOWS: 0.75}
    peers = bench.there(*PEERS)
    return Row(
        "one-stream", "One stream, 1 GiB in 1 MiB messages", BULK,
        [bench.upload(contender) for contender in (jackfield(), *peers, FLOOR)],
        [
            Goal(OURS, CPU, at_most=1.4), Goal(OURS, PEAK, at_most=70),
            Goal(OURS, CPU, against=FLOOR.name),
            *(Goal(OURS, RATE, at_least=bounds.get(peer), against=bench.label(peer)) for peer in peers),
        ],
        bench.scale.rounds, bench.left_out(*(peer.needs for peer in PEERS)),
    )  # fmt: skip


def bodies(bench: Bench) -> Row:
    """What a request costs beside a socket."""
    socket, put = "socket", "PUT"
    peers = bench.there(NGINX)
    return Row(
        "bodies", "One file of 1 GiB by HTTP", BULK,
        [bench.upload(jackfield(), socket), bench.upload(JACKFIELD_PUT, put), *(bench.upload(peer) for peer in peers)],
        [
            Goal(put, RATE, at_least=0.9, against=socket), Goal(put, CPU, at_most=1.6),
            Goal(put, PEAK, at_most=1.05, against=socket),
            *(Goal(put, RATE, against=bench.label(peer)) for peer in peers),
        ],
        bench.scale.rounds, bench.left_out(NGINX.needs),
    )  # fmt: skip


def patches(bench: Bench) -> Row:
    """What tus costs, beside servers that neither verify nor sync."""
    ours = "tus"
    bounds = {TUS_NODE: 1.5, TUS_PYTHON: 1.2}
    peers = bench.there(*bounds)
    return Row(
        "patches", "One file of 1 GiB by tus, in one PATCH", BULK,
        [bench.upload(JACKFIELD_TUS, ours), *(bench.upload(peer) for peer in peers)],
        [
            Goal(ours, PEAK, at_most=70), Goal(ours, CPU, at_most=1.6),
            *(Goal(ours, RATE, at_least=bounds[peer], against=bench.label(peer)) for peer in peers),
        ],
        bench.scale.rounds, bench.left_out(*(peer.needs for peer in bounds)),
    )  # fmt: skip


def framings(bench: Bench) -> Row:
    """However a client cuts its bytes."""
    others = [SMALL_MESSAGES, ONE_FRAME, FRAGMENTS]
    return Row(
        "framings", "The same GiB in other framings", BULK,
        [bench.upload(jackfield(), framing.name, framing=framing) for framing in (MESSAGES, *others)],
        [
            *(Goal(framing.name, RATE, at_least=0.9, against=MESSAGES.name) for framing in others),
            *(Goal(framing.name, PEAK, at_most=70) for framing in others),
        ],
        bench.scale.rounds,
    )  # fmt: skip


def eight_streams(bench: Bench) -> Row:
    """In sum, against the same eight on the naive server."""
    size = max(bench.scale.size // 4, MIB)
    return Row(
        "eight-streams", "Eight streams at once, 256 MiB each", BULK,
        [bench.upload(contender, size=size, streams=8) for contender in (jackfield(), NAIVE)],
        [Goal(OURS, RATE, at_least=1.2, against=NAIVE.name), Goal(OURS, PEAK, at_most=110)],
        bench.scale.rounds,
    )  # fmt: skip


def many_streams(bench: Bench) -> Row:
    """Whether two hundred at once cost more than one."""
    size = max(bench.scale.size // 50 // 4096 * 4096, 4096)
    one, many = "1 stream", "200 streams"
    return Row(
        "many-streams", "200 streams at once, 20 MiB each, against one of 1 GiB", BULK,
        [bench.upload(jackfield(), one), bench.upload(jackfield(), many, size=size, streams=200)],
        [Goal(many, PEAK, at_most=350), Goal(many, RATE, at_least=0.9, against=one)],
        bench.scale.few_rounds,
    )  # fmt: skip


def growth(bench: Bench) -> Row:
    """Whether the eighth GiB costs more than the first."""
    times = bench.scale.growth
    one, more = "1 GiB", f"{times} GiB"
    return Row(
        "growth", f"One stream, 1 GiB and {times} GiB", (*BULK, SECONDS),
        [bench.upload(jackfield(), one), bench.upload(jackfield(), more, repeat=times)],
        [Goal(more, SECONDS, at_most=times * 1.05, against=one), Goal(more, PEAK, at_most=70)],
        bench.scale.few_rounds,
    )  # fmt: skip


def tls(bench: Bench) -> Row:
    """What encryption costs; the service does it in its own process."""
    plain, encrypted = "plain", "TLS"

    def run() -> Sample:
        certificate = _certificate(bench.memory)
        payload = bench.payloads.get(bench.scale.size)
        return measure_upload(jackfield(tls=certificate), bench.folder(), bench.reserve, payload)

    return Row(
        "tls", "One stream, plain and over TLS", BULK,
        [bench.upload(jackfield(), plain), Entry(encrypted, run)],
        [Goal(encrypted, RATE, against=plain), Goal(encrypted, CPU, against=plain)],
        bench.scale.few_rounds,
    )  # fmt: skip


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost that its own key has signed, and the key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    if not certificate.exists():
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-days", "1", "-subj", "/CN=localhost", "-keyout", key, "-out", certificate],
            check=True, capture_output=True,
        )  # fmt: skip
    return certificate, key
