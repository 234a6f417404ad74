"""How a fitted estimator leaves the process."""
