"""An append-only log that cannot be rewritten unnoticed: RFC 6962's tree, served as C2SP tlog-tiles."""
