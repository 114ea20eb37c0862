"""Outlines of digits from free fonts, which the embedded generators draw from."""
