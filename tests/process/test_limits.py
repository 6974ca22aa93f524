"""What limits a child meets, who it is, and what its output is when it is a terminal's."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from running_support import Running, carrying, kill, wait_gone
from support import Ampzero, as_user

MakeRunning = Callable[..., Running]

PYTHON = sys.executable

TELL = """
import os, resource, sys, time
for name in ("NOFILE", "NPROC", "CORE", "FSIZE", "CPU"):
    print(name, *resource.getrlimit(getattr(resource, "RLIMIT_" + name)))
umask = os.umask(0)
print("umask", oct(umask))
print("nice", os.nice(0))
print("who", os.getuid(), os.getgid(), os.getgroups())
print("tty", *[os.isatty(handle) for handle in range(3)])
print("stdin", os.readlink("/proc/self/fd/0"))
sys.stdout.flush()
time.sleep(600)
"""


def told(one: Running) -> dict[str, str]:
    one.until(lambda: any(line.startswith(b"stdin") for line in one.output("web")))
    return dict(line.decode().split(" ", 1) for line in one.output("web"))


def test_rlimits_nice_and_umask(make_running: MakeRunning) -> None:
    one = make_running(
        f"services:\n  web:\n    command: {PYTHON} tell.py\n"
        "    limits: {files: 123, core: 0, file_size: 5M, cpu_time: 100s, nice: 5, umask: '027'}\n",
        {"tell.py": TELL},
    ).start()
    found = told(one)
    assert found["NOFILE"] == "123 123"
    assert found["CORE"] == "0 0"
    assert found["FSIZE"] == "5242880 5242880"
    assert found["CPU"] == "100 100"
    assert found["umask"] == "0o27"
    assert found["nice"] == "5"
    assert found["stdin"] == "/dev/null"


def test_they_hold_from_the_first_instruction(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  web: {command: sh -c 'ulimit -n; exec sleep 600', processes: 30, limits: {files: 99}}\n"
    ).start()
    one.until(lambda: len(one.output("web")) == 30)
    assert set(one.output("web")) == {b"99"}


def test_a_file_that_grows_too_large_ends_it_with_a_reason(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  web: {command: dd if=/dev/zero of=file bs=1000 count=100, limits: {file_size: 10000},"
        " restart: {policy: never}}\n"
    )
    one.run()
    assert (one.folder / "file").stat().st_size == 10000
    assert any(b"SIGXFSZ" in text for _, _, stream, _, text in one.records("web") if stream == "sys")


@pytest.mark.root
def test_another_user(make_running: MakeRunning) -> None:
    if os.geteuid() != 0:
        pytest.skip("changing the user needs root")
    nobody = pwd.getpwnam("nobody")
    one = make_running(
        "services:\n  web:\n    command: sh -c 'id -u; id -g; id -G; exec sleep 600'\n    cwd: /\n"
        "    limits: {user: nobody}\n"
    ).start()
    one.until(lambda: len(one.output("web")) == 3)
    assert one.output("web") == [b"%d" % nobody.pw_uid, b"%d" % nobody.pw_gid, b"%d" % nobody.pw_gid]
    one.stop()


ANOTHER = """
import os, socket, time
print("ids", os.getuid(), os.getgid(), sorted(os.getgroups()), flush=True)
print("names", *[os.environ.get(name) for name in ("HOME", "USER", "LOGNAME", "SHELL")], flush=True)
open("/dev/stdout", "w").write("anew\\n")
open("/dev/stderr", "w").write("anew too\\n")
path = os.environ["NOTIFY_SOCKET"]
print("socket", oct(os.stat(path).st_mode & 0o777), os.stat(path).st_uid, path, flush=True)
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
    one.connect(path)
    one.send(b"READY=1")
