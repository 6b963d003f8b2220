"""An event of the feed as octets: for a browser's EventSource, or as a line of JSON."""

import msgspec

from waypost.api.schemas import Event
from waypost.api.voted import RecordEvent


def json_line(event: Event | RecordEvent) -> bytes:
    return msgspec.json.encode(event) + b"\n"


def server_sent(event: Event) -> bytes:
    match event.event:
        case "put" | "expire":
            data: object = event.endpoint
        case "remove":
            data = {"ep": event.ep, "d": event.d}
        case "reset":
            data = {"detail": event.detail}
        case _:
            data = {}
    return _sent(event.event, event.token, data)


def server_sent_record(event: RecordEvent) -> bytes:
    match event.event:
        case "put":
            data: object = {"record": event.record, "certificate": event.certificate}
        case "reset":
            data = {"detail": event.detail}
        case _:
            data = {}
    return _sent(event.event, event.token, data)


def _sent(kind: str, token: str | None, data: object) -> bytes:
    """WHATWG HTML, 9.2: an id alone is remembered and dispatches nothing; an empty one forgets."""
    if kind == "heartbeat":
        return f":\nid: {token}\n\n".encode()
    id = f"id: {token or ''}\n" if token or kind == "reset" else ""
    return f"event: {kind}\n{id}data: ".encode() + msgspec.json.encode(data) + b"\n\n"
