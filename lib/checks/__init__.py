"""What amprun.yaml must say beyond its types, each error at its place in the file."""
