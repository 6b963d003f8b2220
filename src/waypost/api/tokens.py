"""Tokens as the API shows them: without their hashes, with times that people can read."""

from datetime import UTC, datetime

from waypost.api import schemas
from waypost.identity.token import Token


def shown(token: Token) -> schemas.Token:
    return schemas.Token(
        token.id,
        token.name,
        token.roles,
        token.actions,
        token.sectors,
        token.hosts,
        token.joins,
        _time(token.created_ms),
        _time(token.until_ms),
        None if token.used_ms is None else _time(token.used_ms),
    )


def _time(wall_ms: int) -> str:
    """RFC 3339, to the second."""
    return datetime.fromtimestamp(wall_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
