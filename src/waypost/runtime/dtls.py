"""One DTLS association over datagrams, either end of it: sans-IO, for CoAP and for an overlay alike.

What is in memory has no borders of datagrams: octets to send are cut at records, and records packed into datagrams of
at most MTU octets.  OpenSSL keeps time for its retransmissions by itself; next_timer() says when it wants to be asked.
It drops what a wrong key made in silence (RFC 6347, 4.1.2.7), so whoever owns an association gives its handshake a
deadline.

Once the peer of a server's end has said something, records.py takes over, and OpenSSL's memory is let go.

Times are seconds on the caller's monotonic clock.

Source: RFC 6347, 4.1.1, 4.2.4; notes on RELOAD, 4.1.
"""

from collections.abc import Iterator
from typing import Final

from OpenSSL import SSL

from waypost.runtime.records import Records
from waypost.runtime.secure import CLOSED, MTU, PROTOCOL_BROKEN, Channel

RECORD_HEAD: Final = 13  # octets before a record's fragment, of which the last two are its length
AFTER: Final = bytes((0, 1))  # the epoch after the handshake
TIMER_LEAST: Final = 0.001  # seconds: OpenSSL's clock and ours differ by less


class Association:
    """A client's begins with start(), a server's with accept().  `channel` says who the peer is, or why it ended."""

    __slots__ = ("_output", "_records", "_sent", "_serves", "_timer", "channel")

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._serves = False
        self._records: Records | None = None  # when they have taken over
        self._sent = 0  # the highest number of our records after the handshake
        self._output: list[bytes] = []
        self._timer: float | None = None

    def start(self, now: float) -> None:
        self._step(now)

    def accept(self, hello: bytes, now: float) -> None:
        """The ClientHello whose cookie was good: the handshake goes on from there."""
        self._serves = True
        self.channel.feed(hello)
        try:
            self.channel.connection.DTLSv1_listen()
        except SSL.Error:  # also SSL.WantReadError: it was no good ClientHello after all
            self.channel.ended, self.channel.detail = PROTOCOL_BROKEN, "the ClientHello could not be read"
            return
        self._step(now)

    def receive(self, datagram: bytes, now: float) -> list[bytes]:
        """What the peer said in it."""
        if self._records is not None:
            said = self._records.open(datagram)
            if self._records.closed and self.channel.ended is None:
                self.channel.ended, self.channel.detail = CLOSED, "closed by the peer"
            return said
        was_open = self.channel.who is not None
        self.channel.feed(datagram)
        said = self._step(now)
        if said and was_open and self._serves and self.channel.ended is None:
            secrets = self.channel.release()
            if secrets is not None:  # the datagram has verified, so its number can be believed
                self._records = Records(secrets, self._sent, highest(datagram))
        return said

    def send(self, data: bytes) -> None:
        """One message, one record, one datagram: nothing cuts it, so it should fit into MTU."""
        if self._records is None:
            self.channel.write(data)
            self._flush()
        elif self.channel.ended is None:
            self._output.append(self._records.seal(data))

    def close(self) -> None:
        self._timer = None
        if self._records is None:
            self.channel.close()
            self._flush()
        elif self.channel.ended is None:
            self._output.append(self._records.close())
            self.channel.ended, self.channel.detail = CLOSED, "closed by this node"

    def handle_timer(self, now: float) -> None:
        if self._timer is None or now < self._timer or self.channel.ended is not None:
            return
        try:
            self.channel.connection.DTLSv1_handle_timeout()
        except SSL.Error as error:
            self.channel.ended, self.channel.detail = PROTOCOL_BROKEN, str(error)
        self._flush()
        self._arm(now)

    def next_timer(self) -> float | None:
        return self._timer

    def take_output(self) -> list[bytes]:
        """Datagrams."""
        output, self._output = self._output, []
        return output

    def _step(self, now: float) -> list[bytes]:
        said = self.channel.step()
        self._flush()
        self._arm(now)
        return said

    def _flush(self) -> None:
        octets = self.channel.take()
        if octets:
            self._sent = max(self._sent, highest(octets))
            self._output += packed(octets)

    def _arm(self, now: float) -> None:
        wait = self.channel.connection.DTLSv1_get_timeout() if self.channel.ended is None else None
        self._timer = None if wait is None else now + max(TIMER_LEAST, wait)


def highest(octets: bytes) -> int:
    """The highest number of a record after the handshake."""
    found = at = 0
    while at + RECORD_HEAD <= len(octets):
        epoch, size = octets[at + 3 : at + 5], int.from_bytes(octets[at + 11 : at + 13], "big")
        if epoch == AFTER:
            found = max(found, int.from_bytes(octets[at + 5 : at + 11], "big"))
        at += RECORD_HEAD + size
    return found


def packed(octets: bytes) -> Iterator[bytes]:
    """Whole records in datagrams of at most MTU octets; a larger record has one of its own."""
    start = end = 0
    while end < len(octets):
        size = RECORD_HEAD + int.from_bytes(octets[end + RECORD_HEAD - 2 : end + RECORD_HEAD], "big")
        if end > start and end + size - start > MTU:
            yield octets[start:end]
            start = end
        end += size
    if end > start:
        yield octets[start:end]
