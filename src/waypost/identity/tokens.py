"""The tokens of this node: given, known again, used up, revoked.

Rows are this node's own and lie in the table "meta": "token " and the id.  A token that is made, used up or revoked
is on disk before anybody hears of it, and one that is revoked or used up is of no use from that moment on.  When a
bearer's was last used is noted by the hour.

Times are seconds on the caller's monotonic clock, and integer milliseconds of the wall clock where they are kept.

Source: notes on reliability, D1 (bootstrap, tokens).
"""

import re
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from random import Random
from typing import Final

import msgspec
from msgspec.structs import replace

from waypost.canonical import canonical
from waypost.engine import Answer, Commit, Effect, Put, Rows
from waypost.errors import StoreError
from waypost.identity import NAME, OPERATOR, ROLES, Identity
from waypost.identity.policy import THE_NODE, Action, Decide
from waypost.identity.token import (
    Authenticate,
    Created,
    CreateToken,
    Declined,
    FirstToken,
    Listed,
    ListTokens,
    Redeem,
    Redeemed,
    Revoked,
    RevokeToken,
    Shown,
    Token,
    TokenOutcome,
    TokenQuestion,
    base32,
)

TABLE: Final = "meta"
PREFIX: Final = b"token "
FIRST: Final = b"first token"  # a row: the administrator's token of the first start was made
TOKENS_MAX: Final = 1_000
LIFETIME_S: Final = 90 * 86_400
JOIN_LIFETIME_S: Final = 3_600
LIFETIME_MAX_S: Final = 10 * 366 * 86_400
SCOPES_MAX: Final = 64  # actions, and sectors, and hosts, of one token
TEXT_MAX: Final = 255  # octets of a sector or a host
USED_EVERY_MS: Final = 3_600_000
SECRET: Final = 32  # octets

CERTIFIED: Final = re.compile(r"[A-Za-z0-9._-]{1,47}|[A-Za-z0-9._-]{0,46}\*", re.ASCII)  # names that may be certified


@dataclass(slots=True)
class _Counts:
    created: int = 0
    redeemed: int = 0
    refused: int = 0
    revoked: int = 0


