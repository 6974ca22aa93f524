"""The phases of a deploy: one file each, in the order of deploy/deploying.py."""
