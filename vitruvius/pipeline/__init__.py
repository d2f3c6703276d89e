"""Pipelines: stages in a row, the lab around a running stage, keys of what they make."""
