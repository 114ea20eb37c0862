"""A federation of real processes: a server, and silos that hold their clients' data and states."""
