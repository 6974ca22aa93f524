"""What is written for other keepers: quoting, sandboxes, what is said to be lost."""

from __future__ import annotations

import shlex
import socket
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.boot import crontab
from lib.config import Config
from lib.exporters import procfile, quoting, supervisor, systemd
from lib.exporters.base import Target
from lib.instance import Instance
from lib.supervisor import upward
from lib.supervisor.spec import Plan, Probe, ProcessSpec, Restart, ServiceSpec, Stop

PRINTABLE = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)


def target(*services: ServiceSpec, user: bool = False, folder: str = "/srv/app") -> Target:
    root = Path("/srv/var")
    instance = Instance("demo", root, "demo", Path(folder), Path(folder) / "amprun.yaml", Config())
    plan = Plan(
        name="demo", directory=folder, var="/srv/var/demo", sockets="/srv/var/demo/run", services=services
    )
    return Target(
        instance, plan, Path("/out"), ("/usr/bin/python3", "/opt/ampzero.py"), "/usr/bin:/bin", user, "app"
    )


def service(name: str, *argv: str, ready: Probe | None = None, **more: Any) -> ServiceSpec:
    process = ProcessSpec(service=name, number=1, argv=argv or ("/bin/cat",), cwd="/srv/app", ready=ready,
                          env={"SECRET": "x"})  # fmt: skip
    return ServiceSpec(name=name, kind="command", processes=(process,), **more)


def test_units_say_what_the_services_are() -> None:
    web = service("web", "/bin/web", ready=Probe(kind="notify", deadline=7))
    job = service("job", restart=Restart(policy="never"))
    restart = Restart(policy="on-failure", initial=2, max=2, give_up_times=4, give_up_within=9)
    wanted = {"web": "ready", "job": "completed_successfully"}
    last = service("last", depends_on=wanted, restart=restart)
    exported = systemd.export(target(web, job, last))
    unit = exported.files["ampzero-demo-web-1.service"][0]
    assert "Type=notify\n" in unit
    assert "TimeoutStartSec=7\n" in unit
    assert "User=app\n" in unit
    for line in ("NoNewPrivileges=yes", "PrivateTmp=yes", "ProtectSystem=strict", "ProtectHome=yes",
                 "ReadWritePaths=/srv/var/demo /srv/var/demo/run /srv/app"):  # fmt: skip
        assert f"{line}\n" in unit
    assert "Type=oneshot\nRemainAfterExit=yes\n" in exported.files["ampzero-demo-job-1.service"][0]
    unit = exported.files["ampzero-demo-last-1.service"][0]
    for line in ("Wants=ampzero-demo-web-1.service", "Requires=ampzero-demo-job-1.service",
                 "After=ampzero-demo-web-1.service ampzero-demo-job-1.service", "Type=exec",
                 "Restart=on-failure", "RestartSec=2", "StartLimitBurst=4",
                 "StartLimitIntervalSec=9"):  # fmt: skip
        assert f"{line}\n" in unit
    assert exported.files["ampzero-demo-web-1.env"][1] == 0o600
    whole = exported.files["ampzero-demo.service"][0]
    assert "Type=notify\n" in whole
    assert "ExecStart=/usr/bin/python3 /opt/ampzero.py run --no-daemon /srv/app\n" in whole


def test_a_users_units_need_no_root() -> None:
    exported = systemd.export(target(service("web"), user=True))
    unit = exported.files["ampzero-demo-web-1.service"][0]
    for key in ("User=", "Protect", "PrivateTmp", "ReadWritePaths"):
        assert key not in unit
    assert "NoNewPrivileges=yes" in unit
    assert "WantedBy=default.target" in exported.files["ampzero-demo.service"][0]


def test_homes_stay_readable_where_the_program_lies_in_one() -> None:
    unit = systemd.export(target(service("web"), folder="/home/me/app")).files["ampzero-demo-web-1.service"][
        0
    ]
    assert "ProtectHome=read-only\n" in unit


def test_a_python_that_is_a_link_into_a_home_can_be_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/python").touch()
    (tmp_path / "python").symlink_to("home/python")
    monkeypatch.setattr(systemd, "HOMES", (f"{tmp_path}/home",))
    exported = systemd.export(target(service("web", f"{tmp_path}/python"), service("job")))
    assert "ProtectHome=read-only\n" in exported.files["ampzero-demo-web-1.service"][0]
    assert "ProtectHome=yes\n" in exported.files["ampzero-demo-job-1.service"][0]


def test_one_that_is_started_again_takes_nobody_along() -> None:
    exported = systemd.export(target(service("node"), service("nginx", depends_on={"node": "ready"})))
    assert "Requires=" not in exported.files["ampzero-demo-nginx-1.service"][0]


