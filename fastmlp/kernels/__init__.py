"""The compiled part of fastmlp: kernels that know arrays and numbers, never an estimator."""
