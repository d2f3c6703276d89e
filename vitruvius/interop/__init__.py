"""Models and tools of others: in and out."""
