"""What OpenSSH understands of a user's key: certificates, signatures, lists of what is revoked."""
