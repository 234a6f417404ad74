"""Training on a Dask cluster: data stay on their workers, which exchange the state of a training.

It needs the extra `dask`.
"""

try:
    from fastmlp.dask.estimator import DaskMLPBinaryClassifier
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in ("dask", "distributed"):
        raise
    message = "fastmlp.dask needs Dask: python -m pip install 'fastmlp[dask]'"
    raise ImportError(message) from error

__all__ = ["DaskMLPBinaryClassifier"]

DaskMLPBinaryClassifier.__module__ = __name__
