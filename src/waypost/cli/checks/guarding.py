"""What guards a node: keys, certificates, secrets, the policy, and who may read their files.

Times are integer milliseconds since 1970.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from waypost.cli.checks import fail, fine, skip, warn
from waypost.cli.keys import day
from waypost.cli.reports import Finding
from waypost.config.settling import FILE_NAME
from waypost.errors import ConfigError

if TYPE_CHECKING:
    from waypost.identity.certificates import Certificate
    from waypost.storage.keyring import Keyring

SOON_DAYS: Final = 30
DAY_MS: Final = 86_400_000
KEYS: Final = "keys*"  # also those that were there before the node joined another's
OURS: Final = "waypost.*"  # database, log, lock, socket, backups
WRITTEN: Final = (FILE_NAME, "policy.toml")  # no secrets; but who writes them decides


def check_permissions(directory: Path) -> list[Finding]:
    """0700 and 0600, all of it one user's.  Each that is not so is named."""
    if not directory.is_dir():
        return [skip("permissions", f"{directory} is not there yet: the first start makes it")]
    wrong = list(_wrong(directory))
    return wrong or [fine("permissions", f"{directory} and its keys are for their owner alone")]


def _wrong(directory: Path) -> Iterator[Finding]:
    owner = directory.stat().st_uid
    if os.geteuid() not in (0, owner):
        sentence = f"{directory} belongs to user {owner}, and this is user {os.geteuid()}"
        yield fail("permissions", sentence, "run the node, and the doctor, as its owner")
    yield from _look(directory, owner, 0o022, "go-w")
    folders = [folder for folder in directory.glob(KEYS) if folder.is_dir()]
    for folder in sorted(folders):
        yield from _look(folder, owner, 0o077, "700")
    private = [*directory.glob(OURS), *(path for folder in folders for path in folder.iterdir())]
    for path in sorted(private):
        yield from _look(path, owner, 0o077, "600")
    for name in WRITTEN:
        if (directory / name).exists():
            yield from _look(directory / name, owner, 0o022, "go-w")


def _look(path: Path, owner: int, forbidden: int, mode: str) -> Iterator[Finding]:
    try:
        found = path.stat()
    except FileNotFoundError:  # a running node has just removed it
        return
    if found.st_uid != owner:
        yield fail("permissions", f"{path} belongs to user {found.st_uid}, not {owner}", f"chown {owner} {path}")
    elif found.st_mode & forbidden:
        others = "write" if forbidden == 0o022 else "read or write"
        sentence = f"{path}: others may {others} it (mode {stat.S_IMODE(found.st_mode):o})"
        yield fail("permissions", sentence, f"chmod {mode} {path}")


def check_certificates(directory: Path, wall_ms: int) -> list[Finding]:
    """The node's own, its root, the roots that are trusted, and the file that says so: each until when."""
    keyring = _keyring(directory)
    if keyring is None:
        return [skip("certificates", "there are no keys yet: the first start makes them")]
    return [
        *_certificate("the node's certificate", keyring, "tls.crt", wall_ms),
        *_certificate("the authority's root", keyring, "ca.crt", wall_ms),
        *_trust(keyring, wall_ms),
    ]


def _certificate(what: str, keyring: "Keyring", name: str, wall_ms: int) -> Iterator[Finding]:
    from waypost.identity.certificates import read_certificate

    path = keyring.folder / name
    if not keyring.has(name):
        yield skip("certificates", f"{path} is not there yet")
        return
    found: Certificate = keyring.read(name, read_certificate)
    if found.is_authority:
        hint = "waypost ca rotate"
    elif keyring.has_authority:
        hint = "the node renews it: start it again"
    else:
        hint = "bring keys/ca.pem back and start the node again, or let it join again: waypost join"
    if wall_ms < found.not_before_ms:
        sentence = f"{what} is not valid before {day(found.not_before_ms)}"
        yield fail("certificates", sentence, "is the clock right?")
    else:
        yield _until(what, found.not_after_ms, wall_ms, hint)


def _trust(keyring: "Keyring", wall_ms: int) -> Iterator[Finding]:
    from waypost.identity.anchors import read_trust

    trust = keyring.read("trust.json", lambda data: read_trust(data, keyring.operator))
    hint = "waypost ca renew --operator-key FILE"
    yield _until(f"the trust file, version {trust.version},", trust.expires_ms, wall_ms, hint)
    for anchor in trust.anchors:
        if anchor.is_ours and anchor.certificate.fingerprint == keyring.root.fingerprint:
            continue  # the root, which was looked at already
        name = anchor.known_as or f"our older root {anchor.certificate.domain}"
        if anchor.is_ours:  # it is meant to end: another has taken over
            yield fine("certificates", f"{name} is trusted until {day(anchor.until_ms)}")
        else:
            hint = f"get their new root: waypost ca trust add FILE --as {name}"
            ends = _until(f"the trust in {name}", anchor.until_ms, wall_ms, hint)
            yield ends if ends.state != "fail" else warn("certificates", ends.sentence, hint)


def _until(what: str, end_ms: int, wall_ms: int, hint: str) -> Finding:
    left_days = (end_ms - wall_ms) // DAY_MS
    if end_ms <= wall_ms:
        return fail("certificates", f"{what} has expired on {day(end_ms)}", hint)
    if left_days < SOON_DAYS:
        return warn("certificates", f"{what} ends on {day(end_ms)}, in {left_days} days", hint)
    return fine("certificates", f"{what} is good until {day(end_ms)}")


def check_secrets(directory: Path) -> list[Finding]:
    """Whether secrets.toml is understood, and none of its secrets is weak or from a manual."""
    keyring = _keyring(directory)
    if keyring is None or not keyring.has("secrets.toml"):
        return [skip("secrets", "there is no keys/secrets.toml: no pre-shared keys and no OSCORE contexts")]
    keys, contexts = len(keyring.shared.psks), len(keyring.shared.contexts)
    return [fine("secrets", f"{keys} pre-shared keys and {contexts} OSCORE contexts")]


def _keyring(directory: Path) -> "Keyring | None":
    """None before the first start.  Its permissions are looked at elsewhere."""
    from waypost.storage.keyring import FOLDER, Keyring

    if not (directory / FOLDER / "operator.pub").exists():
        return None
    return Keyring(directory, (), os.fsync)


def check_policy(directory: Path) -> list[Finding]:
    """Whether it is understood, and lets nobody do what only operators should."""
    from waypost.identity import ANONYMOUS
    from waypost.identity.policy import Action, Target
    from waypost.storage.policy import NAME, read_policy

    path = directory / NAME
    if not path.exists():
        return [skip("policy", f"there is no {NAME} yet: the first start writes the default")]
    try:
        policy = read_policy(path)
    except ConfigError as error:
        return [fail("policy", str(error), error.hint)]
    guarded = (Action.ADMINISTER, Action.EVICT, Action.EXPORT, Action.IMPORT, Action.PEER)
    targets = (Target("node"), Target("rd"))
    open_to_all = [
        action.value for action in guarded if any(policy.decide(ANONYMOUS, action, at).allowed for at in targets)
    ]
    if open_to_all:
        sentence = f"whoever can reach a listener may {', '.join(open_to_all)}, without saying who they are"
        return [warn("policy", sentence, f'let "operator" and "role:admin" do it, in {path}')]
    return [fine("policy", "strangers may do nothing that is an operator's to do")]
