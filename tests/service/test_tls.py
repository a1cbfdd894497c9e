"""HTTPS: own files, certificates that the service signs itself, and what is refused."""

from __future__ import annotations

import datetime
import hashlib
import shutil
import ssl
import stat
import sys

import httpx
import pytest
from serving_kit import OwnServer

from edge_cl import cli
from edge_cl.client import Client, Retries, ServiceUnreachable
from service import tls
from service.config import ConfigError, load_settings
from service.tls import certificate_files, fingerprint_of

x509 = pytest.importorskip("cryptography.x509", reason="cryptography is not installed")
needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="there is no openssl")
MAKERS = ["_by_cryptography", pytest.param("_by_openssl", marks=needs_openssl)]


def auto(tmp_path, **more):
    return load_settings(overrides={"data": tmp_path, "tls": "auto", **more})


@pytest.mark.parametrize("maker", MAKERS)
def test_a_certificate_for_every_name_of_the_machine(tmp_path, monkeypatch, maker):
    monkeypatch.setattr(tls, "_signed", getattr(tls, maker))
    certificate, key = certificate_files(auto(tmp_path, host="127.0.0.5"))
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    read = x509.load_pem_x509_certificate(certificate.read_bytes())
    named = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "localhost" in named.get_values_for_type(x509.DNSName)
    addresses = {str(one) for one in named.get_values_for_type(x509.IPAddress)}
    assert {"127.0.0.1", "::1", "127.0.0.5"} <= addresses
    left = read.not_valid_after_utc - datetime.datetime.now(datetime.timezone.utc)
    assert 820 < left.days <= 825
    expected = hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.read_text())).hexdigest()
    assert fingerprint_of(certificate).replace(":", "").lower() == expected


def test_a_certificate_is_kept_until_it_ends_or_its_names_change(tmp_path, monkeypatch):
    certificate, _ = certificate_files(auto(tmp_path))
    first = certificate.read_bytes()
    certificate_files(auto(tmp_path))
    assert certificate.read_bytes() == first
    certificate_files(auto(tmp_path, host="127.0.0.6"))
    second = certificate.read_bytes()
    assert second != first
    later = tls.time.time() + (tls.VALID_DAYS - tls.RENEWED_DAYS + 1) * 86_400
    monkeypatch.setattr(tls.time, "time", lambda: later)
    certificate_files(auto(tmp_path, host="127.0.0.6"))
    assert certificate.read_bytes() != second


def test_without_package_and_program_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    monkeypatch.setattr(tls.shutil, "which", lambda _: None)
    with pytest.raises(ConfigError, match=r"edge-cl\[tls\]"):
        certificate_files(auto(tmp_path))


def test_files_that_cannot_be_used(tmp_path):
    certificate, key = certificate_files(auto(tmp_path))
    other = certificate_files(auto(tmp_path / "other"))
    for overrides in (
        {"tls_cert": certificate},
        {"tls_key": key},
        {"tls_cert": certificate, "tls_key": tmp_path / "missing"},
        {"tls": "auto", "tls_cert": certificate, "tls_key": key},
        {"tls": "on"},
    ):
        with pytest.raises(ConfigError):
            load_settings(overrides=overrides)
    for pair in ((certificate, other[1]), (key, key)):
        settings = load_settings(overrides={"tls_cert": pair[0], "tls_key": pair[1]})
        with pytest.raises(ConfigError, match="no pair"):
            certificate_files(settings)


def test_a_service_over_https(tmp_path, capsys, monkeypatch):
    server = OwnServer(tmp_path / "data", extractor="none", tls="auto").start()
    try:
        assert server.url.startswith("https://127.0.0.1:")
        assert server.client.get("/livez").status_code == 200
        certificate = tmp_path / "data" / "tls" / "cert.pem"
        fast = Retries(patience_s=0)
        with Client(server.url, ca_file=certificate, retries=fast) as client:
            assert client.learners() == []
        with Client(server.url, retries=fast) as client, pytest.raises(ServiceUnreachable):
            client.learners()
        words = ["keys", "list", "--url", server.url]
        assert cli.run([*words, "--ca-file", str(certificate)]) == 0
        port = server.url.rpartition(":")[2]
        monkeypatch.setenv("EDGE_CL_TLS", "auto")
        monkeypatch.setenv("EDGE_CL_PORT", port)
        assert cli.run(["health"]) == 0
        assert cli.run(["health", "--url", server.url]) == 1
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(f"http://127.0.0.1:{port}/livez")
    finally:
        server.end()
