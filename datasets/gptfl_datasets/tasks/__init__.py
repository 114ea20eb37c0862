"""Data sets, each a task with its official split."""
