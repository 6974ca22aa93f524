"""Whether the secret key files of an instance are the ones that its chains of operations name."""

from __future__ import annotations

from pathlib import Path

from keys import keyfile
from keys.errors import TrustError
from keys.history import History
from keys.identities import HUB_FILE, PREVIOUS, SECRETS
from keys.lifecycle.report import Report
from keys.publickey import PublicKey


def look(folder: Path, ids: dict[str, str], chains: dict[str, History], report: Report) -> None:
    """Look at each secret key file of `ids` (by "user" and "host") in `folder`."""
    for kind, found in chains.items():
        for part in SECRETS:
            path = folder / f"{ids[kind]}.{part}.key"
            state = found.state
            wanted = [state.signing] if part == "private" else list(state.control)
            with report.about(path.name):
                _secret(path, [key for key in wanted if key], report)


def trusted_before(folder: Path, known: list[Path], report: Report) -> None:
    """Whether this user has seen the hub before: `known` are root notes that he keeps elsewhere."""
    note = (folder / HUB_FILE).read_bytes() if (folder / HUB_FILE).is_file() else b""
    for path in known:
        if path.is_file() and note and path.read_bytes() == note:
            report.ok(f"hub        it is the one of {path}")
            return
    report.open(
        "hub        not checked: whether this is the hub you mean; compare its root key with who runs it"
    )


def _secret(path: Path, wanted: list[PublicKey], report: Report) -> None:
    files = [file for file in (path, path.with_name(path.name + PREVIOUS)) if file.exists()]
    if not files:
        report.open(f"{path.name} is not here")
        return
    for file in files:
        raw = keyfile.read(file)
        header = keyfile.header(raw, str(file))
        if header.public not in wanted:
            continue
        if header.encrypted:
            report.ok(f"{file.name}: {header.public.fingerprint}, mode 0600, encrypted")
            report.open(f"{file.name} not checked: that its passphrase opens it")
        else:
            keyfile.decode(raw, "", str(file))
            report.ok(f"{file.name}: {header.public.fingerprint}, mode 0600, no passphrase")
        return
    raise TrustError(f"{path} is not a key of {path.name.split('.')[0]}")
