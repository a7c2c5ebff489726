"""What the work costs at least: receive, unmask, SHA-256, write and fsync of one stream, in one blocking thread.

Not a server that anybody could use: it trusts every byte. No service that verifies and syncs can be cheaper.
"""

import base64
import hashlib
import os
import socket
import sys
from pathlib import Path

import numpy

FOLDER, PORT = Path(sys.argv[1]), int(sys.argv[2])
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CLOSE = 0x8


def shake_hands(link: socket.socket) -> str:
    """Answer the opening handshake; the path that was asked for."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += link.recv(1) or b"\r\n\r\n"
    lines = head.split(b"\r\n")
    keys = [line.partition(b":")[2].strip() for line in lines if line.lower().startswith(b"sec-websocket-key:")]
    if not keys:
        raise ValueError("no handshake")
    accept = base64.b64encode(hashlib.sha1(keys[0] + GUID).digest())
    link.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    return lines[0].split()[1].decode()


def receive_frame(link: socket.socket, memory: bytearray) -> tuple[int, int]:
    """Opcode and length of the next frame, whose payload lies unmasked in `memory`, made larger where it is small."""
    first, second = link.recv(2, socket.MSG_WAITALL)
    length = second & 0x7F
    if length >= 126:
        length = int.from_bytes(link.recv(2 if length == 126 else 8, socket.MSG_WAITALL), "big")
    mask = link.recv(4, socket.MSG_WAITALL)
    if len(memory) < length:
        memory += bytes(-(-length // 4) * 4 - len(memory))
    view, filled = memoryview(memory), 0
    while filled < length:
        filled += link.recv_into(view[filled:length], 0, socket.MSG_WAITALL)
    words = numpy.frombuffer(memory, dtype=numpy.uint32)[: -(-length // 4)]
    numpy.bitwise_xor(words, numpy.frombuffer(mask, dtype=numpy.uint32), out=words)
    return first & 0x0F, length


def upload(link: socket.socket) -> None:
    """One file, until the Close frame, which is answered when the file is safe."""
    path, digest, memory = shake_hands(link), hashlib.sha256(), bytearray(2**20)
    fd = os.open(FOLDER / Path(path).name, os.O_WRONLY | os.O_CREAT, 0o644)
    while (frame := receive_frame(link, memory))[0] != CLOSE:
        with memoryview(memory)[: frame[1]] as payload:
            digest.update(payload)
            os.write(fd, payload)
    os.fsync(fd)
    os.close(fd)
    link.sendall(bytes([0x80 | CLOSE, 0]))


with socket.create_server(("127.0.0.1", PORT)) as listener:
    while True:
        accepted, _ = listener.accept()
        try:
            upload(accepted)
        except ValueError:
            continue  # who only looked whether the port is open
        finally:
            accepted.close()
