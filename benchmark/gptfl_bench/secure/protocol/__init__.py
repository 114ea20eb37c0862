"""Protocols of secure aggregation, message by message."""
