"""Synthetic sets that others published: one small file each."""
