"""A host's platform, as its agent says it (`linux-x86_64-glibc2.36-cp311`), in the words of wheels.

Wheel tags: https://packaging.python.org/en/latest/specifications/platform-compatibility-tags/; the
variables of requirements:
https://packaging.python.org/en/latest/specifications/dependency-specifiers/#environment-markers
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lib.errors import AmpzeroError

_TEXT = re.compile(r"linux-([a-z0-9_]{1,32})-(glibc|musl)([0-9]{1,3})\.([0-9]{1,3})-cp3([0-9]{1,3})")
OLDEST_GLIBC = {"x86_64": 5, "i686": 5}
"""The first glibc 2.x for which there are wheels; on other machines 2.17."""
LEGACY = {"manylinux1": 5, "manylinux2010": 12, "manylinux2014": 17}
"""Older names of manylinux_2_5, _2_12 and _2_17 (PEP 600)."""
LAST_PATCH = 99
"""A platform does not say the third number of its Python: what any of them needs is taken."""


@dataclass(frozen=True)
class Platform:
    """`libc` is glibc or musl in the version `major`.`minor`; `python` the 11 of 3.11."""

    text: str
    machine: str
    libc: str
    major: int
    minor: int
    python: int

    @classmethod
    def parse(cls, text: str) -> Platform:
        """A platform from its text.

        Raises: AmpzeroError.
        """
        match = _TEXT.fullmatch(text)
        if not match:
            raise AmpzeroError(f"the platform {text!r} is none that ampzero knows", "hosts run Linux")
        machine, libc, *numbers = match.groups()
        return cls(text, machine, libc, *map(int, numbers))

    def tags(self) -> list[str]:
        """The platform tags of wheels that run there, the best first."""
        if self.libc == "musl":
            return [f"musllinux_{self.major}_{minor}_{self.machine}" for minor in range(self.minor, -1, -1)]
        oldest = OLDEST_GLIBC.get(self.machine, 17)
        tags = [
            f"manylinux_{self.major}_{minor}_{self.machine}" for minor in range(self.minor, oldest - 1, -1)
        ]
        legacy = [f"{name}_{self.machine}" for name, minor in LEGACY.items() if oldest <= minor <= self.minor]
        return tags + legacy[::-1]

    def pip_options(self) -> list[str]:
        """What makes pip choose wheels for this platform instead of its own."""
        options = ["--only-binary=:all:", "--implementation=cp", f"--python-version=3.{self.python}"]
        return [*options, f"--abi=cp3{self.python}", *(f"--platform={tag}" for tag in self.tags())]

    def environments(self) -> list[dict[str, str]]:
        """The variables of markers there: for the first and the last patch release of its Python."""
        return [
            {
                "implementation_name": "cpython", "implementation_version": f"3.{self.python}.{patch}",
                "os_name": "posix", "platform_machine": self.machine, "platform_release": "",
                "platform_python_implementation": "CPython", "platform_system": "Linux",
                "platform_version": "", "python_full_version": f"3.{self.python}.{patch}",
                "python_version": f"3.{self.python}", "sys_platform": "linux",
            }
            for patch in (0, LAST_PATCH)
        ]  # fmt: skip
