"""The instance's log records, kept and searched."""
