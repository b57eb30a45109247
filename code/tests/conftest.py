"""What every test relies on."""

import signal

# A runner started in the background of a shell inherits "ignore Ctrl-C"; the tests of Ctrl-C need the usual.
signal.signal(signal.SIGINT, signal.default_int_handler)
