"""Generators: prompts in, samples out."""