time.sleep(600)
"""


def somebody() -> pwd.struct_passwd:
    """Another user, if possible one of several groups."""
    if os.geteuid() != 0:
        pytest.skip("changing the user needs root")
    several = (each for each in pwd.getpwall() if each.pw_uid and len(groups_of(each)) > 1)
    return next(several, pwd.getpwnam("nobody"))


def groups_of(user: pwd.struct_passwd) -> list[int]:
    return sorted(os.getgrouplist(user.pw_name, user.pw_gid))


@pytest.mark.root
def test_another_user_is_not_in_roots_home_and_can_say_that_it_is_ready(make_running: MakeRunning) -> None:
    who, python = somebody(), "/usr/bin/python3"
    if not os.access(python, os.X_OK):
        pytest.skip(f"{python} is needed, which every user can run")
    one = make_running(
        f"services:\n  web:\n    command: {python} -c 'import os; exec(os.environ[\"PROGRAM\"])'\n"
        "    cwd: /\n"
        f"    limits: {{user: {who.pw_name}}}\n    ready: {{notify: true}}\n"
        f"    env: {{PROGRAM: {json.dumps(ANOTHER)}}}\n"
    ).start()
    one.until(lambda: len(one.output("web")) == 4 and one.output("web", "err"))
    (first, names, anew, socket), (too,) = one.output("web"), one.output("web", "err")
    assert first == f"ids {who.pw_uid} {who.pw_gid} {groups_of(who)}".encode()
    assert names == f"names {who.pw_dir} {who.pw_name} {who.pw_name} {who.pw_shell}".encode()
    assert (anew, too) == (b"anew", b"anew too")
    _, mode, owner, path = socket.decode().split()
    assert (mode, owner) == ("0o600", str(who.pw_uid))
    assert not Path(path).parent.stat().st_mode & 0o066
    kill(one.pid("web"))
    one.until(lambda: one.process("web")["restarts"] == 1 and one.process("web")["state"] == "ready")
    assert not Path(path).exists()
    kill(supervisor := one.supervisor)
    assert wait_gone(supervisor)
    assert one.run().code == 0
    assert one.process("web")["adopted"]
    (paths,) = {line.split()[3] for line in one.output("web")[4:] if line.startswith(b"socket")}
    assert one.stop().code == 0
    assert not Path(paths.decode()).exists()


@pytest.mark.root
def test_what_a_service_says_of_its_home_goes_before_the_users(make_running: MakeRunning) -> None:
    who = somebody()
    one = make_running(
        f"services:\n  own: {{command: sh -c 'echo $HOME $USER; exec sleep 600', cwd: /,"
        f" limits: {{user: {who.pw_name}}}, env: {{HOME: /var/empty}}}}\n"
        "  number: {command: sh -c 'echo $HOME/$USER; exec sleep 600', cwd: /, limits: {user: '54321'}}\n"
        f"  probed: {{command: sleep 600, cwd: /, limits: {{user: {who.pw_name}}},"
        " ready: {exec: 'sh -c \"echo $HOME >/dev/stderr\"'}}\n"
        "  shown: {command: sh -c 'echo there >/dev/stdout; exec sleep 600', cwd: /, pty: true,"
        f" limits: {{user: {who.pw_name}}}}}\n"
    ).start()
    one.until(lambda: all(one.output(name) for name in ("own", "number", "shown")))
    assert one.output("own") == [f"/var/empty {who.pw_name}".encode()]
    assert one.output("number") == [b"/"]
    assert one.output("probed", "err") == [who.pw_dir.encode()]
    assert one.output("shown") == [b"there"]


def test_a_user_that_there_is_not(make_running: MakeRunning) -> None:
    one = make_running("services:\n  web: {command: sleep 600, limits: {user: nobody-at-all}}\n")
    done = one.run()
    assert done.code != 0
    assert "nobody-at-all" in done.err
    assert "Traceback" not in done.err


@pytest.mark.root
def test_a_child_that_takes_too_much_memory_is_restarted_with_the_reason(make_running: MakeRunning) -> None:
    if not os.access("/sys/fs/cgroup/memory", os.W_OK):
        pytest.skip("no memory cgroup can be made here")
    eater = (
        "import os, time\nprint('up', flush=True)\n"
        "while not os.path.exists('eat'): time.sleep(0.05)\n"
        "os.remove('eat')\nkeep = []\nwhile True: keep.append(bytearray(4_000_000))\n"
    )
    one = make_running(
        f"services:\n  web: {{command: {PYTHON} eat.py, ready: {{log: up}}, limits: {{memory: 60M}}}}\n",
        {"eat.py": eater},
    ).start()
    words = [text for _, _, stream, _, text in one.records("web") if stream == "sys"]
    if any(b"limit not set" in text for text in words):
        pytest.skip("no memory cgroup can be made here")
    pid = one.pid("web")
    groups = [line for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines() if "memory" in line]
    group = Path("/sys/fs/cgroup/memory" + groups[0].split(":", 2)[2])
    assert "ampzero-" in group.name
    (one.folder / "eat").touch()
    one.until(lambda: one.process("web")["restarts"] == 1 and one.process("web")["state"] == "ready")
    words = [text for _, _, stream, _, text in one.records("web") if stream == "sys"]
    assert any(b"memory" in text and b"backoff" in text for text in words), words
    assert not group.exists()
    assert one.stop().code == 0
    assert not list(group.parent.glob(group.name.rpartition("-")[0] + "*"))


@pytest.mark.root
def test_a_cgroup_whose_leader_ends_before_its_children_goes_with_the_last(make_running: MakeRunning) -> None:
    """It stayed, empty, until the process started again."""
    one = make_running(
        "services:\n  web:\n    command: sh app.sh\n    limits: {memory: 60M}\n    ready: {log: up}\n",
        {
            "app.sh": "trap '' TERM\n(while [ ! -e go ]; do sleep 0.05; done) &\n"
            "trap 'exit 0' TERM\necho up\nwait\n"
        },
    ).start()
    groups = ampzero_groups(one.pid("web"))
    if not groups:
        pytest.skip("no memory cgroup can be made here")
    leader = one.pid("web")
    stop = threading.Thread(target=lambda: one.stop("web"))
    stop.start()
    assert wait_gone(leader)
    assert all(group.exists() for group in groups)
    (one.folder / "go").touch()
    stop.join(60)
    assert one.process("web")["state"] == "stopped"
    assert not [group for group in groups if group.exists()]


def ampzero_groups(pid: int) -> list[Path]:
    """The cgroups of its own that a process is in."""
    lines = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    return [Path(f"/sys/fs/cgroup/{names}{path}") for _, names, path in lines if "/ampzero-" in path]


@pytest.mark.root
def test_sockets_that_a_dead_supervisor_left_go_at_the_next_run(make_running: MakeRunning) -> None:
    """Those of other users' processes stayed below /run/ampzero until the machine was started anew."""
    somebody()
    told = "services:\n  own: {command: sleep 600, ready: {notify: true}}\n"
    told += "  other: {command: sleep 600, cwd: /, limits: {user: nobody}, ready: {notify: true}}\n"
    one = make_running(told)
    run = threading.Thread(target=one.run)
    run.start()
    one.until(lambda: one.ampzero("status", one.folder).code in (0, 6))
    pids = []
    for name in ("own", "other"):
        one.until(lambda name=name: one.process(name)["pid"])  # type: ignore[misc]  # a default
        pids.append(one.pid(name))
    sockets = []
    for pid in pids:
        environ = Path(f"/proc/{pid}/environ").read_text().split("\0")
        sockets += [Path(line.partition("=")[2]) for line in environ if line.startswith("NOTIFY_SOCKET=")]
    assert len(sockets) == 2 and sockets[1].parent == Path("/run/ampzero")
    kill(one.supervisor)
    run.join(60)
    assert all(path.is_socket() for path in sockets)
    kill(*pids)
    yaml = one.folder / "amprun.yaml"
    yaml.write_text(yaml.read_text().replace(", ready: {notify: true}", ""))
    one.start()
    assert not [path for path in sockets if path.exists()]


