"""Data of the user's own: parts, classes and clients of a tree that no owner defined."""