def test_a_socket_is_its_users_and_ends_with_the_target() -> None:
    web = service("web")
    web = msgspec.structs.replace(
        web,
        processes=(msgspec.structs.replace(web.processes[0], listen=("unix:/srv/var/demo/run/web.sock",)),),
    )
    unit = systemd.export(target(web)).files["ampzero-demo-web-1.socket"][0]
    for line in ("SocketUser=app", "SocketMode=0600", "PartOf=ampzero-demo-services.target"):
        assert f"{line}\n" in unit
    assert "SocketUser=" not in systemd.export(target(web, user=True)).files["ampzero-demo-web-1.socket"][0]
    assert (
        "Requires=ampzero-demo-web-1.socket\n"
        in systemd.export(target(web)).files["ampzero-demo-web-1.service"][0]
    )


def test_a_stop_signal_that_systemd_takes_for_a_failure_is_none() -> None:
    web = systemd.export(target(service("web", stop=Stop(signal="QUIT")), service("job")))
    assert "SuccessExitStatus=SIGQUIT\n" in web.files["ampzero-demo-web-1.service"][0]
    assert "SuccessExitStatus" not in web.files["ampzero-demo-job-1.service"][0]


def test_what_opens_its_output_anew_gets_a_pipe(tmp_path: Path) -> None:
    """The journal's socket cannot be opened: ENXIO."""
    opens = ("/bin/sh", "-c", "echo one >/dev/stdout; echo two >/dev/stderr; exit 3")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        refused = subprocess.run(opens, stdout=theirs.fileno(), stderr=theirs.fileno(), check=False)
        assert refused.returncode == 3
        for words, code in (
            (("/bin/sh", "-c", systemd.PIPED, f"{tmp_path}/a b.out", *opens), 3),
            (("/bin/sh", "-c", systemd.PIPED_CHECK, *opens), 3),
            (("/bin/sh", "-c", systemd.PIPED_CHECK, "/bin/true"), 0),
        ):
            done = subprocess.run(words, stdout=theirs.fileno(), stderr=theirs.fileno(), check=False)
            assert done.returncode == code
        theirs.close()  # what the shell's `cat` still has to hand on ends with its own descriptor
        ours.settimeout(30)
        said = b"".join(iter(lambda: ours.recv(4096), b""))
    assert said.split(b"\n")[-5:] == [b"one", b"two", b"one", b"two", b""]
    assert (tmp_path / "a b.out").is_fifo()


def test_what_cannot_be_carried_over_is_said() -> None:
    tcp = service("web", ready=Probe(kind="tcp", target="localhost:1"), depends_on={"x": "ready"})
    for export in (systemd.export, supervisor.export, procfile.export):
        assert any("services.web.ready: not carried over" in note for note in export(target(tcp)).notes)
    assert any("services.web.depends_on: " in note for note in supervisor.export(target(tcp)).notes)
    assert any("services.web.restart: " in note for note in procfile.export(target(tcp)).notes)


def test_no_secret_is_readable_by_others() -> None:
    for export in (systemd.export, supervisor.export, procfile.export):
        for text, mode in export(target(service("web"))).files.values():
            assert "SECRET" not in text or mode & 0o077 == 0


@settings(max_examples=60)
@given(st.dictionaries(st.from_regex(r"\A[A-Z_]{1,8}\Z"), PRINTABLE, max_size=4))
def test_a_shell_reads_variables_back(variables: dict[str, str]) -> None:
    variables = {f"T_{name}": value for name, value in variables.items()}
    script = quoting.shell_exports(variables) + "exec env -0\n"
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, check=True, env={})
    assert {f"{name}={value}".encode() for name, value in variables.items()} <= set(done.stdout.split(b"\0"))


@given(PRINTABLE)
def test_a_units_word_has_no_line_end_and_no_specifier(text: str) -> None:
    word = quoting.unit_word(text)
    assert "\n" not in word
    assert "%" not in word.replace("%%", "")
    assert "$" not in word.replace("$$", "")
    if not any(char in text for char in "\\\n\t\r%$"):
        assert (
            shlex.split(word.replace("\x1c", "")) == [text.replace("\x1c", "")]
            or not word.isascii()
            or not text.isprintable()
        )


def test_one_line_of_a_crontab() -> None:
    line = crontab.line(["/a b/python", "boot", "100%"], "ampzero:/v", "/usr/bin")
    assert (
        line == "@reboot PATH=/usr/bin '/a b/python' boot '100\\%' >/dev/null 2>&1 # ampzero:/v"
        or line == "@reboot PATH=/usr/bin '/a b/python' boot 100\\% >/dev/null 2>&1 # ampzero:/v"
    )


@pytest.mark.parametrize("abstract", [False, True])
def test_the_service_manager_is_told(abstract: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"@ampzero-test-{tmp_path.name}-{abstract}" if abstract else str(tmp_path / "n.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name.replace("@", "\0", 1) if abstract else name)
        listener.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        upward.ready()
        upward.stopping()
        assert listener.recv(100).split(b"\n")[0] == b"READY=1"
        assert listener.recv(100).split(b"\n")[0] == b"STOPPING=1"
    upward.ready()  # nobody listens: no error


def test_without_a_service_manager_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("", "nonsense", "/nowhere/at/all"):
        monkeypatch.setenv("NOTIFY_SOCKET", value)
        upward.ready()
