"""What holds for all tests."""

import gc
import signal

import numba
import pytest
from numba.np.ufunc import parallel

# A shell that runs tests in the background has them ignore Ctrl-C, which some of them send.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# More threads than this machine may have cores, before Numba starts them: up to eight are tested.
parallel.NUM_THREADS = numba.config.NUMBA_NUM_THREADS = max(8, numba.config.NUMBA_NUM_THREADS)
parallel.snt_check = parallel.gen_snt_check()


@pytest.fixture
def no_collections():
    """No garbage is collected meanwhile, so that a signal which a test sends itself is heard.

    An exception that is raised within a function of `gc.callbacks` is lost, and Hypothesis has one
    there. In a process of a million objects a collection takes a tenth of a second, and a signal
    that comes then is served in that function.
    """
    gc.disable()
    yield
    gc.enable()
