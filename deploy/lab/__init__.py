"""A lab: hosts on this machine, each in namespaces of its own, to try a deploy with. See docs/lab.md."""

from deploy.lab.host import Host
from deploy.lab.lab import Lab

__all__ = ["Host", "Lab"]
