"""Estimators in the form of scikit-learn: what a user calls."""
