"""What holds for all tests."""

import signal

import numba

# A shell that runs tests in the background has them ignore Ctrl-C, which some of them send.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# More threads than this machine may have cores: sessions with up to eight are tested.
numba.config.NUMBA_NUM_THREADS = max(8, numba.config.NUMBA_NUM_THREADS)
