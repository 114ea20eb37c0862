"""Cells for the tools that people have already, made from records, while cells run and later."""
