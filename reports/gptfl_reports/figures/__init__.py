"""One figure a file, its numbers first."""
