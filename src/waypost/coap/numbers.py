"""The registered numbers of CoAP, and the limits this server sets."""

from enum import IntEnum
from typing import Final


class Type(IntEnum):
    """RFC 7252, 3."""

    CON = 0
    NON = 1
    ACK = 2
    RST = 3


class Code(IntEnum):
    """Class in the upper three bits, detail in the lower five (RFC 7252, 12.1)."""

    EMPTY = 0x00
    GET = 0x01
    POST = 0x02
    PUT = 0x03
    DELETE = 0x04
    FETCH = 0x05
    PATCH = 0x06
    IPATCH = 0x07
    CREATED = 0x41
    DELETED = 0x42
    VALID = 0x43
    CHANGED = 0x44
    CONTENT = 0x45
    CONTINUE = 0x5F
    BAD_REQUEST = 0x80
    UNAUTHORIZED = 0x81
    BAD_OPTION = 0x82
    FORBIDDEN = 0x83
    NOT_FOUND = 0x84
    METHOD_NOT_ALLOWED = 0x85
    NOT_ACCEPTABLE = 0x86
    REQUEST_ENTITY_INCOMPLETE = 0x88
    CONFLICT = 0x89
    PRECONDITION_FAILED = 0x8C
    REQUEST_ENTITY_TOO_LARGE = 0x8D
    UNSUPPORTED_CONTENT_FORMAT = 0x8F
    INTERNAL_SERVER_ERROR = 0xA0
    NOT_IMPLEMENTED = 0xA1
    BAD_GATEWAY = 0xA2
    SERVICE_UNAVAILABLE = 0xA3
    GATEWAY_TIMEOUT = 0xA4
    PROXYING_NOT_SUPPORTED = 0xA5

    def __str__(self) -> str:
        return f"{self >> 5}.{self & 31:02d}"


class Option(IntEnum):
    """Odd numbers are critical (RFC 7252, 5.4.6)."""

    IF_MATCH = 1
    URI_HOST = 3
    ETAG = 4
    IF_NONE_MATCH = 5
    OBSERVE = 6  # RFC 7641
    URI_PORT = 7
    LOCATION_PATH = 8
    OSCORE = 9  # RFC 8613
    URI_PATH = 11
    CONTENT_FORMAT = 12
    MAX_AGE = 14
    URI_QUERY = 15
    HOP_LIMIT = 16  # RFC 8768
    ACCEPT = 17
    LOCATION_QUERY = 20
    BLOCK2 = 23  # RFC 7959
    BLOCK1 = 27
    SIZE2 = 28
    PROXY_URI = 35
    PROXY_SCHEME = 39
    SIZE1 = 60
    ECHO = 252  # RFC 9175
    NO_RESPONSE = 258  # RFC 7967
    REQUEST_TAG = 292  # RFC 9175


TEXT_PLAIN: Final = 0
LINK_FORMAT: Final = 40

# Transmission parameters (RFC 7252, 4.8), seconds
ACK_TIMEOUT: Final = 2.0
ACK_RANDOM_FACTOR: Final = 1.5
MAX_RETRANSMIT: Final = 4
EXCHANGE_LIFETIME: Final = 247.0
EMPTY_ACK_AFTER: Final = 1.0  # a request that is not answered by then is acknowledged apart

# Limits: whatever a peer can make grow
DATAGRAM_MAX: Final = 1280  # octets we send in one datagram; RFC 7252, 4.6, and IPv6's smallest MTU less headers
BLOCK_EXPONENT_MAX: Final = 6  # blocks of 1024 octets (RFC 7959, 2.2)
AMPLIFICATION_MAX: Final = 3  # octets out for each octet in, until the source is validated
ECHO_LIFETIME: Final = 60.0  # seconds an Echo value is good for
VALIDATED_MAX: Final = 16_384  # sources remembered as validated
VALIDATED_LIFETIME: Final = 300.0  # seconds
DUPLICATES_MAX: Final = 8_192  # replies kept for retransmitted requests
DUPLICATES_OCTETS_MAX: Final = 8 << 20
STRANGERS_DUPLICATES_MAX: Final = 2_048  # of them, for sources that are not validated
EXCHANGES_MAX: Final = 16_384  # requests waiting for their resource
RETRANSMISSIONS_MAX: Final = 4_096  # confirmable messages waiting for their acknowledgement
SNAPSHOTS_MAX: Final = 1_024  # block-wise answers under way
SNAPSHOTS_OCTETS_MAX: Final = 64 << 20
SNAPSHOT_LIFETIME: Final = 60.0  # seconds since its last block
ASSEMBLIES_MAX: Final = 256  # block-wise requests under way
ASSEMBLIES_PER_SOURCE_MAX: Final = 8
ASSEMBLY_LIFETIME: Final = 60.0  # seconds since its last block
BODY_MAX: Final = 64 << 10  # octets of one request's payload, assembled
OBSERVATIONS_MAX: Final = 16_384
OBSERVATIONS_PER_SOURCE_MAX: Final = 64
STRANGERS_OBSERVING_MAX: Final = 1_024  # observations of sources that are not validated
CONFIRM_EVERY: Final = 20  # every n-th notification is confirmable (RFC 7641, 4.5)
