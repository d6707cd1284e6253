"""zc.zkzeo.ClientStorage in the place of ZEO.ClientStorage.ClientStorage."""

import concurrent.futures
import contextlib
import ctypes
import doctest
import functools
import signal
import sys
import threading
from unittest import mock

import ZEO.ClientStorage
from zc.zkzeo import ClientStorage
from zc.zkzeo._views import Cache, Server

from freezing import freeze

ORIGINAL = ZEO.ClientStorage.ClientStorage


@functools.cache
def _derived(cls):
    """The same class, derived from ours."""
    if cls is ORIGINAL:
        return ClientStorage
    bases = tuple(_derived(b) if issubclass(b, ORIGINAL) else b for b in cls.__bases__)
    namespace = {k: v for k, v in vars(cls).items() if k not in ('__dict__', '__weakref__')}
    return type(cls.__name__, bases, namespace)


_active = False


def _new(cls, *args, **kw):
    """Instances are made of ours also where a test has got hold of the class itself."""
    if not _active:
        return object.__new__(cls)
    return _derived(cls)(*args, **kw)


# it stays: a class whose __new__ was deleted again refuses arguments
ORIGINAL.__new__ = _new


def _ours(namespace):
    """{name: class} of all clients in a namespace."""
    return {name: _derived(value) for name, value in namespace.items()
            if isinstance(value, type) and issubclass(value, ORIGINAL)}


def _call(self, method, *args, _call=Server.call, **kw):
    """Tests vote with id(transaction), which is what ZEO's client calls it at the server."""
    if method != 'vote':
        return _call(self, method, *args, **kw)
    txn = ctypes.cast(args[0], ctypes.py_object).value
    future = concurrent.futures.Future()

    def vote():
        try:
            future.set_result(self._storage.tpc_vote(txn))
        except Exception as e:
            future.set_exception(e)
    threading.Thread(target=vote, daemon=True).start()
    return future


@contextlib.contextmanager
def installed(test):
    """In every place where the package, its tests and `test` itself look for a client."""
    with contextlib.ExitStack() as stack:
        for name, module in list(sys.modules.items()):
            if name == 'ZEO' or name.startswith('ZEO.'):
                stack.enter_context(mock.patch.dict(vars(module), _ours(vars(module))))
        stack.enter_context(mock.patch.object(Server, 'call', _call))
        # only whether there is anything is asked
        stack.enter_context(mock.patch.object(
            Cache, 'contents', lambda self: range(len(self)), create=True))
        if isinstance(test, doctest.DocTestCase):
            globs = test._dt_test.globs
            stack.enter_context(mock.patch.dict(globs, _ours(globs)))
        stack.enter_context(mock.patch.dict(globals(), _active=True))
        yield


@contextlib.contextmanager
def answered_when_looked(processes):
    """A test looks whether prefetch() returns before its answers are there: the server, the last of `processes`, waits
    until it has looked."""
    stopped = []
    prefetch, size = ClientStorage.prefetch, Cache.__len__

    def stop_and_prefetch(self, *args):
        freeze(processes[-1])
        stopped.append(processes[-1])
        return prefetch(self, *args)

    def look(self):
        found = size(self)
        while stopped:
            stopped.pop().send_signal(signal.SIGCONT)
        return found

    with mock.patch.object(ClientStorage, 'prefetch', stop_and_prefetch), mock.patch.object(Cache, '__len__', look):
        yield
