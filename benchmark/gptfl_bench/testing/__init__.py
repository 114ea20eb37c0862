"""Conformance checks for methods, those of this repository and anybody's."""
