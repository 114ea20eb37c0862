"""Recipes by which clients share a data set."""
