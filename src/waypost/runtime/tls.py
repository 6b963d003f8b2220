"""TLS 1.3 around HTTP: a context for each state of the keys, and the certificates that a client showed.

OpenSSL checks that a client has the key of its certificate and that a root signed it; whom it stands for, and whether
it is revoked, is certified()'s to say.  Nothing is resumed: each handshake shows the certificate anew.

Source: RFC 8446; notes on reliability, D1 and D3.
"""

import os
import ssl
from collections.abc import Callable
from typing import Any

from waypost.identity.credentials import Credentials


def server_context(credentials: Credentials) -> ssl.SSLContext:
    """A client may show a certificate, of one of the roots and for clients; if it shows another, it is let go.

    Raises ssl.SSLError for a certificate that OpenSSL does not take.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.num_tickets = 0
    return _ours(context, credentials)


def client_context(credentials: Credentials) -> ssl.SSLContext:
    """To another node, wherever it is: whom its certificate stands for is the caller's to look at."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    return _ours(context, credentials)


def proxied_context(credentials: Credentials) -> ssl.SSLContext:
    """The same, to nodes that may stand behind a proxy which ends TLS: what answers is who the URL names."""
    context = client_context(credentials)
    context.check_hostname = True
    context.load_default_certs()
    return context


class Contexts:
    """`credentials` is called for each handshake; its object changes when the keys do."""

    def __init__(
        self,
        credentials: Callable[[], Credentials],
        made: Callable[[Credentials], ssl.SSLContext] = server_context,
    ) -> None:
        self._credentials = credentials
        self._made = made
        self._of: Credentials | None = None
        self._context: ssl.SSLContext | None = None

    def current(self) -> ssl.SSLContext:
        """Raises ssl.SSLError for a certificate that OpenSSL does not take."""
        credentials = self._credentials()
        if self._context is None or credentials is not self._of:
            self._context = self._made(credentials)
            self._of = credentials
        return self._context


def _ours(context: ssl.SSLContext, credentials: Credentials) -> ssl.SSLContext:
    """With our certificate, and the roots that we take."""
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=b"".join(credentials.anchors).decode())
    context.set_alpn_protocols(["http/1.1"])
    # The library reads a file: one without a name, in memory.
    file = os.memfd_create("keys", os.MFD_CLOEXEC)
    try:
        os.write(file, credentials.key + b"\n" + credentials.chain)
        context.load_cert_chain(f"/proc/self/fd/{file}")
    finally:
        os.close(file)
    return context


def chain_of(connection: Any) -> tuple[bytes, ...]:
    """The certificates (DER, its own first) that the other end of an ssl.SSLObject showed; none if it showed none."""
    own = connection.getpeercert(binary_form=True)
    if own is None:
        return ()
    if hasattr(connection, "get_unverified_chain"):  # from Python 3.13 on
        return tuple(connection.get_unverified_chain())
    shown = connection._sslobj.get_unverified_chain() or ()
    return tuple(ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in shown) or (own,)
