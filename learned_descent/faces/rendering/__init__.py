"""Photographs of heads that never were, with exact landmarks."""
