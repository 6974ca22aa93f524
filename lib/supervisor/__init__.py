"""The supervisor: plan, processes, probes, policy, output and the loop that ties them."""
