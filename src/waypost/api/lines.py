"""An event of the feed as octets: for a browser's EventSource, or as a line of JSON."""

import msgspec

from waypost.api.schemas import Event


def json_line(event: Event) -> bytes:
    return msgspec.json.encode(event) + b"\n"


def server_sent(event: Event) -> bytes:
    """WHATWG HTML, 9.2: an id alone is remembered and dispatches nothing; an empty one forgets."""
    if event.event == "heartbeat":
        return f":\nid: {event.token}\n\n".encode()
    id = f"id: {event.token or ''}\n" if event.token or event.event == "reset" else ""
    match event.event:
        case "put" | "expire":
            data: object = event.endpoint
        case "remove":
            data = {"ep": event.ep, "d": event.d}
        case "reset":
            data = {"detail": event.detail}
        case _:
            data = {}
    return f"event: {event.event}\n{id}data: ".encode() + msgspec.json.encode(data) + b"\n\n"
