"""Vitruvius."""
