"""What verbs report that the HTTP API does not have: their output in JSON.

`schemas.py` has the whole, verb by verb.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from waypost.api.logged import NewStatement
from waypost.api.schemas import Imported
from waypost.record import Committed

Address = Annotated[str, Meta(description="Address and port; of local, a path.", examples=["127.0.0.1:5683"])]


class Error(Struct, frozen=True):
    """Written to standard error by every verb that fails; `exit_code` is the command's."""

    error: str
    hint: str | None
    exit_code: int


class Ready(Struct, frozen=True):
    """Written once every listener is up; `node` is the node's name."""

    ready: Literal[True]
    node: str
    listeners: dict[str, Address]


class Prepared(Struct, frozen=True):
    """`key` names the node's key, `root` is the fingerprint of the authority's certificate.

    `operator_key`, PEM, is there only where it was made: the first time.
    """

    dir: str
    key: str
    root: str
    domain: str
    operator_key: str | None


class Trusted(Struct, frozen=True):
    """A root; those that it certifies are known as NAME@known_as, or by their bare names if that is empty."""

    fingerprint: str
    domain: str
    known_as: str
    roles: tuple[str, ...]
    until_ms: int


class Authority(Struct, frozen=True):
    """`root` is the fingerprint of our root's certificate, `version` that of the trust file."""

    root: str
    domain: str
    not_after_ms: int
    key_is_here: bool
    issued: int
    revoked: int
    version: int
    expires_ms: int
    trusted: tuple[Trusted, ...]


class Certified(Struct, frozen=True):
    """`files` are those that were written."""

    serial: str
    role: str
    name: str
    not_after_ms: int
    revoked: bool
    files: tuple[str, ...] = ()


class Revocation(Struct, frozen=True):
    """Serials, and fingerprints of keys, that are refused from now on."""

    certificates: tuple[str, ...]
    keys: tuple[str, ...]


class Rotated(Struct, frozen=True):
    """The new root; the old one is trusted until `old_until_ms`."""

    root: str
    domain: str
    not_after_ms: int
    old_until_ms: int


class Trusting(Struct, frozen=True):
    """The trust file that was signed."""

    version: int
    expires_ms: int


class Finding(Struct, frozen=True):
    """What the doctor found of one thing; `sentence` says what, `hint` what can be done."""

    name: str
    state: Literal["ok", "warn", "fail", "skipped"]
    sentence: str
    hint: str | None


class Bundled(Struct, frozen=True):
    """A report about a node, in a file; `sections` are what is in it."""

    file: str
    sections: tuple[str, ...]


class Unregistered(Struct, frozen=True):
    id: str
    removed: Literal[True] = True


class Evicted(Struct, frozen=True):
    """The name is kept out for `for_s` seconds, or not at all."""

    id: str
    for_s: int | None
    evicted: Literal[True] = True


class Readmitted(Struct, frozen=True):
    """The name may come back; `id` is the eviction's."""

    id: str
    ep: str
    readmitted: Literal[True] = True


class TokenRevoked(Struct, frozen=True):
    id: str
    revoked: Literal[True] = True


class Joined(Struct, frozen=True):
    """Keys were written into `folder`; `domain` is that of the authority's root."""

    name: str
    role: str
    folder: str
    domain: str


class Written(Struct, frozen=True):
    """What an export wrote into a file."""

    exported: int
    file: str


class Taken(Imported, frozen=True):
    """What became of an import; lines are those of the files, and `errors` has the first 1,000 of `refused`."""

    refused: int
    dry_run: bool


class BackedUp(Struct, frozen=True):
    """A backup was written; `schema` is the database's version, `network` the mesh's id, `seq` the last change."""

    file: str
    size: int
    made_ms: int
    schema: int
    network: str | None
    seq: int
    keys: bool


class CheckedBackup(Struct, frozen=True):
    """What a backup says of itself, the rows of each table, and what is wrong, 100 sentences at most."""

    file: str
    ok: bool
    waypost: str
    made_ms: int
    schema: int
    network: str | None
    feed: str | None
    seq: int
    keys: bool
    rows: dict[str, int]
    problems: tuple[str, ...]


