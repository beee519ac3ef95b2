"""What workers are given in tests: a law that cannot be sent, a call that ends its process."""

import os
import signal
import threading

from tnsim.measure import Gaussian

__all__ = ["Locked", "dying"]


def dying(fn, *args):
    """The process ends before it does anything."""
    os.kill(os.getpid(), signal.SIGKILL)


class _Own(Gaussian):
    def __init__(self, note, **fields):
        super().__init__(**fields)
        object.__setattr__(self, "note", note)

    def bound(self, domain, like):
        law = super().bound(domain, like)
        return type(self)(self.note, mean=law.mean, cov=law.cov)


class Locked(_Own):
    """A law that holds what cannot be sent."""

    def __init__(self, note=None, **fields):
        super().__init__(threading.Lock() if note is None else note, **fields)
