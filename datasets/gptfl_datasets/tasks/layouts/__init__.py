"""Layouts that people have on disk besides the official ones."""
