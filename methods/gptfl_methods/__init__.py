"""One federated learning method a file; see the README of the folder above."""
