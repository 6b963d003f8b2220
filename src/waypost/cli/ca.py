"""Verbs of the private authority of a state directory; no node needs to run, and one that runs takes notice."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from waypost.cli.keys import (
    day,
    directory_option,
    keyring_of,
    operator_key,
    operator_option,
    read_file,
    wall_ms,
    write_new,
)
from waypost.cli.output import emit, fields, output_option, rows
from waypost.cli.reports import Authority, Certified, Revocation, Rotated, Trusted, Trusting
from waypost.errors import ConfigError, RemoteError, WireError
from waypost.identity import ROLES

if TYPE_CHECKING:
    from waypost.identity.anchors import Anchor, Revoked
    from waypost.identity.certificates import Certificate
    from waypost.identity.keys import PublicKey
    from waypost.storage.keyring import Keyring


@click.group(no_args_is_help=False)
def ca() -> None:
    """Certify, revoke, and say whom this node trusts."""


@ca.command()
@directory_option
@output_option
def show(directory: Path | None, output: str) -> None:
    """Show the authority, and which roots are trusted."""
    keyring, now = keyring_of(directory), wall_ms()
    believed = keyring.believed(now, expired=True)
    revoked = believed.all_revoked
    report = Authority(
        root=keyring.root.fingerprint,
        domain=keyring.root.domain,
        not_after_ms=keyring.root.not_after_ms,
        key_is_here=keyring.has_authority,
        issued=len(keyring.issued()),
        revoked=len(revoked.certificates) + len(revoked.keys) + len(revoked.tokens),
        version=believed.trust.version,
        expires_ms=believed.trust.expires_ms,
        trusted=tuple(map(_trusted, believed.trust.anchors)),
    )
    anchors = [{"root": a.domain, "known_as": a.known_as, "roles": " ".join(a.roles), "until": day(a.until_ms)}
               for a in report.trusted]  # fmt: skip
    head = {
        "root": report.root,
        "domain": report.domain,
        "ends": day(report.not_after_ms),
        "key is here": report.key_is_here,
        "issued": report.issued,
        "revoked": report.revoked,
        "trust version": report.version,
        "trust ends": day(report.expires_ms),
    }
    emit(report, output, fields(head) + "\n\n" + rows(anchors, ("root", "known_as", "roles", "until")))


@ca.command("list")
@directory_option
@output_option
def issued(directory: Path | None, output: str) -> None:
    """List what was certified and has not ended."""
    keyring, now = keyring_of(directory), wall_ms()
    revoked = keyring.believed(now, expired=True).all_revoked.certificates
    reports = [
        Certified(item.serial, item.role, item.name, item.not_after_ms, item.serial in revoked)
        for item in keyring.issued()
        if item.not_after_ms > now
    ]
    cells = [
        {"name": r.name, "role": r.role, "ends": day(r.not_after_ms), "revoked": r.revoked, "serial": r.serial}
        for r in reports
    ]
    emit(reports, output, rows(cells, ("name", "role", "ends", "revoked", "serial")))


@ca.command()
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), required=True, help="What it may do, as the policy says.")
@click.option("--days", type=click.IntRange(1, 36_500), default=365, show_default=True, help="How long it is valid.")
@click.option("--san", "hosts", multiple=True, metavar="HOST", help="A DNS name or an address that it serves under.")
@click.option("--request", type=click.Path(path_type=Path), help="Certify the key of this request (PKCS #10).")
@click.option("--out", type=click.Path(path_type=Path), default=".", help="Where to write the files.")
@directory_option
@output_option
def issue(
    name: str, role: str, days: int, hosts: tuple[str, ...], request: Path | None, out: Path, directory: Path | None,
    output: str,
) -> None:  # fmt: skip
    """Certify NAME: write NAME.pem (its key), NAME.crt and ca.crt.

    waypost ca issue lamp-3 --role device --out lamp-3
    """
    from waypost.identity import keys
    from waypost.identity.certificates import Subject

    keyring = keyring_of(directory)
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    key_file, certificate_file, root_file = out / f"{name}.pem", out / f"{name}.crt", out / "ca.crt"
    root = keyring.root.pem
    is_there = root_file.exists() and read_file(root_file) == root
    wanted = [certificate_file, *([] if request else [key_file]), *([] if is_there else [root_file])]
    for path in wanted:
        if path.exists():
            raise ConfigError(f"{path} is there already", hint="give another folder with --out")
    key = None if request else keys.make_p256()
    public: PublicKey = key.public_key() if key else _requested(request)
    try:
        made = keyring.issue(Subject(role, name, hosts, days), public, wall_ms())
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    written = {certificate_file: made.pem, root_file: root} | ({key_file: keys.write_private(key)} if key else {})
    write_new({path: written[path] for path in wanted})
    report = Certified(made.serial, role, name, made.not_after_ms, False, tuple(map(str, wanted)))
    table = {"name": name, "role": role, "ends": day(made.not_after_ms), "serial": made.serial}
    emit(report, output, fields(table | {"written": " ".join(report.files)}))


@ca.command()
@click.argument("what", metavar="NAME|SERIAL")
@click.option("--key", "by_key", is_flag=True, help="WHAT is the fingerprint of a key: refuse all its certificates.")
@directory_option
@output_option
def revoke(what: str, by_key: bool, directory: Path | None, output: str) -> None:
    """Refuse a certificate from now on, or all that were issued to NAME."""
    from waypost.storage import authority

    keyring = keyring_of(directory)
    now = wall_ms()
    revoked = _key(what) if by_key else _certificates(keyring, what, now)
    authority.revoke(keyring, revoked, now)
    report = Revocation(tuple(sorted(revoked.certificates)), tuple(sorted(revoked.keys)))
    emit(report, output, "\n".join(f"revoked {item}" for item in (*report.certificates, *report.keys)))


@ca.command()
@operator_option
@click.option("--overlap-days", type=click.IntRange(0, 3_650), default=90, show_default=True,
              help="How long the old root is still trusted.")  # fmt: skip
@directory_option
@output_option
def rotate(operator: Path, overlap_days: int, directory: Path | None, output: str) -> None:
    """Take a new root; what the old one certified stays good for the overlap."""
    from waypost.storage import authority

    keyring, now = keyring_of(directory), wall_ms()
    root = authority.rotate(keyring, operator_key(operator), now, overlap_days=overlap_days)
    report = Rotated(root.fingerprint, root.domain, root.not_after_ms, now + overlap_days * 86_400_000)
    table = {"root": root.fingerprint, "domain": root.domain, "ends": day(root.not_after_ms)}
    emit(report, output, fields(table | {"old root until": day(report.old_until_ms)}))


@ca.command()
@operator_option
@click.option("--days", type=click.IntRange(1, 36_500), required=True, help="From now.")
@directory_option
@output_option
def renew(operator: Path, days: int, directory: Path | None, output: str) -> None:
    """Sign the trust file anew, with what was revoked, for so many days."""
    from waypost.storage import authority

    trust = authority.renew_trust(keyring_of(directory), operator_key(operator), days, wall_ms())
    emit(
        Trusting(trust.version, trust.expires_ms), output,
        fields({"trust version": trust.version, "trust ends": day(trust.expires_ms)}),
    )  # fmt: skip


@ca.group(no_args_is_help=False)
def trust() -> None:
    """Trust another organisation's root, or no longer."""


