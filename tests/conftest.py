"""What holds for all tests."""

import signal

import numba
from numba.np.ufunc import parallel

# A shell that runs tests in the background has them ignore Ctrl-C, which some of them send.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# More threads than this machine may have cores, before Numba starts them: up to eight are tested.
parallel.NUM_THREADS = numba.config.NUMBA_NUM_THREADS = max(8, numba.config.NUMBA_NUM_THREADS)
parallel.snt_check = parallel.gen_snt_check()
