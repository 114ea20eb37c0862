"""Clients of a cohort in several processes, with the numbers of one after another."""