@trust.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--as", "known_as", default="", metavar="NAME", help="Its people are known as …@NAME; else its domain.")
@click.option("--role", "roles", type=click.Choice(ROLES), multiple=True, default=("peer",), show_default=True,
              help="What it may make anybody here.")  # fmt: skip
@operator_option
@directory_option
@output_option
def add(file: Path, known_as: str, roles: tuple[str, ...], operator: Path, directory: Path | None, output: str) -> None:
    """Trust the root in FILE (PEM)."""
    from waypost.storage import authority

    anchor = authority.trust_root(
        keyring_of(directory), operator_key(operator), _root(file), wall_ms(), known_as=known_as,
        roles=tuple(sorted({*roles})),
    )  # fmt: skip
    report = _trusted(anchor)
    table = {"root": report.domain, "known as": report.known_as, "roles": " ".join(report.roles)}
    emit(report, output, fields(table | {"until": day(report.until_ms)}))


@trust.command()
@click.argument("known_as", metavar="NAME")
@operator_option
@directory_option
@output_option
def remove(known_as: str, operator: Path, directory: Path | None, output: str) -> None:
    """No longer trust what is known as NAME."""
    from waypost.storage import authority

    keyring, now = keyring_of(directory), wall_ms()
    authority.distrust_root(keyring, operator_key(operator), known_as, now)
    now_trusted = keyring.believed(now).trust
    emit(Trusting(now_trusted.version, now_trusted.expires_ms), output, f"{known_as} is no longer trusted")


def _trusted(anchor: "Anchor") -> Trusted:
    root = anchor.certificate
    return Trusted(root.fingerprint, root.domain, anchor.known_as, anchor.roles, anchor.until_ms)


def _requested(file: Path | None) -> "PublicKey":
    from waypost.identity.certificates import read_request

    assert file is not None
    try:
        return read_request(read_file(file)).public
    except WireError as error:
        raise ConfigError(f"{file}: {error}") from error


def _root(file: Path) -> "Certificate":
    from waypost.identity.certificates import read_certificate

    try:
        return read_certificate(read_file(file))
    except WireError as error:
        raise ConfigError(f"{file}: {error}") from error


def _key(what: str) -> "Revoked":
    from waypost.identity.anchors import FINGERPRINT, Revoked

    if not FINGERPRINT.fullmatch(what):
        raise click.UsageError("a key's fingerprint has 64 hexadecimal digits")
    return Revoked(keys=frozenset({what}))


def _certificates(keyring: "Keyring", what: str, now: int) -> "Revoked":
    """All that were issued to that name and have not ended, or the one of that serial, whoever issued it."""
    from waypost.identity.anchors import SERIAL, Revoked

    found = {item.serial for item in keyring.issued() if what in (item.name, item.serial) and item.not_after_ms > now}
    if not found and SERIAL.fullmatch(what) and len(what) > 16:  # of another authority, or of lost records
        found = {what}
    if not found:
        raise RemoteError(f"nothing was issued to {what!r} that has not ended", code=404)
    return Revoked(certificates=frozenset(found))
