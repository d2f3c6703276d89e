"""Models that say what a point is worth, and need torch: a searcher imports them when it begins."""
