"""Training on a Dask cluster: data stay on their workers, which exchange the state of a training.

It needs the extra `dask`.
"""

try:
    import dask.array  # noqa: F401
    import distributed  # noqa: F401
except ImportError as error:
    raise ImportError("fastmlp.dask needs Dask: python -m pip install 'fastmlp[dask]'") from error

from fastmlp.dask.estimator import DaskMLPBinaryClassifier

__all__ = ["DaskMLPBinaryClassifier"]

DaskMLPBinaryClassifier.__module__ = __name__
