"""The authenticated record store."""
