"""The fabric's own certificate authority and the certificate its broker shows; the supervisor keeps both in `tls`."""

from __future__ import annotations

import hashlib
import ipaddress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from loominal.broker.secret_file import create_secret, read_secret, replace_secret
from loominal.model.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate, CertificateBuilder, GeneralName

CA_DAYS = 3650
SERVER_DAYS = 397  # the longest that common TLS libraries accept
RENEW_DAYS = 90  # before its end a certificate is made anew
EARLY = timedelta(days=1)  # valid before it is made: another machine's clock may be behind
NEVER_MIND = "remove the directory; what joined this fabric has to join again then"


class Certificates(msgspec.Struct, frozen=True, kw_only=True):
    """The files: whom to trust, and what the broker shows (with its key in the same file, so that both fit)."""

    ca: Path
    server: Path


def ensure_certificates(directory: Path, hosts: Sequence[str], now: datetime) -> Certificates:
    """Return a certificate for all of `hosts` (addresses and names), made anew if it lacks one or is near its end.

    All files have mode 0600. The authority is made once, and signs nothing but this. Raises: InvalidArgument.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = certificates(directory)
    authority = directory / "ca.key"
    if not found.ca.exists():
        create_secret(authority, _key_text(_new_key()))
        replace_secret(found.ca, _text(_authority(_read_key(authority), now)))
    if not is_fit(found, hosts, now):
        key = _new_key()
        server = _server(key, _read_key(authority), _read(found.ca), hosts, now)
        replace_secret(found.server, _text(server) + _key_text(key))
    return found


def certificates(directory: Path) -> Certificates:
    """Return where the files are, or would be."""
    return Certificates(ca=directory / "ca.pem", server=directory / "server.pem")


def is_fit(found: Certificates, hosts: Sequence[str], now: datetime) -> bool:
    """Return whether the broker's certificate holds all of `hosts` and for long enough; a damaged one does not."""
    from cryptography import x509

    try:
        shown = _read(found.server)
    except InvalidArgument:
        return False
    names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    known = {*map(str, names.get_values_for_type(x509.IPAddress)), *names.get_values_for_type(x509.DNSName)}
    return set(hosts) <= known and now < shown.not_valid_after_utc - timedelta(days=RENEW_DAYS)


def fingerprint(ca_text: str) -> str:
    """Return the SHA-256 of a certificate in PEM, in pairs of hex digits. Raises: InvalidArgument."""
    from cryptography.hazmat.primitives.serialization import Encoding

    digest = hashlib.sha256(_parsed(ca_text, "the certificate").public_bytes(Encoding.DER)).hexdigest()
    return ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))


def _authority(key: EllipticCurvePrivateKey, now: datetime) -> Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    name = _name("Loominal fabric")
    uses = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    draft = _draft(now, CA_DAYS).subject_name(name).issuer_name(name).public_key(key.public_key())
    draft = draft.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    draft = draft.add_extension(uses, critical=True)
    draft = draft.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return draft.sign(key, hashes.SHA256())


def _server(
    key: EllipticCurvePrivateKey,
    ca_key: EllipticCurvePrivateKey,
    ca: Certificate,
    hosts: Sequence[str],
    now: datetime,
) -> Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID

    draft = _draft(now, SERVER_DAYS).subject_name(_name("Loominal broker")).issuer_name(ca.subject)
    draft = draft.public_key(key.public_key())
    draft = draft.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    draft = draft.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    draft = draft.add_extension(x509.SubjectAlternativeName([_general(host) for host in hosts]), critical=False)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    return draft.add_extension(issuer, critical=False).sign(ca_key, hashes.SHA256())


def _draft(now: datetime, days: int) -> CertificateBuilder:
    from cryptography import x509

    builder = x509.CertificateBuilder().serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - EARLY).not_valid_after(now + timedelta(days=days) - EARLY)


def _name(text: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general(host: str) -> GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _new_key() -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _key_text(key: EllipticCurvePrivateKey) -> str:
    from cryptography.hazmat.primitives import serialization

    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _read_key(path: Path) -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        key = serialization.load_pem_private_key((read_secret(path) or "").encode(), None)
    except (ValueError, TypeError) as error:
        raise InvalidArgument(f"{path} is no key: {error}", NEVER_MIND) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise InvalidArgument(f"{path} is no key of an elliptic curve", NEVER_MIND)
    return key


def _text(certificate: Certificate) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM).decode()


def _read(path: Path) -> Certificate:
    return _parsed(read_secret(path) or "", str(path))


def _parsed(text: str, what: str) -> Certificate:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(text.encode())
    except ValueError as error:
        raise InvalidArgument(f"{what} cannot be read: {error}", NEVER_MIND) from error
