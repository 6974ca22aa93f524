"""A host that takes certificates of the user's key: set up by a plain key, reached without any after that."""

from __future__ import annotations

from pathlib import Path

from lab_support import MakeLab, over_ssh
from support import Ampzero


def test_set_up_by_a_key_and_reached_by_certificates(
    make_lab: MakeLab, ampzero: Ampzero, tmp_path: Path
) -> None:
    lab = make_lab(1)
    host = lab.hosts[0]
    assert ampzero("init", "app", "--yes", "--dir", tmp_path, "--set", f"root={tmp_path}/var").code == 0
    app = tmp_path / "app"

    def configure(ssh: str) -> None:
        (app / "deployment.yaml").write_text(
            f"environments:\n  lab:\n    hosts: [{{name: {host.name}, address: root@{host.address}}}]\n"
            f"    ssh: {{known_hosts: {lab.login.known_hosts}, {ssh}}}\n"
        )

    configure(f"key: {lab.login.key}")
    # A host whose sshd reads no drop-ins is told so, and left as it was.
    refused = ampzero("deploy", app, "--setup", "--ssh-ca")
    assert refused.code == 1 and "TrustedUserCAKeys is none" in refused.err, refused.err
    include = "sed -i '1iInclude /etc/ssh/sshd_config.d/*.conf' /etc/ssh/sshd_config"
    assert over_ssh(lab, host, include).returncode == 0
    done = ampzero("deploy", app, "--setup", "--ssh-ca")
    assert done.code == 0 and "sshd lets in whom ampzero:app:lab certifies" in done.out, done.err
    assert over_ssh(lab, host, ": > ~/.ssh/authorized_keys").returncode == 0
    assert over_ssh(lab, host, "true").returncode == 255
    assert ampzero("hosts", app).code != 0
    configure("certificate: true")
    reached = ampzero("hosts", app)
    assert reached.code == 0, reached.err
    # With a new key the host has to be set up again: the old one, which let us in, is gone.
    assert ampzero("keys", "rotate", app, "user").code == 0
    assert ampzero("hosts", app).code != 0
