"""Private label discovery: what labels clients hold, told in sums alone."""
