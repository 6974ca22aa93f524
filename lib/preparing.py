"""Working out what a run needs, as a whole: its ports, secrets and certificate, its plan and its files.

What TLS certificate is used is told by the caller, for `lib` knows no keys.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import msgspec

from lib import assembly, scaling
from lib.certificates import Certify
from lib.config import ServiceConfig
from lib.contact import plan as contact_plan
from lib.contact import report
from lib.files import make_folder, write_atomic, write_new
from lib.instance import Instance
from lib.kinds import kind_of
from lib.options import Options
from lib.portholder import listens
from lib.ports import PortBook
from lib.programs.known import find_program, known_hint
from lib.services.base import Context, RenderedFile

LAUNCHER = (sys.executable, "-E", "-P", str(Path(__file__).resolve().parent.parent / "ampzero.py"))
"""How a service starts ampzero itself; Python's own variables and paths stay out of it."""


def make_secret(instance: Instance, name: str) -> Path:
    """The path of a secret of 64 hex digits in the state folder, made at the first call.

    Raises: StorageError.
    """
    path = instance.state / f"{name}.secret"
    if not path.exists():
        # An export may make it at the same time; both must end up with the same one.
        write_new(path, os.urandom(32).hex() + "\n", 0o600)
    return path


def make_context(instance: Instance, options: Options, ports: PortBook, certify: Certify) -> Context:
    """What the services of this run may look at.

    Raises: what `certify` raises.
    """
    chosen = assembly.choose(instance, only=options.only, server=options.server)
    certificates = None
    if any(kind_of(name, config) == "nginx" for name, config in chosen.items()):
        certificates = certify(instance)
    return Context(
        instance=instance, port=ports.port, secret=lambda name: make_secret(instance, name),
        launcher=LAUNCHER, debug=options.debug, server=options.server, release=options.release,
        certificates=certificates, find_program=find_program, known_hint=known_hint,
        contact=contact_plan.make_plan(instance, options, chosen, ports.port),
    )  # fmt: skip


def notes(instance: Instance, options: Options) -> dict[str, str]:
    """Facts that `status` passes on."""
    why = contact_plan.why_off(instance, options)
    chosen = assembly.choose(instance, only=options.only, server=options.server)
    found = {
        "hub": why or "nothing is announced: there is no nginx to be called at",
        "nat": f"no port is mapped: {'nothing is announced' if options.nat else '--no-nat-bypass was given'}",
        "release": options.release,
    }
    if any(kind_of(name, config) == "nginx" for name, config in chosen.items()):
        found["address"] = f"https://localhost:{instance.config.port}"
    return found


def port_book(instance: Instance, pids: set[int]) -> PortBook:
    """The instance's ports; those on which one of `pids` listens are its own."""
    return PortBook(
        instance.state / "ports.json", str(instance.var), ours=lambda port: bool(pids) and listens(port, pids)
    )


def prepare(instance: Instance, options: Options, ports: PortBook, certify: Certify) -> assembly.Assembly:
    """Everything that a run needs, checked as a whole; only its folders are made, nothing else is touched.

    Raises: any AmpzeroError.
    """
    context = make_context(instance, options, ports, certify)
    chosen = scaling.apply(instance, assembly.choose(instance, only=options.only, server=options.server))
    given = json.dumps(msgspec.to_builtins(options))
    about = {**notes(instance, options), "options": given}
    if context.certificates is not None:
        about["tls"] = context.certificates.text()
    if context.contact is not None:
        # The last one: it starts when the others are ready, and nobody waits for it.
        chosen[contact_plan.NAME] = ServiceConfig(kind=contact_plan.NAME)
        about["told"] = str(instance.state / report.FILE)
    parts = assembly.assemble(context, chosen, about)
    for folder in parts.folders:
        make_folder(folder, 0o700)
    return parts


def write_file(file: RenderedFile) -> None:
    """Put a rendered file in its place.

    Raises: StorageError.
    """
    make_folder(file.path.parent, 0o700)
    write_atomic(file.path, file.content, file.mode)
