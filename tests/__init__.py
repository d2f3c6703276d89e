"""Tests of vitruvius."""
