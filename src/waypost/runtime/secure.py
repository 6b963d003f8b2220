"""TLS and DTLS over memory: OpenSSL's contexts, and what one end of a secured connection does with octets.

Nothing here knows of sockets or deadlines: datagrams are dtls.py's matter, connections tcp.py's.  A client shows a
pre-shared key or a certificate, and one of the two it must show; a session is never resumed, so each handshake shows
it anew.  `Channel.who` is set once, when the handshake is done.

pyOpenSSL has no call for pre-shared keys: the two names of its binding that do it are used here and nowhere else, and
psk_trouble() tries them out when a node starts.

Cipher suites have forward secrecy where the peer can do it; the 8-octet tags that RFC 7252, 9.1.3 makes mandatory for
small devices need security level 0 of OpenSSL, so groups and signatures are named here instead of left to it.

Source: RFC 7252, 9.1.3; RFC 7925, 4; RFC 8323, 9; RFC 8446, 2.2; notes on RELOAD, 4.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from cryptography.hazmat.bindings.openssl.binding import Binding
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates
from OpenSSL import SSL, crypto

from waypost.errors import DeniedError, StateError
from waypost.identity import Identity
from waypost.identity.anchors import Trust
from waypost.identity.chains import marks_of
from waypost.identity.credentials import Credentials, SharedKey
from waypost.runtime.records import SUITES, Secrets

# Suites of TLS and DTLS 1.2, best first.
WITH_CERTIFICATE: Final = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES256-GCM-SHA384"
    b":ECDHE-ECDSA-AES128-CCM:ECDHE-ECDSA-AES128-CCM8"
)
WITH_KEY: Final = (
    b"ECDHE-PSK-CHACHA20-POLY1305"
    b":PSK-AES128-GCM-SHA256:PSK-CHACHA20-POLY1305:PSK-AES256-GCM-SHA384:PSK-AES128-CCM:PSK-AES128-CCM8"
)
LEVEL: Final = b":@SECLEVEL=0"
# Of TLS 1.3.  A pre-shared key goes with SHA-256 (RFC 8446, 4.2.11): another hash first, and OpenSSL passes it over.
TLS_1_3: Final = b"TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_CCM_SHA256:TLS_AES_256_GCM_SHA384"
GROUPS: Final = b"X25519:P-256:P-384"
SIGNATURES: Final = b"ECDSA+SHA256:ed25519:ECDSA+SHA384:RSA-PSS+SHA256:RSA-PSS+SHA384:RSA+SHA256:RSA+SHA384"
MTU: Final = 1200  # octets of a DTLS datagram, without the headers of UDP and IP
PROTOCOL: Final = b"coap"  # RFC 8323, 11.7
READ_MAX: Final = 16_384  # octets of one record
DTLS_1_2: Final = 0xFEFD
NO_QUERY_MTU: Final = 0x1000  # SSL_OP_NO_QUERY_MTU, and so on: pyOpenSSL has some, as int | None
COOKIE_EXCHANGE: Final = 0x2000
NO_COMPRESSION: Final = 0x0002_0000
SERVER_PREFERENCE: Final = 0x0040_0000
NO_RENEGOTIATION: Final = 0x4000_0000
RELEASE_BUFFERS: Final = 0x10  # SSL_MODE_RELEASE_BUFFERS

# Why a handshake or a connection ended, as metrics count it.
CERTIFICATE: Final = "certificate"  # none, expired, of a stranger, or without an identity of ours
KEY: Final = "key"  # its name is unknown, or the key a wrong one
PROTOCOL_BROKEN: Final = "protocol"
DEADLINE: Final = "deadline"
CLOSED: Final = "closed"
REVOKED: Final = "revoked"

NO_MARKS: Final[frozenset[str]] = frozenset()

WallClock = Callable[[], int]  # milliseconds since 1970

_SIGNS: Final = (
    (CERTIFICATE, ("certificate", "unknown ca")),
    (KEY, ("psk", "binder", "bad record mac", "digest check failed", "decrypt error")),
)

_binding = Binding()
_ffi: Any = _binding.ffi
_lib: Any = _binding.lib
_SERVER_CALLBACK: Final = "unsigned int(SSL *, const char *, unsigned char *, unsigned int)"
_CLIENT_CALLBACK: Final = "unsigned int(SSL *, const char *, char *, unsigned int, unsigned char *, unsigned int)"


class Channel:
    """One end: feed() it octets, step(), and take() what is to be sent.

    `ended` is one of the reasons above once nothing more can be said, `detail` says it in words.  `marks` are those by
    which the peer's certificates can be revoked.
    """

    # Whose turn it is: OpenSSL's callbacks for pre-shared keys come while step() runs, and name no Python object.
    _stepping: "Channel | None" = None

    __slots__ = ("_credentials", "_shared", "_wall_ms", "connection", "detail", "ended", "marks", "who")

    def __init__(self, connection: SSL.Connection, credentials: Credentials, wall_ms: WallClock) -> None:
        self.connection = connection
        self._credentials = credentials
        self._wall_ms = wall_ms
        self._shared: SharedKey | None = None  # what the peer named, or what we show
        self.who: Identity | None = None
        self.marks: frozenset[str] = NO_MARKS
        self.ended: str | None = None
        self.detail = ""

    def step(self) -> list[bytes]:
        """Go on with the handshake, then read; what the peer said."""
        Channel._stepping = self
        said: list[bytes] = []
        try:
            if self.who is None and self.ended is None:
                self.connection.do_handshake()
                self.who = self._identify()
            while self.ended is None:
                said.append(self.connection.recv(READ_MAX))
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self._end(CLOSED, "closed by the peer")
        except SSL.Error as error:
            self._end(*_reason(error))
        except DeniedError as error:
            self.close()
            self.ended, self.detail = CERTIFICATE, str(error)
        finally:
            Channel._stepping = None
        return said

    def feed(self, data: bytes) -> None:
        if data and self.ended is None:
            self.connection.bio_write(data)

    def write(self, data: bytes) -> None:
        """After the handshake."""
        if self.ended is not None:
            return
        try:
            self.connection.sendall(data)  # send() may write a part of it
        except SSL.Error as error:
            self._end(*_reason(error))

    def take(self) -> bytes:
        """What is to be sent, whole."""
        parts: list[bytes] = []
        try:
            while True:
                parts.append(self.connection.bio_read(READ_MAX))
        except SSL.WantReadError:
            return b"".join(parts)

    def close(self) -> None:
        """Tell the peer; take() has the words."""
        if self.ended is None:
            with suppress(SSL.Error):  # in the middle of its handshake
                self.connection.shutdown()
            self._end(CLOSED, "closed by this node")

    def release(self) -> Secrets | None:
        """What the handshake has agreed on, and OpenSSL is let go; None, and nothing done, for another suite."""
        connection = self.connection
        suite = connection.get_cipher_name()
        if suite is None or suite not in SUITES:
            return None
        master, ours, theirs = connection.master_key(), connection.server_random(), connection.client_random()
        assert master is not None
        assert ours is not None
        assert theirs is not None
        del self.connection
        return Secrets(suite, master, theirs, ours)

    def find_key(self, name: bytes) -> bytes:
        """The peer shows that it knows this key; empty if there is none of that name."""
        self._shared = self._credentials.psks.get(name)
        return b"" if self._shared is None else self._shared.key

    def show_key(self) -> tuple[bytes, bytes]:
        """The first of our keys and its name; a client has one."""
        name = next(iter(self._credentials.psks), b"")
        return name, self.find_key(name)

    def _identify(self) -> Identity:
        """Without a certificate it was a key: the context lets no peer through that shows neither.

        A name alone is none: TLS 1.3 may hear it and go on without the key.
        """
        own = self.connection.get_peer_certificate(as_cryptography=True)
        if own is not None:
            sent = self.connection.get_peer_cert_chain(as_cryptography=True) or []
            chain = [own, *(certificate for certificate in sent if certificate != own)]
            ders = [certificate.public_bytes(Encoding.DER) for certificate in chain]
            who = self._credentials.certified(ders, self._wall_ms())
            self.marks = marks_of(ders)
            return who
        suite = self.connection.get_cipher_name() or ""
        if self._shared is None or not ("PSK" in suite or _lib.SSL_session_reused(self.connection._ssl) == 1):
            raise DeniedError("neither a certificate nor a key was shown")
        return self._shared.who

    def _end(self, reason: str, detail: str) -> None:
        if self.ended is None:
            self.ended, self.detail = reason, detail


class Acceptor:
    """Makes the servers' ends.  Raises nothing once it is made, whatever `credentials` becomes."""

    def __init__(self, credentials: Callable[[], Credentials], wall_ms: WallClock, *, datagrams: bool) -> None:
        self._credentials = credentials
        self._wall_ms = wall_ms
        self._datagrams = datagrams
        self._known = credentials()
        self._context = _context(self._known, datagrams=datagrams, server=True)

    def accept(self) -> Channel:
        credentials = self._credentials()
        if credentials is not self._known:  # renewed
            self._context = _context(credentials, datagrams=self._datagrams, server=True)
            self._known = credentials
        return Channel(_connection(self._context, datagrams=self._datagrams, server=True), credentials, self._wall_ms)


