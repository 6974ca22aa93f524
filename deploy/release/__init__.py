"""A release: what is committed, as two trees for each platform, the same to the byte whenever it is built."""

from __future__ import annotations

from deploy.release.builder import build, release_id
from deploy.release.tool import TOOL
from deploy.release.tree import Release, Tree

__all__ = ["TOOL", "Release", "Tree", "build", "release_id"]
