"""Calls between instances, for the rest of the instance; who makes and judges them is keys/contact."""
