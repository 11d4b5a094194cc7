"""Split criteria: pure functions of the sums per arm in a node and its two children."""