@pytest.mark.root
def test_an_ordinary_users_processes_are_bounded_by_its_rlimit(tmp_path: Path) -> None:
    """Root's are not counted (setrlimit(2)), and an ordinary user can make no cgroup."""
    user = 61000 + os.getpid() % 4000  # all of a user's processes count: it is one of its own
    folder, root = tmp_path / "demo", tmp_path / "var"
    for each in (folder, root):
        each.mkdir()
        os.chown(each, user, user)
    (folder / "fork.sh").write_text("(for n in $(seq 100); do echo $n; sleep 600 & done)\nexec sleep 600\n")
    (folder / "amprun.yaml").write_text(
        f"name: demo\namprun_root_directory: {root}\nservices:\n"
        "  web: {command: sh fork.sh, limits: {processes: 30}}\n"
    )
    one = Running(Ampzero(as_user(user)), folder, root)
    try:
        one.start(cwd=folder)
        one.until(lambda: any(b"fork" in line for line in one.output("web", "err")))
        one.until(lambda: len(one.output("web")) > 15)
        assert len(one.output("web")) < 30
        assert one.stop().code == 0
        assert not carrying(f"AMPZERO_VAR={one.var}")
    finally:
        one.end()
        shutil.rmtree(f"/tmp/ampzero-{user}", ignore_errors=True)  # noqa: S108 -- where its sockets are


def test_what_cannot_be_set_is_said(make_running: MakeRunning) -> None:
    # More than the kernel lets anybody have (fs.nr_open).
    one = make_running("services:\n  web: {command: sleep 600, limits: {files: 2147483647}}\n").start()
    words = [text for _, _, stream, _, text in one.records("web") if stream == "sys"]
    assert any(text.startswith(b"limit not set: rlimit nofile") for text in words), words
    assert one.process("web")["state"] == "ready"


def test_a_terminal(make_running: MakeRunning) -> None:
    lines = "for n in range(3000): print('\\x1b[31m' + 'x' * 100, n)\n"
    one = make_running(
        f"services:\n  web: {{command: {PYTHON} tell.py, pty: true}}\n", {"tell.py": lines + TELL}
    ).start()
    one.until(lambda: any(line.startswith(b"stdin") for line in one.output("web")))
    found = one.output("web")
    assert found[:3000] == [b"\x1b[31m" + b"x" * 100 + b" %d" % n for n in range(3000)]
    assert b"tty False True True" in found


def test_the_last_words_at_a_terminal_are_kept(make_running: MakeRunning) -> None:
    one = make_running(
        "services:\n  web: {command: sh -c 'seq 2000; printf end; exit 1', pty: true,"
        " restart: {policy: never}}\n"
    )
    one.run()
    assert one.output("web") == [*(b"%d" % n for n in range(1, 2001)), b"end"]
