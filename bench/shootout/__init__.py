"""A section for zodbshootout: %import shootout, then <client> with a server and the module of a ClientStorage."""

import importlib

import ZODB.config


class Client(ZODB.config.ZEOClient):
    """What zodbshootout takes for ZEO's own section, with a class of our choice."""

    def open(self):
        client = importlib.import_module(self.config.module).ClientStorage
        storage = client(self.config.server.address, wait_timeout=30)
        if not hasattr(storage._cache, 'clear'):
            raise RuntimeError('zodbshootout cannot clear this cache: "cold" would not be cold')
        return storage
