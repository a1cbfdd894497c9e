"""``edge-cl health``: for probes, so it loads next to nothing."""

from __future__ import annotations

import json
import os
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

import click


@click.command()
@click.option("--url", help="Where the service listens.  [EDGE_CL_URL or 127.0.0.1:8080]")
@click.option("--timeout", "timeout_s", default=3.0, show_default=True, help="Seconds to wait.")
@click.option("--live", is_flag=True, help="Ask only whether the process answers at all.")
@click.option("--json", "as_json", is_flag=True, help="Write the answer as JSON.")
def health(url: str | None, timeout_s: float, live: bool, as_json: bool) -> int:
    """Ask a service whether it is ready: exit code 0 if so, 1 if not."""
    asked = url or os.environ.get("EDGE_CL_URL")
    address = asked or _own_address()
    path = "/livez" if live else "/readyz"
    try:
        status, body = _get(address, path, timeout_s, trusted=asked is None)
    except (OSError, HTTPException, ValueError) as error:
        status, body = 0, str(error) or type(error).__name__
    ready = status == 200
    if as_json:
        click.echo(json.dumps({"ready": ready, "status": status, "url": address + path}))
    elif ready:
        click.echo("ready")
    else:
        reason = f"HTTP {status}: {body[:300]}" if status else body
        click.echo(f"not ready: {address}{path}: {reason}", err=True)
    return 0 if ready else 1


def is_ready(url: str, timeout_s: float = 3.0) -> bool:
    """Whether the service at `url` says that it is ready."""
    try:
        return _get(url, "/readyz", timeout_s)[0] == 200
    except (OSError, HTTPException):
        return False


def _own_address() -> str:
    """Where a service with the settings of this environment listens."""
    host = os.environ.get("EDGE_CL_HOST") or "127.0.0.1"
    if host in ("0.0.0.0", "::"):
        host = "127.0.0.1"
    if ":" in host:
        host = f"[{host}]"
    secure = os.environ.get("EDGE_CL_TLS") == "auto" or os.environ.get("EDGE_CL_TLS_CERT")
    scheme = "https" if secure else "http"
    return f"{scheme}://{host}:{os.environ.get('EDGE_CL_PORT') or 8080}"


def _get(address: str, path: str, timeout_s: float, trusted: bool = False) -> tuple[int, str]:
    """Status and body of one GET; `trusted` asks for no proof of who answers."""
    parts = urlsplit(address if "://" in address else f"http://{address}")
    connection: HTTPConnection
    if parts.scheme == "https":
        import ssl

        context = ssl.create_default_context(cafile=os.environ.get("EDGE_CL_CA_FILE") or None)
        if trusted:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        connection = HTTPSConnection(parts.netloc, timeout=timeout_s, context=context)
    else:
        connection = HTTPConnection(parts.netloc, timeout=timeout_s)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace").strip()
    finally:
        connection.close()
