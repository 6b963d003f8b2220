"""A relay between a client and a node that writes down every datagram, as a capture file that tshark reads.

Capturing on an interface needs privileges; passing datagrams on does not.  In the file the node has the port of
CoAP, so a reader knows the protocol.
"""

import socket
import struct
import threading
from pathlib import Path
from types import TracebackType

from device import Device
from running import HOST

COAP_PORT = 5683
LINKTYPE_IPV4 = 228
LOOK_UP_S = 0.05
MAGIC_MICROSECONDS = 0xA1B2C3D4
TCP = 6
UDP = 17


class Relay:
    """`port` is where clients find the node.

    The node sees each client as a source that is validated already, so that no answer has to carry Echo: that option
    is younger than many a tshark, which calls the message malformed.
    """

    def __init__(self, port: int) -> None:
        self.front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.front.bind((HOST, 0))
        self.front.settimeout(LOOK_UP_S)
        self.port: int = self.front.getsockname()[1]
        self.backs: dict[int, Device] = {}  # by the client's port
        self.node = port
        self.packets: list[bytes] = []
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def __enter__(self) -> "Relay":
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        self.thread.join()
        for each in (self.front, *(back.socket for back in self.backs.values())):
            each.close()

    def run(self) -> None:
        """Forth by one thread for all, back by one thread for each client."""
        returning: list[threading.Thread] = []
        while not self.ended.is_set():
            try:
                data, (_, port) = self.front.recvfrom(65_536)
            except TimeoutError:
                continue
            if port not in self.backs:
                self.backs[port] = back = Device(self.node)
                back.get("/.well-known/core")
                back.get("/.well-known/core")  # brings back the Echo of the first
                back.socket.settimeout(LOOK_UP_S)
                returning.append(threading.Thread(target=self.give_back, args=(port,)))
                returning[-1].start()
            self.packets.append(packet(port, COAP_PORT, data))
            self.backs[port].socket.send(data)
        for thread in returning:
            thread.join()

    def give_back(self, port: int) -> None:
        while not self.ended.is_set():
            try:
                data = self.backs[port].socket.recv(65_536)
            except TimeoutError:
                continue
            self.packets.append(packet(COAP_PORT, port, data))
            self.front.sendto(data, (HOST, port))

    def write(self, file: Path) -> None:
        write(file, self.packets)


def write(file: Path, packets: list[bytes]) -> None:
    """The classic capture format: a head, then each packet behind its time and size."""
    head = struct.pack("<IHHiIII", MAGIC_MICROSECONDS, 2, 4, 0, 0, 65_535, LINKTYPE_IPV4)
    records = [struct.pack("<IIII", number, 0, len(each), len(each)) + each for number, each in enumerate(packets)]
    file.write_bytes(head + b"".join(records))


def packet(source: int, target: int, data: bytes) -> bytes:
    """UDP between two ports of loopback (RFC 768; a checksum of 0 is none)."""
    return ipv4(UDP, struct.pack("!HHHH", source, target, 8 + len(data), 0) + data)


def segment(source: int, target: int, sent: int, received: int, data: bytes) -> bytes:
    """TCP between two ports of loopback, after so many octets each way (RFC 9293, 3.1; its checksum is 0)."""
    push, acknowledge = 0x08, 0x10
    head = struct.pack("!HHIIBBHHH", source, target, sent, received, 5 << 4, push | acknowledge, 65_535, 0, 0)
    return ipv4(TCP, head + data)


def ipv4(protocol: int, data: bytes) -> bytes:
    """RFC 791, 3.1."""
    address = socket.inet_aton(HOST)
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(data), 0, 0, 64, protocol, 0, address, address)
    total = sum(struct.unpack("!10H", head))
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return head[:10] + struct.pack("!H", checksum) + head[12:] + data
