"""A node's port below gRPC: bytes, HTTP/2 frames by hand, and what a process takes."""

import base64
import pathlib
import re
import socket
import struct

from .node import Node

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, CONTINUATION = 0, 1, 3, 4, 9
END_STREAM, END_HEADERS = 1, 4
SERVICE = "/milvus.proto.milvus.MilvusService/"


def connect(node: Node, timeout: float = 30) -> socket.socket:
    return socket.create_connection(("127.0.0.1", node.port), timeout)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def integer(value: int, bits: int) -> bytes:
    """A number of HPACK, with nothing in the bits before it."""
    most = 2**bits - 1
    if value < most:
        return bytes([value])
    value -= most
    out = [most]
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    return bytes([*out, value])


def field(name: bytes, value: bytes) -> bytes:
    """A header as HPACK's literal, never indexed."""
    return b"\0" + integer(len(name), 7) + name + integer(len(value), 7) + value


def head(node: Node, call: str, authorization: bytes | None = None, **more: bytes) -> bytes:
    """The head of a call, encoded."""
    token = base64.b64encode(f"root:{node.password}".encode()) if authorization is None else authorization
    fields = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": (SERVICE + call).encode(),
        b":authority": b"localhost",
        b"content-type": b"application/grpc",
        b"te": b"trailers",
        b"authorization": token,
    }
    fields.update({name.encode(): value for name, value in more.items()})
    return b"".join(field(name, value) for name, value in fields.items())


def until_closed(connection: socket.socket) -> bytes:
    """All that the node still says before it closes."""
    said = b""
    try:
        while chunk := connection.recv(65_536):
            said += chunk
    except ConnectionResetError:
        pass
    return said


def resident(node: Node) -> int:
    """The process's memory, in MiB."""
    status = pathlib.Path(f"/proc/{node.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) // 1024


def files_open(node: Node) -> int:
    return len(list(pathlib.Path(f"/proc/{node.pid}/fd").iterdir()))
