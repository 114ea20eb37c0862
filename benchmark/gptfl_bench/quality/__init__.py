"""How good synthetic data are, measured beside the same measure of real data."""