class Tokens:
    """An organ of the node: what is asked is answered by an effect, at once or when it is durable."""

    def __init__(self, rng: Random, decide: Decide) -> None:
        self._rng = rng
        self._decide = decide
        self._offset_ms = 0.0  # wall clock less the caller's
        self._kept: dict[str, Token] = {}
        self._had_first = False
        self._effects: list[Effect] = []
        self._counts = _Counts()

    # the engine's calls

    def restore(self, rows: Rows) -> None:
        """Raises StoreError for a row that cannot be read."""
        self._had_first = rows.get(TABLE, FIRST) is not None
        for key, value in rows.scan(TABLE):
            if key.startswith(PREFIX):
                try:
                    token = msgspec.json.decode(value, type=Token)
                except ValueError as error:
                    raise StoreError(f"the stored token {key!r} cannot be read") from error
                self._kept[token.id] = token

    def handle_clock(self, now: float, wall_ms: int) -> None:
        self._offset_ms = wall_ms - now * 1000

    def ask(self, id: int, question: TokenQuestion, now: float) -> None:
        """Answer(id, …) follows."""
        wall_ms = int(now * 1000 + self._offset_ms)
        match question:
            case Authenticate():
                self._authenticate(id, question.shown, wall_ms)
            case CreateToken():
                self._create(id, question, wall_ms)
            case FirstToken():
                self._first(id, wall_ms)
            case ListTokens():
                self._list(id, question.who, wall_ms)
            case RevokeToken():
                self._revoke(id, question)
            case Redeem():
                self._redeem(id, question, wall_ms)

    def take_effects(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects

    def counters(self) -> dict[str, int]:
        return {
            "tokens_given": self._counts.created,
            "tokens_redeemed": self._counts.redeemed,
            "tokens_refused": self._counts.refused,
            "tokens_revoked": self._counts.revoked,
        }

    def gauges(self) -> dict[str, int]:
        return {"tokens": len(self._kept)}

    def check(self) -> None:
        assert len(self._kept) <= TOKENS_MAX, "tokens are bounded"
        assert all(id == token.id for id, token in self._kept.items()), "tokens go by their ids"

    # what is asked

    def _authenticate(self, id: int, shown: Shown, wall_ms: int) -> None:
        token = self._known(shown)
        if token is None or token.joins or wall_ms >= token.until_ms:
            self._counts.refused += 1
            self._answer(id, None)
            return
        self._answer(id, token.identity())
        hour = wall_ms // USED_EVERY_MS * USED_EVERY_MS
        if token.used_ms is None or token.used_ms < hour:
            self._effects.append(Commit(puts=(self._keep(replace(token, used_ms=hour)),)))

    def _create(self, id: int, question: CreateToken, wall_ms: int) -> None:
        wrong = self._forbidden(question.who) or _wrong(question)
        if wrong is not None:
            self._answer(id, wrong)
            return
        gone = self._expired(wall_ms)
        if len(self._kept) >= TOKENS_MAX:
            self._answer(id, Declined("full", f"there are {TOKENS_MAX} tokens already: revoke some"), *gone)
            return
        created, put = self._made(question, wall_ms)
        self._answer(id, created, *gone, put)

    def _first(self, id: int, wall_ms: int) -> None:
        if self._had_first:
            self._answer(id, None)
            return
        self._had_first = True
        created, put = self._made(CreateToken("admin", ("admin",), OPERATOR), wall_ms)
        self._answer(id, created, put, Put(TABLE, FIRST, created.token.id.encode()))

    def _list(self, id: int, who: Identity, wall_ms: int) -> None:
        alive = sorted((t for t in self._kept.values() if wall_ms < t.until_ms), key=lambda t: (t.created_ms, t.id))
        self._answer(id, self._forbidden(who) or Listed(tuple(alive)))

    def _revoke(self, id: int, question: RevokeToken) -> None:
        wrong = self._forbidden(question.who)
        if wrong is None and question.id not in self._kept:
            wrong = Declined("not found", "there is no token of this id")
        if wrong is not None:
            self._answer(id, wrong)
            return
        self._counts.revoked += 1
        self._answer(id, Revoked(self._kept.pop(question.id)), Put(TABLE, PREFIX + question.id.encode(), None))

    def _redeem(self, id: int, question: Redeem, wall_ms: int) -> None:
        token = self._known(question.shown)
        wrong = self._unfit(token, question, wall_ms)
        if token is None or wrong is not None:
            self._counts.refused += 1
            self._answer(id, wrong)
            return
        redeemed = Redeemed(token.roles[0], question.name or token.name)
        if question.dry:
            self._answer(id, redeemed)
            return
        self._counts.redeemed += 1
        self._answer(id, redeemed, self._keep(replace(token, used_ms=wall_ms)))

    # how it is found out

    def _known(self, shown: Shown) -> Token | None:
        """The one that was shown.  An id that is not there takes as long as a secret that is wrong."""
        token = self._kept.get(shown.id)
        same = compare_digest(_digest(shown.secret), "" if token is None else token.digest)
        return token if same else None

    def _unfit(self, token: Token | None, question: Redeem, wall_ms: int) -> Declined | None:
        """Why it cannot be used up; who does not have the secret learns no more than that."""
        decision = self._decide(question.who, Action.JOIN, THE_NODE)
        if not decision.allowed:
            return Declined("forbidden", decision.reason)
        if token is None or not token.joins:
            return Declined("forbidden", "the token is none to join this node with")
        if token.used_ms is not None:
            return Declined("forbidden", "the token was used already: each can be used once")
        if wall_ms >= token.until_ms:
            return Declined("forbidden", "the token has expired")
        if question.role not in (None, token.roles[0]):
            return Declined("forbidden", f"the token certifies a {token.roles[0]}, not a {question.role}")
        name = token.name if question.name is None else question.name
        if question.name is None and name.endswith("*"):
            return Declined("forbidden", f"the token is for any name as {name}: say which name")
        if not _covers(token.name, name):
            return Declined("forbidden", f"the token is for the name {token.name}, not for {name[:64]!r}")
        if name in question.taken and name != token.name:
            return Declined(
                "forbidden", f"the name {name} is taken: only a token for it alone replaces its certificate"
            )
        others = [host for host in question.hosts if host not in token.hosts]
        if others:
            return Declined("forbidden", f"the token allows no certificate for the host {others[0]}")
        return None

    def _forbidden(self, who: Identity) -> Declined | None:
        decision = self._decide(who, Action.ADMINISTER, THE_NODE)
        return None if decision.allowed else Declined("forbidden", decision.reason)

    # keeping

    def _made(self, question: CreateToken, wall_ms: int) -> tuple[Created, Put]:
        name = base32(self._rng.randbytes(5))
        while name in self._kept:
            name = base32(self._rng.randbytes(5))
        shown = Shown(name, self._rng.randbytes(SECRET), question.pin)
        joins = bool(question.pin)
        lifetime_s = question.lifetime_s or (JOIN_LIFETIME_S if joins else LIFETIME_S)
        self._counts.created += 1
        token = Token(
            name,
            _digest(shown.secret),
            question.name,
            tuple(sorted({*question.roles})),
            wall_ms,
            wall_ms + lifetime_s * 1000,
            question.actions,
            question.sectors,
            question.hosts,
            joins=joins,
        )
        return Created(shown, token), self._keep(token)

    def _keep(self, token: Token) -> Put:
        self._kept[token.id] = token
        return Put(TABLE, PREFIX + token.id.encode(), canonical(msgspec.to_builtins(token)))

    def _expired(self, wall_ms: int) -> list[Put]:
        over = [token.id for token in self._kept.values() if wall_ms >= token.until_ms]
        for id in over:
            del self._kept[id]
        return [Put(TABLE, PREFIX + id.encode(), None) for id in over]

    def _answer(self, id: int, result: TokenOutcome | None, *puts: Put) -> None:
        answer = Answer(id, result)
        self._effects.append(Commit(puts=puts, then=(answer,)) if puts else answer)


def _wrong(question: CreateToken) -> Declined | None:
    """What cannot be made."""
    joins = bool(question.pin)
    scoped = question.actions or question.sectors
    actions = [action.value for action in Action]
    texts = (*question.sectors, *question.hosts)
    if not (CERTIFIED if joins else NAME).fullmatch(question.name):
        at_most = (
            "47 letters, digits, dots, - and _, perhaps with a star at the end" if joins else "64 of A-Z a-z 0-9 ._@-"
        )
        detail = f"{question.name!r} is no name for a token: 1 to {at_most}"
    elif not {*question.roles} <= {*ROLES}:
        detail = f"the roles are {', '.join(ROLES)}"
    elif joins and (len(question.roles) != 1 or scoped):
        detail = "a token to join with has one role, and no scope"
    elif not {*question.actions} <= {*actions}:
        detail = f"the actions are {', '.join(actions)}"
    elif max(map(len, (question.actions, question.sectors, question.hosts))) > SCOPES_MAX:
        detail = f"a token has {SCOPES_MAX} actions, sectors and hosts at most"
    elif any(len(text.encode()) > TEXT_MAX for text in texts):
        detail = f"a sector or host has {TEXT_MAX} octets at most"
    elif question.hosts and question.roles != ("peer",):
        detail = "only to join as a peer has a token hosts"
    elif question.lifetime_s is not None and not 1 <= question.lifetime_s <= LIFETIME_MAX_S:
        detail = f"a token lives for 1 to {LIFETIME_MAX_S} seconds"
    else:
        return None
    return Declined("wrong", detail)


def _covers(pattern: str, name: str) -> bool:
    """Whether `name`, of which any octets may come, is one that `pattern` is for."""
    if not CERTIFIED.fullmatch(name) or name.endswith("*"):
        return False
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def _digest(secret: bytes) -> str:
    return sha256(secret).hexdigest()
