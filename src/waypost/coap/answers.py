"""Answers to requests like one that was read before, without reading them.

Devices ask the same question over and over.  The octets of a GET after its token are the question whole,
so one dict lookup finds what was answered, and the answer leaves with the new request's id and token:
decoding, searching and encoding are spared.  Whoever makes an answer gives it a Fresh, and ends that when the
answer may be another.

Questions that differ from an answered one in nothing but the value of their only query argument, and so begin alike
and are as long, are put to whoever answered that as this value (Response.others): decoding and encoding are spared.

Source: RFC 7252, 5.6 (an answer that is fresh may be used again; here its origin does so itself).
"""

from typing import Final

from waypost.coap import reply
from waypost.coap.message import decode
from waypost.coap.numbers import Code, Option, Type
from waypost.coap.request import Fresh, Others, Response

KEPT_MAX: Final = 16_384  # answers
OCTETS_MAX: Final = 8 << 20  # of the questions and the answers
BEGINNINGS_MAX: Final = 1_024  # of questions that differ in their value

_TOKEN: Final = 4  # where it begins
_GET: Final = int(Code.GET)
_URI_PATH: Final = int(Option.URI_PATH)
_URI_QUERY: Final = int(Option.URI_QUERY)

# The first octet of a request -> the first two of its answer, and where its token ends.
_HEADS: Final = {
    0x40 | kind << 4 | size: (bytes((0x40 | answer << 4 | size, Code.CONTENT)), _TOKEN + size)
    for kind, answer in ((Type.CON, Type.ACK), (Type.NON, Type.NON))
    for size in range(9)
}


class Answers:
    """`repeated` counts what was answered from memory."""

    def __init__(self) -> None:
        self._kept: dict[bytes, tuple[Fresh, bytes]] = {}  # options and payload -> those of the answer
        self._octets = 0
        self.repeated = 0
        # what stands before the value -> who answers, and how long the question is
        self._others: dict[bytes, tuple[Others, int]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, data: bytes) -> bytes | None:
        """The answer to the datagram `data`, if it is a GET like one that was answered before."""
        if len(data) < _TOKEN or data[1] != _GET or (head := _HEADS.get(data[0])) is None:
            return None
        start, token_end = head
        question = data[token_end:]
        kept = self._kept.get(question)
        if kept is not None and not kept[0].ended:
            self.repeated += 1
            return start + data[2:token_end] + kept[1]
        value_at = question.find(b"=") + 1
        others = self._others.get(question[:value_at])
        if others is None or others[1] != len(question):
            return None
        try:
            payload = others[0](question[value_at:].decode())
        except UnicodeDecodeError:
            return None
        if payload is None or len(payload) > reply.BLOCK_MAX:
            return None
        return start + data[2:token_end] + reply.link_format(payload)

    def learn(self, data: bytes, response: Response) -> None:
        """`response`, a 2.05 in link-format that fits into one message, answers the GET `data`."""
        if response.fresh is not None:
            self.keep(data, response.payload, response.fresh)
        if response.others is None:
            return
        message = decode(data)
        *path, (last, argument) = message.options
        if last != _URI_QUERY or message.payload or any(number != _URI_PATH for number, _ in path):
            return
        question = data[_TOKEN + len(message.token) :]
        beginning = question[: question.find(b"=") + 1]
        value = argument[argument.find(b"=") + 1 :]
        if not beginning or question != beginning + value:
            return  # an equals sign stands elsewhere
        if len(self._others) >= BEGINNINGS_MAX:
            self._others.clear()
        self._others[beginning] = (response.others, len(question))

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
        assert len(self._others) <= BEGINNINGS_MAX