class Connector:
    """Makes clients' ends: each shows its one pre-shared key, or its certificate if it has none.

    `suites`, in OpenSSL's words, are the only ones offered in TLS and DTLS 1.2.
    """

    def __init__(
        self, credentials: Credentials, wall_ms: WallClock, *, datagrams: bool, suites: bytes | None = None
    ) -> None:
        self._credentials = credentials
        self._wall_ms = wall_ms
        self._datagrams = datagrams
        self._context = _context(credentials, datagrams=datagrams, server=False, suites=suites)

    def connect(self) -> Channel:
        connection = _connection(self._context, datagrams=self._datagrams, server=False)
        return Channel(connection, self._credentials, self._wall_ms)


def connect(credentials: Credentials, wall_ms: WallClock, *, datagrams: bool) -> Channel:
    """One client's end."""
    return Connector(credentials, wall_ms, datagrams=datagrams).connect()


def psk_trouble() -> str | None:
    """Why pre-shared keys do not work with this pyOpenSSL; None if they do.  Takes some milliseconds."""
    who = Identity("psk", "trial")
    credentials = Credentials(b"", b"", Trust(), {b"trial": SharedKey(bytes(range(32)), who)})
    try:
        for datagrams in (False, True):
            client = connect(credentials, _no_time, datagrams=datagrams)
            context = _context(credentials, datagrams=datagrams, server=True, cookies=False)
            server = Channel(_connection(context, datagrams=datagrams, server=True), credentials, _no_time)
            for _ in range(4):
                for end, other in ((client, server), (server, client)):
                    end.step()
                    other.feed(end.take())
            if not client.who == server.who == who:
                return f"a trial handshake failed: {client.detail or server.detail or 'no end'}"
    except (AttributeError, TypeError, ValueError, SSL.Error, StateError) as error:
        return f"pyOpenSSL has changed: {error}"
    return None


