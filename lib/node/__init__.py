"""The node runtime: the application server of the `ampnode` service, and the console that it shows."""
