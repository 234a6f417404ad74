"""What an estimator is given: checked, encoded and split."""
