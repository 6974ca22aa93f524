"""`init --clobber`: the generated files again, merged with what the user made of them.

Each set of generated files is a commit of its own (marked by scaffold.ANSWERS), so git's history holds what
was generated, what the user changed, and how they were put together; docs/decisions/010-clobber.md says why.
Key files and certificates are no generated files.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from lib import schema
from lib.errors import MissingError, TakenError
from lib.files import storage_errors, write_atomic
from lib.init import scaffold
from lib.init.answers import Answers, default_user
from lib.init.git import Git, GitError
from lib.instance import CONFIG_NAME
from lib.loader import load_config

NEW = ".new"


@dataclass(frozen=True)
class Outcome:
    """What `--clobber` did, as paths below the instance's folder.

    `written` are as generated now, or merged with the user's changes (`merged`). `conflicts` kept the user's
    version, and the generated one is beside it as NAME.new. `removed` the user deleted; they stay so.
    """

    written: tuple[str, ...] = ()
    merged: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    commit: str = ""


def repository(target: Path) -> Git:
    """The repository of the instance in `target`; it must be clean.

    Raises: MissingError, TakenError, GitError.
    """
    if not (target / ".git").exists():
        raise MissingError(
            f"{target} is not a git repository: nothing could bring back what --clobber changes",
            "git init && git add -A && git commit",
        )
    git = Git(target)
    if not git.text("rev-parse", "-q", "--verify", "HEAD", accept=(0, 1)):
        raise MissingError(f"{target} has no commit yet", "commit first")
    changes = git.changes()
    if changes:
        shown = ", ".join(changes[:10]) + (f" and {len(changes) - 10} more" if len(changes) > 10 else "")
        raise TakenError(
            f"{target} has changes that are in no commit: {shown}",
            "commit them, or put them away: git stash -u",
        )
    return git


def base_commit(git: Git) -> tuple[str, Answers | None]:
    """The newest commit in the history that holds files exactly as generated, and its answers.

    A commit that was amended or squashed into another one is none: its tree is not the recorded one.

    Raises: GitError.
    """
    found = git.text("log", "-50", "--format=%H%n%T%n%B%x00", f"--grep=^{scaffold.ANSWERS}", "HEAD")
    for entry in found.split("\0"):
        commit, _, rest = entry.strip().partition("\n")
        tree, _, text = rest.partition("\n")
        answers = scaffold.recorded(text, tree)
        if answers is not None:
            return commit, answers
    return "", None


def first_answers(target: Path) -> Answers:
    """The answers that the instance in `target` was made of: as recorded, or else read from its files.

    Raises: MissingError, TakenError, ConfigError, GitError.
    """
    git = repository(target)
    recorded = base_commit(git)[1]
    if recorded is not None:
        return recorded
    config = load_config(target / CONFIG_NAME)
    return Answers(
        name=config.name or target.name, port=config.port, root=config.amprun_root_directory or "",
        user=default_user(), encrypted=bool(git.text("ls-files", "--", "*.private.key")),
    )  # fmt: skip


def clobber(target: Path, answers: Answers) -> Outcome:
    """Generate the files anew and merge them into the instance, as one commit.

    Raises: TakenError on a work tree that is not clean; ConfigError, StorageError, GitError.
    """
    git = repository(target)
    git.user = answers.user
    git.identify()
    base = base_commit(git)[0]
    head = git.text("rev-parse", "HEAD")
    with storage_errors(target), tempfile.TemporaryDirectory(prefix="ampzero-") as scratch:
        folder = Path(scratch)
        fresh = folder / "fresh"
        names = scaffold.render(fresh, answers)
        scaffold.prove(fresh)
        generated = {name: (fresh / name).read_bytes() for name in names}
        before = {name: git.blob(base, name) if base else None for name in names}
        outcome, files = _merge(git, head, before, generated, folder)
        parents = [head]
        if before != generated:
            tree = git.tree_with(base or head, generated, folder)
            message = scaffold.message(f"Generate {answers.name} again", answers, tree)
            parents.append(git.commit_tree(tree, [base or head], message))
        if files or len(parents) > 1:
            tree = git.tree_with(head, files, folder)
            merged = git.commit_tree(tree, parents, f"Merge the generated files of {answers.name}\n")
            # Fast-forward: git itself updates the work tree, and refuses where a file is in the way.
            git.run("merge", "-q", "--ff-only", merged)
            outcome = replace(outcome, commit=merged[:12])
        for name in (*outcome.conflicts, *outcome.removed):
            if generated[name] != before[name]:
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                write_atomic(target / f"{name}{NEW}", generated[name])
    schema.install(target)
    return outcome


def _merge(
    git: Git, head: str, before: dict[str, bytes | None], generated: dict[str, bytes], scratch: Path
) -> tuple[Outcome, dict[str, bytes]]:
    """What becomes of each generated file, and the content of those that change."""
    written: list[str] = []
    merged: list[str] = []
    conflicts: list[str] = []
    removed: list[str] = []
    files: dict[str, bytes] = {}
    for name, theirs in generated.items():
        ours = git.blob(head, name)
        base = before[name]
        if ours == theirs or (ours is not None and base == theirs):
            continue  # nothing to do, or only the user changed it
        if ours is None and base is not None:
            removed.append(name)
        elif ours is None or ours == base:
            written.append(name)
            files[name] = theirs
        elif base is not None and (both := merge_file(git, ours, base, theirs, scratch)) is not None:
            merged.append(name)
            files[name] = both
        else:
            conflicts.append(name)
    return Outcome(tuple(written), tuple(merged), tuple(conflicts), tuple(removed)), files


def merge_file(git: Git, ours: bytes, before: bytes, theirs: bytes, scratch: Path) -> bytes | None:
    """Both changes to `before` in one file; None where they touch the same lines, or are not text.

    Raises: GitError, StorageError.
    """
    paths = []
    for name, content in (("ours", ours), ("before", before), ("theirs", theirs)):
        path = scratch / name
        path.write_bytes(content)
        paths.append(str(path))
    try:
        return git.run("merge-file", "-p", *paths)
    except GitError:  # its exit code is the number of conflicts, or 255 for what is not text
        return None
