"""CoAP over TCP and WebSocket for a Device: connections that take and give datagrams, as UDP does (RFC 8323)."""

import socket
import time
from contextlib import ExitStack

from running import HOST
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from waypost.coap.stream import Stream

READ_MAX = 65_536


class TcpSocket:
    def __init__(self, port: int, wait_s: float) -> None:
        self._socket = socket.create_connection((HOST, port), wait_s)
        self._stream = Stream(time.monotonic())
        self._flush()

    def send(self, datagram: bytes) -> None:
        self._stream.send(datagram)
        self._flush()

    def recv(self, _: int) -> bytes:
        """The next message, in the form of a datagram; signals are answered on the way."""
        while True:
            message = self._stream.next_message(time.monotonic())
            self._flush()
            if message:
                return message
            if message is None:
                data = self._socket.recv(READ_MAX)
                if not data or self._stream.ended is not None:
                    raise ConnectionError(self._stream.ended or "the node has closed the connection")
                self._stream.feed(data)

    def settimeout(self, seconds: float) -> None:
        self._socket.settimeout(seconds)

    def close(self) -> None:
        self._socket.close()

    def _flush(self) -> None:
        self._socket.sendall(b"".join(self._stream.take_output()))


class WebSocket:
    def __init__(self, port: int, wait_s: float) -> None:
        uri = f"ws://{HOST}:{port}/.well-known/coap"
        self._wait_s = wait_s
        self._open = ExitStack()
        offer = connect(uri, subprotocols=[Subprotocol("coap")], open_timeout=wait_s, compression=None)
        self._socket = self._open.enter_context(offer)
        self._stream = Stream(time.monotonic(), sized=False)
        self._flush()

    def send(self, datagram: bytes) -> None:
        self._stream.send(datagram)
        self._flush()

    def recv(self, _: int) -> bytes:
        while True:
            frame = self._socket.recv(self._wait_s)
            assert isinstance(frame, bytes)
            message = self._stream.receive_frame(frame, time.monotonic())
            self._flush()
            if message:
                return message

    def settimeout(self, seconds: float) -> None:
        self._wait_s = seconds

    def close(self) -> None:
        self._open.close()

    def _flush(self) -> None:
        for frame in self._stream.take_output():
            self._socket.send(frame)


def open_stream(scheme: str, port: int, wait_s: float) -> TcpSocket | WebSocket:
    return TcpSocket(port, wait_s) if scheme == "coap+tcp" else WebSocket(port, wait_s)
