"""What runs on a host: the standard library alone, so that nothing has to be there before it."""
