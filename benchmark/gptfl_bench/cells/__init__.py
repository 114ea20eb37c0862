"""One cell: what identifies it, what it works with, its rounds, checkpoint and record."""