class Restored(Struct, frozen=True):
    """A state directory was made; `feed` is the id of its change feed, `before` where the one is that was replaced."""

    dir: str
    made_ms: int
    seq: int
    feed: str
    keys: bool
    before: str | None


class Set(Struct, frozen=True):
    """A key's value, and what set it: "default", a file's path, a name in the environment or a flag."""

    key: str
    value: str | int | tuple[str, ...]
    source: str


class Checked(Struct, frozen=True):
    """A node would accept the configuration; `dir` is its state directory."""

    dir: str
    ok: Literal[True] = True


class Rule(Struct, frozen=True):
    """A rule of a policy: "allow" or "deny", its number among those, and the line at which it begins."""

    kind: str
    number: int
    line: int | None
    who: tuple[str, ...]
    do: tuple[str, ...]
    rooms: tuple[str, ...]
    sector: tuple[str, ...]
    name: tuple[str, ...]
    owner: str


class CheckedPolicy(Struct, frozen=True):
    """A node would take the policy."""

    file: str
    rules: int
    ok: Literal[True] = True


class Asked(Struct, frozen=True):
    """Who would do what, and about what; a star at an end is any ending."""

    who: str
    roles: tuple[str, ...]
    do: str
    room: str
    sector: str
    name: str
    owner: str | None
    source: str | None


class Decided(Struct, frozen=True):
    """What the policy says, and the rules that say so; `in_part`: only what is shown to who asks."""

    allowed: bool
    in_part: bool
    reason: str | None
    file: str
    asked: Asked
    rules: tuple[Rule, ...]


class Proven(Struct, frozen=True):
    """A proof was written into a file: of the entry `index` of a log of `size` entries."""

    file: str
    origin: str
    index: int
    size: int
    cosigners: tuple[str, ...]


class Verified(Struct, frozen=True):
    """A proof that holds: `log` is the vkey that has signed, `cosigned` the policy's witnesses, and when, POSIX time.

    `kind` is the entry's, null for one that is not ours; of a commit and of a statement the author's signature holds,
    too.
    """

    file: str
    origin: str
    log: str
    index: int
    size: int
    kind: str | None
    cosigned: dict[str, int]
    committed: Committed | None
    statement: NewStatement | None


class Convicted(Struct, frozen=True):
    """Evidence that holds: `accused` is a vkey, or of a double statement the key of its signer.

    Heads of the log `origin` that are smaller than `conflict` are not in dispute.
    """

    file: str
    fault: str
    accused: str
    origin: str
    conflict: int
    digest: str


class EvidenceFile(Struct, frozen=True):
    """A proof that somebody lied, by its SHA-256; `text` is the file, null in a list."""

    digest: str
    text: str | None


class WrittenPolicy(Struct, frozen=True):
    """A tlog-policy: of `witnesses` that count for a log a `quorum` must cosign, 0: none is asked for.

    `faulty` of them may lie, and `down` be down, whichever they be.
    """

    logs: tuple[str, ...]
    witnesses: int
    quorum: int
    faulty: int
    down: int
    text: str


class CheckedLog(Struct, frozen=True):
    """What was found of a log of `size` entries, so many `entries` and `tiles` of which were read.

    `faults` are sentences, of which `more` are not here.
    """

    origin: str
    ok: bool
    size: int
    entries: int
    tiles: int
    faults: tuple[str, ...]
    more: int


class FoundLog(CheckedLog, frozen=True):
    """In a state directory: the node's own, or its copy of another's."""

    own: bool


class Stated(Struct, frozen=True):
    """A statement is entry `index` of a log of `size` entries; the signer's next one has its hash as `prev`."""

    index: int
    size: int
    hash: str
    prev: str
    signer: str


class Stood(Struct, frozen=True):
    """A version of a record, entry `index` of the log since `logged_ms`."""

    version: int
    value: str | None
    holder: str
    index: int | None
    logged_ms: int | None


class Difference(Struct, frozen=True):
    """What became of a key; `before` null: it was not there."""

    namespace: str
    key: str
    before: Stood | None
    after: Stood


class Described(Struct, frozen=True):
    """A key; `value` says in words what may stand there, `default` is as in TOML."""

    key: str
    environment: str
    flag: str
    value: str
    default: str
    description: str


class Script(Struct, frozen=True):
    """`where` says where to put the script."""

    shell: str
    where: str
    script: str
