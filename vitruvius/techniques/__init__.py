"""Every technique: one method, one file; one folder per role."""
