"""Programs of this machine that an instance needs: as data, looked for, and installed."""
