"""Secure aggregation: the server learns the sum of the clients' vectors and no single one.

Two protocols behind :func:`~gptfl_bench.secure.protocol.aggregate.secure_sum`: Bonawitz et al. 2017
and LightSecAgg (So et al. 2022). Server and clients are semi-honest: they follow the protocol and
look at what they receive. The arithmetic, the keys and the messages are real; what is simulated is
chance, for every secret is derived from the cell's seed, and the network, for all parties run in
one process.
"""
