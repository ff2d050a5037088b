"""Examines data sets and runs: what is wrong, how much it harms, what to do."""
