"""A study: the journal, the budget, the trials and what is told of them."""