def _no_time() -> int:
    return 0


def _connection(context: SSL.Context, *, datagrams: bool, server: bool) -> SSL.Connection:
    connection = SSL.Connection(context, None)
    if datagrams:
        connection.set_ciphertext_mtu(MTU)
    if server:
        connection.set_accept_state()
    else:
        connection.set_connect_state()
    return connection


def _context(
    credentials: Credentials, *, datagrams: bool, server: bool, cookies: bool = True, suites: bytes | None = None
) -> SSL.Context:
    context = SSL.Context(SSL.DTLS_METHOD if datagrams else SSL.TLS_METHOD)
    context.set_min_proto_version(DTLS_1_2 if datagrams else SSL.TLS1_2_VERSION)
    context.set_cipher_list((suites or _suites(credentials, server=server)) + LEVEL)
    _require(_lib.SSL_CTX_set_ciphersuites(context._context, TLS_1_3) == 1)
    _require(_lib.SSL_CTX_set1_curves_list(context._context, GROUPS) == 1)
    _require(_lib.SSL_CTX_set1_sigalgs_list(context._context, SIGNATURES) == 1)
    context.set_options(NO_RENEGOTIATION | NO_COMPRESSION | SERVER_PREFERENCE | SSL.OP_NO_TICKET)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_mode(RELEASE_BUFFERS)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
    if credentials.chain:
        certificate, *between = load_pem_x509_certificates(credentials.chain)
        context.use_certificate(certificate)
        for each in between:
            context.add_extra_chain_cert(each)
        context.use_privatekey(load_pem_private_key(credentials.key, None))  # type: ignore[arg-type]
        context.check_privatekey()
    store = context.get_cert_store()
    assert store is not None
    for anchor in credentials.anchors:
        for each in load_pem_x509_certificates(anchor):
            store.add_cert(crypto.X509.from_cryptography(each))
    if datagrams:
        context.set_options(NO_QUERY_MTU)
        if server and cookies:  # dtls.py has checked the cookie before there is a connection
            context.set_options(COOKIE_EXCHANGE)
            context.set_cookie_verify_callback(_true)
    elif server:
        context.set_alpn_select_callback(_select)
    else:
        context.set_alpn_protos([PROTOCOL])
    if server:
        context.set_session_id(PROTOCOL)  # OpenSSL wants one where it asks for certificates
        _lib.SSL_CTX_set_psk_server_callback(context._context, _on_psk_server)
    elif credentials.psks:
        _lib.SSL_CTX_set_psk_client_callback(context._context, _on_psk_client)
    return context


