"""Answers given again: to equal requests, as long as nothing has changed what they say.

Devices ask the same question over and over.  The octets of a GET after its token are the question whole,
so one dict lookup finds what was answered, and the answer leaves with the new request's id and token:
decoding, searching and encoding are spared, four fifths of what a lookup costs beside its two system calls.

Whoever makes an answer gives it a Fresh, and ends that when the answer may be another.

Source: RFC 7252, 5.6 (an answer that is fresh may be used again; here its origin does so itself).
"""

from typing import Final

from waypost.coap import reply
from waypost.coap.numbers import Code, Type
from waypost.coap.request import Fresh

KEPT_MAX: Final = 16_384  # answers
OCTETS_MAX: Final = 8 << 20  # of the questions and the answers

_TOKEN: Final = 4  # where it begins
_GET: Final = int(Code.GET)

# The first octet of a request -> the first two of its answer, and where its token ends.
_HEADS: Final = {
    0x40 | kind << 4 | size: (bytes((0x40 | answer << 4 | size, Code.CONTENT)), _TOKEN + size)
    for kind, answer in ((Type.CON, Type.ACK), (Type.NON, Type.NON))
    for size in range(9)
}


class Answers:
    def __init__(self) -> None:
        self._kept: dict[bytes, tuple[Fresh, bytes]] = {}  # options and payload -> those of the answer
        self._octets = 0

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, data: bytes) -> bytes | None:
        """The answer to the datagram `data`, if it is a GET that was answered before and would be answered so now."""
        if len(data) < _TOKEN or data[1] != _GET or (head := _HEADS.get(data[0])) is None:
            return None
        start, token_end = head
        kept = self._kept.get(data[token_end:])
        if kept is None or kept[0].ended:
            return None
        return start + data[2:token_end] + kept[1]

    def keep(self, data: bytes, payload: bytes, fresh: Fresh) -> None:
        """A 2.05 in link-format that fits into one message is the answer to the GET `data` until `fresh` ends."""
        question = data[_TOKEN + (data[0] & 15) :]
        answer = reply.link_format(payload)
        size = len(question) + len(answer)
        if len(self._kept) >= KEPT_MAX or self._octets + size > OCTETS_MAX:
            self._kept.clear()  # cheaper than keeping them in order of use
            self._octets = 0
        self._octets += size  # what it replaces is counted still, and so the bound holds
        self._kept[question] = (fresh, answer)

    def check(self) -> None:
        assert len(self._kept) <= KEPT_MAX
        assert self._octets <= OCTETS_MAX
