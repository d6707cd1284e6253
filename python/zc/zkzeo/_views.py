"""What ZEO's client is made of, as far as programs look at it."""

import concurrent.futures
import threading


class View:
    def __init__(self, storage):
        self._storage = storage


class Connection(View):
    """Of notify_connected()."""

    @property
    def verify_result(self):
        return self._storage._verify_result

    @property
    def protocol_version(self):
        return self._storage.protocol_version

    def get_peername(self):
        return self._storage._server_addr

    def is_read_only(self):
        return self._storage.is_read_only()

    def call_async(self, method, args):
        self._storage._async(method, *args)


class Server(View):
    """ClientStorage._server"""

    @property
    def client(self):
        return Connection(self._storage)

    @property
    def timeout(self):
        """Seconds for which calls wait for a connection."""
        return self._storage._wait_timeout

    @timeout.setter
    def timeout(self, seconds):
        self._storage._wait_timeout = seconds

    def is_connected(self):
        return self._storage.is_connected()

    def is_read_only(self):
        return self._storage.is_read_only()

    def call(self, method, *args, timeout=None, wait=True):
        if wait:
            return self._storage._call(method, *args, timeout=timeout)
        future = concurrent.futures.Future()

        def run():
            try:
                future.set_result(self._storage._call(method, *args, timeout=timeout))
            except Exception as e:
                future.set_exception(e)
        threading.Thread(target=run, daemon=True).start()
        return future

    def async_(self, method, *args):
        self._storage._async(method, *args)


class Cache(View):
    """ClientStorage._cache"""

    @property
    def path(self):
        return self._storage._cache_path

    @property
    def maxsize(self):
        return self._storage._cache_size

    def __len__(self):
        return self._storage._cache_stats()['entries']

    def stats(self):
        """What it holds and did: hits, misses, stores, evictions, entries, used, size."""
        return self._storage._cache_stats()

    def getLastTid(self):
        return self._storage.lastTransaction()

    def clear(self):
        """Forget what is in it."""
        self._storage._forget_cached()
