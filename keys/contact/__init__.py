"""The contact process of an instance: announces it at its hub, carries its calls to others, judges theirs."""
