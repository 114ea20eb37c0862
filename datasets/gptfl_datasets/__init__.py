"""Tasks, partitions, synthetic data and generators; see the README of the folder above."""
