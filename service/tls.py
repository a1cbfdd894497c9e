"""HTTPS: the files of the settings, or a certificate that the service signs itself.

A browser lets a page use the camera over HTTPS only. A self-signed certificate gives that
in a network without a domain name: the user accepts it once, by its fingerprint.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import ipaddress
import re
import shutil
import socket
import ssl
import subprocess
import time
from pathlib import Path

from service.config import ConfigError, Settings
from service.snapshots import write_atomically

__all__ = ["certificate_files", "fingerprint_of"]

VALID_DAYS = 825
RENEWED_DAYS = 30
OPENSSL_TIMEOUT_S = 60.0


def certificate_files(settings: Settings) -> tuple[Path, Path] | None:
    """Certificate and key to serve with; None for plain HTTP.

    Raises
    ------
    ConfigError
        When the files are no pair, or when none can be made here.
    """
    if settings.tls == "auto":
        files = _own_files(settings.folder / "tls", _names(settings.host))
    elif settings.tls_cert is not None and settings.tls_key is not None:
        files = settings.tls_cert, settings.tls_key
    else:
        return None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*files, password=_no_password)
    except (OSError, ValueError) as error:
        raise ConfigError(f"TLS files {files[0]} and {files[1]} are no pair: {error}") from error
    return files


def fingerprint_of(certificate: Path) -> str:
    """SHA-256 of the first certificate in a file, as browsers show it."""
    encoded = ssl.PEM_cert_to_DER_cert(_block(certificate.read_text(), "CERTIFICATE"))
    return hashlib.sha256(encoded).digest().hex(":").upper()


def _no_password() -> str:
    raise ValueError("the key is protected by a password: store it without one")


def _block(pem: str, kind: str) -> str:
    """The first block of this kind in a PEM text."""
    found = re.search(f"-----BEGIN {kind}-----.+?-----END {kind}-----\n?", pem, re.DOTALL)
    if found is None:
        raise ConfigError(f"there is no {kind} in the PEM text")
    return found[0]


def _own_files(folder: Path, names: list[str]) -> tuple[Path, Path]:
    """The service's own certificate; made anew when it ends soon or the names have changed."""
    certificate, key, named = folder / "cert.pem", folder / "key.pem", folder / "names"
    text = "\n".join(names)
    try:
        fresh = time.time() - certificate.stat().st_mtime < (VALID_DAYS - RENEWED_DAYS) * 86_400
        if fresh and key.is_file() and named.read_text(encoding="utf-8") == text:
            return certificate, key
    except OSError:
        pass
    folder.mkdir(parents=True, exist_ok=True)
    certificate_pem, key_pem = _signed(names)
    write_atomically(key, key_pem, mode=0o600)
    write_atomically(certificate, certificate_pem)
    write_atomically(named, text.encode())
    return certificate, key


def _names(host: str) -> list[str]:
    """Every name under which the service may be asked for."""
    own = socket.gethostname()
    found = ["localhost", "127.0.0.1", "::1", own, f"{own.partition('.')[0]}.local"]
    if host not in ("0.0.0.0", "::"):
        found.append(host)
    for family, far in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with (
            contextlib.suppress(OSError),
            socket.socket(family, socket.SOCK_DGRAM) as probe,
        ):
            # Sends nothing: it only asks which of the own addresses would be used.
            probe.connect((far, 9))
            found.append(str(probe.getsockname()[0]))
    return list(dict.fromkeys(name for name in found if name))


def _signed(names: list[str]) -> tuple[bytes, bytes]:
    """A certificate for `names` and its key, both PEM."""
    try:
        import cryptography  # noqa: F401
    except ImportError:
        return _by_openssl(names)
    return _by_cryptography(names)


def _by_cryptography(names: list[str]) -> tuple[bytes, bytes]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "edge_cl")])
    now = datetime.datetime.now(datetime.timezone.utc)
    alternatives = [
        x509.IPAddress(ipaddress.ip_address(name)) if _is_address(name) else x509.DNSName(name)
        for name in names
    ]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # A device without a clock of its own may be behind.
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def _by_openssl(names: list[str]) -> tuple[bytes, bytes]:
    program = shutil.which("openssl")
    if program is None:
        raise ConfigError(
            "tls=auto cannot make a certificate here: install the package ('pip install "
            "edge-cl[tls]') or the program openssl, or give tls_cert and tls_key"
        )
    alternatives = ",".join(f"{'IP' if _is_address(name) else 'DNS'}:{name}" for name in names)
    words = [
        program, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
        "-nodes", "-sha256", "-days", str(VALID_DAYS), "-subj", "/CN=edge_cl",
        "-addext", f"subjectAltName={alternatives}",
        "-addext", "basicConstraints=critical,CA:FALSE",
        "-addext", "extendedKeyUsage=serverAuth", "-keyout", "-", "-out", "-",
    ]  # fmt: skip
    try:
        ran = subprocess.run(
            words,
            check=True,
            capture_output=True,
            timeout=OPENSSL_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
        )
    except (subprocess.SubprocessError, OSError) as error:
        reason = getattr(error, "stderr", None) or str(error).encode()
        shown = reason.decode(errors="replace").strip()[-300:]
        raise ConfigError(f"tls=auto: openssl made no certificate: {shown}") from error
    pem = ran.stdout.decode("ascii")
    return _block(pem, "CERTIFICATE").encode(), _block(pem, "(?:EC )?PRIVATE KEY").encode()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
