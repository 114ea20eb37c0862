"""Prompts and generators."""
