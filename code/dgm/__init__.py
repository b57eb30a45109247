"""Deep generative models, short and tested: the companion package of the textbook that runs.

Import what you need from its module, e.g. ``from dgm.autoregressive.made import MADE``.
"""

__version__ = "0.1.0"
