"""Prompt writers: texts around a label."""
