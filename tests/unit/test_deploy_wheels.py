"""Platforms, requirements and wheels, without pip: what is chosen, what is needed, how it is unpacked."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement
from release_support import PLATFORM, make_wheel

from deploy.release.pip import UnmetError, failure
from deploy.release.platform import Platform
from deploy.release.requirements import Library, applying, closure, parse_file
from deploy.release.wheels import Wheel, check_hashes, unpack, versions
from lib.errors import AmpzeroError, ConfigError, MissingError

TARGET = Platform.parse(PLATFORM)


def test_a_platform_takes_wheels_for_its_own_libc_and_older_ones() -> None:
    tags = Platform.parse("linux-x86_64-glibc2.36-cp311").tags()
    assert tags[0] == "manylinux_2_36_x86_64"
    assert {"manylinux_2_5_x86_64", "manylinux1_x86_64", "manylinux2014_x86_64"} <= set(tags)
    assert not [tag for tag in tags if "2_37" in tag or "musl" in tag or "aarch64" in tag]
    arm = Platform.parse("linux-aarch64-glibc2.31-cp313").tags()
    assert (arm[0], "manylinux2014_aarch64" in arm) == ("manylinux_2_31_aarch64", True)
    assert not [tag for tag in arm if "manylinux1" in tag or "2_16" in tag or "2_32" in tag]
    old = Platform.parse("linux-x86_64-glibc2.14-cp311").tags()
    assert "manylinux2014_x86_64" not in old and "manylinux2010_x86_64" in old
    musl = Platform.parse("linux-x86_64-musl1.2-cp312")
    assert musl.tags() == [f"musllinux_1_{minor}_x86_64" for minor in (2, 1, 0)]
    assert "--python-version=3.12" in musl.pip_options()


@pytest.mark.parametrize(
    "text", ["", "linux", "darwin-arm64-libc1.0-cp311", "linux-x86_64-glibc2.36-cp27",
             PLATFORM + " --index-url=x", "linux-x86_64-glibc2.9999-cp311",
             "linux-x86_64-glibc2-cp311", "linux-x86 64-glibc2.36-cp311", PLATFORM + "\n"],
)  # fmt: skip
def test_an_unknown_platform_is_an_error(text: str) -> None:
    with pytest.raises(AmpzeroError, match="none that ampzero knows"):
        Platform.parse(text)


@given(st.text())
def test_any_text_is_a_platform_or_an_error(text: str) -> None:
    with pytest.raises(AmpzeroError):
        Platform.parse(text)


def test_a_requirements_file_is_read_as_pip_reads_it() -> None:
    text = (
        "# comment\n\nDjango>=5.2,<6  # why\n"
        'uvloop[a,b]==1.0 ; sys_platform == "linux" \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\nx\n'
    )
    found = parse_file(text, "requirements.txt")
    assert [str(each.requirement) for each in found] == [
        "Django<6,>=5.2", 'uvloop[a,b]==1.0; sys_platform == "linux"', "x",
    ]  # fmt: skip
    assert [each.hashes for each in found] == [(), ("sha256:aa", "sha256:bb"), ()]


@pytest.mark.parametrize(
    "line",
    ["-r other.txt", "-e .", "--index-url https://x", "./local", "a b", "x @ https://host/x.whl", "==1"],
)
def test_what_a_requirements_file_would_read_from_elsewhere_is_named_with_its_line(line: str) -> None:
    with pytest.raises(ConfigError, match=r"^ampnode/requirements\.txt:3: "):
        parse_file(f"good\n\n{line}\n", "ampnode/requirements.txt")


@given(st.text())
def test_any_text_is_a_requirements_file_or_a_configuration_error(text: str) -> None:
    try:
        parse_file(text, "f")
    except ConfigError as error:
        assert error.message.startswith("f:")


def needs(*lines: str, extras: tuple[str, ...] = ()) -> list[str]:
    return [str(each) for each in applying(map(Requirement, lines), TARGET, extras)]


def test_markers_are_those_of_the_host_and_not_of_this_machine() -> None:
    assert needs('a; sys_platform == "win32"', 'b; sys_platform == "linux"') == ["b"]
    assert needs('a; python_version < "3.11"', 'b; python_version < "3.12"') == ["b"]
    assert needs('a; platform_machine == "aarch64"', 'b; platform_machine == "x86_64"') == ["b"]
    assert needs('a; extra == "x"', "b") == ["b"]
    assert needs('a; extra == "x"', "b", extras=("x",)) == ["a", "b"]


def test_what_any_patch_release_of_the_hosts_python_needs_is_taken() -> None:
    # redis asks so; Debian 12 has 3.11.2, and its host cannot tell by "cp311".
    assert needs('async-timeout; python_full_version < "3.11.3"') == ["async-timeout"]
    assert needs('a; python_full_version >= "3.11.3"') == ["a"]
    assert needs('a; python_full_version >= "3.12.0"') == []


def library(version: str, *requires: str) -> Library:
    return Library(version, tuple(map(Requirement, requires)))


def test_all_that_is_needed_is_found_by_way_of_extras_and_circles() -> None:
    known = {
        "app": library("1", "Lib_B[fast]>=2", 'never; sys_platform == "win32"'),
        "lib-b": library("2", "app", 'speedup; extra == "fast"', 'slow; extra == "other"'),
        "speedup": library("1.5", "absent", "lib-b<2"),
        "unused": library("1"),
    }
    needed, unmet = closure([Requirement("app")], known.get, TARGET)
    assert needed == {"app", "lib-b", "speedup"}
    assert [str(each) for each in unmet] == ["absent", "lib-b<2"]


def wheel(path: Path) -> Wheel:
    return Wheel(path, "00")


def test_a_wheel_is_unpacked_as_an_installer_does_it(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, "one", files={
        "one/__init__.py": "x = 1\n", "one/__pycache__/a.cpython-311.pyc": b"", "one/old.pyc": b"",
        "one-1.0.data/purelib/two.py": "y", "one-1.0.data/platlib/three.so": b"z",
        "one-1.0.data/scripts/one": "#!python", "one-1.0.data/data/man": "", "one-1.0.data/headers/h": "",
    })  # fmt: skip
    with zipfile.ZipFile(path, "a") as archive:
        program = zipfile.ZipInfo("one/bin/tool")
        program.external_attr = 0o100755 << 16
        archive.writestr(program, "#!/bin/sh")
        archive.mkdir("one/folder")
    entries = {entry.path: entry for entry in unpack([wheel(path)], "site")}
    assert {path.removeprefix("site/") for path in entries if ".dist-info" not in path} == {
        "one/__init__.py", "two.py", "three.so", "one/bin/tool",
    }  # fmt: skip
    assert b"".join(entries["site/one/__init__.py"].chunks()) == b"x = 1\n"
    assert (entries["site/one/bin/tool"].mode, entries["site/two.py"].mode) == (0o755, 0o644)


def test_two_libraries_with_the_same_file_must_agree_on_it(tmp_path: Path) -> None:
    one = make_wheel(tmp_path, "one", files={"shared/__init__.py": "same"})
    two = make_wheel(tmp_path, "two", files={"shared/__init__.py": "same"})
    three = make_wheel(tmp_path, "three", files={"shared/__init__.py": "other"})
    assert len([entry for entry in unpack([wheel(one), wheel(two)], "site") if "shared" in entry.path]) == 1
    with pytest.raises(AmpzeroError, match=r"two libraries have the file site/shared/__init__\.py.*three"):
        unpack([wheel(one), wheel(three)], "site")


def test_a_wheel_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "one-1.0-py3-none-any.whl"
    path.write_bytes(b"no zip")
    with pytest.raises(AmpzeroError, match=r"one-1\.0-py3-none-any\.whl cannot be read"):
        wheel(path).library()
    with zipfile.ZipFile(path, "w"):
        pass
    with pytest.raises(AmpzeroError, match="no good metadata"):
        wheel(path).library()
    bad = make_wheel(tmp_path, "bad", requires=["!!"])
    with pytest.raises(AmpzeroError, match=r"bad-1\.0-py3-none-any\.whl has no good metadata"):
        wheel(bad).library()


def test_only_a_file_with_a_hash_that_is_asked_for_will_do(tmp_path: Path) -> None:
    chosen = [Wheel(make_wheel(tmp_path, "My_Lib"), "aa")]
    assert versions(chosen) == {"my-lib": "1.0"}
    check_hashes(chosen, parse_file("my.lib --hash=sha256:bb --hash=sha256:aa\nother", "f"))
    check_hashes(chosen, parse_file("my.lib", "f"))
    with pytest.raises(AmpzeroError, match="has none of the hashes"):
        check_hashes(chosen, parse_file("my.lib --hash=sha256:bb", "f"))


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        ("/usr/bin/python3: No module named pip\n", MissingError, "pip is missing from"),
        ("ERROR: Could not find a version that satisfies the requirement x==9 (from versions: 1)\n"
         "ERROR: No matching distribution found for x==9 (from app)\n", UnmetError,
         f"there is no wheel of x==9 for {PLATFORM}"),
        ("WARNING: Retrying (Retry(total=0)) after 'NameResolutionError'\n"
         "ERROR: No matching distribution found for x\n", AmpzeroError,
         "the package index cannot be reached"),
        ("ERROR: Cannot install a==1 and b==1 because of this.\nERROR: ResolutionImpossible\n", UnmetError,
         "pip: Cannot install a==1 and b==1 because of this; a 1 depends on c<2; b 1 depends on c>=2"),
        ("something\nelse", AmpzeroError, "pip: something"), ("", AmpzeroError, "pip: it failed"),
    ],
)  # fmt: skip
def test_pip_fails_in_one_line(said: str, kind: type[AmpzeroError], words: str) -> None:
    told = (
        "Looking\n\nThe conflict is caused by:\n    a 1 depends on c<2\n    b 1 depends on c>=2\n\nTo fix:\n"
    )
    error = failure(said, TARGET, told)
    assert type(error) is kind
    assert words in error.message and "\n" not in error.message
    assert error.hint