def _suites(credentials: Credentials, *, server: bool) -> bytes:
    """Who offers suites for keys has a key; who offers those for certificates may have none, and offers them too."""
    if not credentials.psks:
        return WITH_CERTIFICATE
    return WITH_KEY + b":" + WITH_CERTIFICATE if server and credentials.chain else WITH_KEY


def _require(done: bool) -> None:
    if not done:
        raise StateError("OpenSSL refuses its settings")


def _true(_: SSL.Connection, __: bytes) -> bool:
    return True


def _select(_: SSL.Connection, offered: list[bytes]) -> Any:
    """RFC 8323, 9.1: who offers protocols must offer ours; who offers none means it."""
    return PROTOCOL if PROTOCOL in offered else SSL.NO_OVERLAPPING_PROTOCOLS


@_ffi.callback(_SERVER_CALLBACK)  # type: ignore[untyped-decorator]
def _on_psk_server(_: Any, name: Any, key: Any, key_max: int) -> int:
    channel = Channel._stepping
    found = b"" if channel is None else channel.find_key(_ffi.string(name))
    return _put(key, key_max, found)


@_ffi.callback(_CLIENT_CALLBACK)  # type: ignore[untyped-decorator]
def _on_psk_client(_: Any, __: Any, name: Any, name_max: int, key: Any, key_max: int) -> int:
    channel = Channel._stepping
    shown, found = (b"", b"") if channel is None else channel.show_key()
    return _put(key, key_max, found) if _put(name, name_max, shown + b"\0") else 0


def _put(place: Any, size: int, data: bytes) -> int:
    if len(data) > size:
        return 0
    _ffi.memmove(place, data, len(data))
    return len(data)


def _reason(error: SSL.Error) -> tuple[str, str]:
    """OpenSSL's own words say which it was."""
    queue = error.args[0] if error.args else ()
    words = "; ".join(entry[2] for entry in queue if len(entry) == 3) if isinstance(queue, list) else str(error)
    for reason, signs in _SIGNS:
        if any(sign in words for sign in signs):
            return reason, words
    return PROTOCOL_BROKEN, words or "the octets ended"
