"""The client of the replicated key-value store (etcd)."""
