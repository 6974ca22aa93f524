"""The life of an identity's keys after `init`: rotated, revoked, recovered, exported, verified."""
