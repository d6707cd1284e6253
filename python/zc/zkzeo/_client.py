"""Clients whose servers are those registered at a path in ZooKeeper."""

import logging

from ._storage import ClientStorage
from ._zkzeo import Finder

logger = logging.getLogger('zc.zkzeo')


class Addresses:
    """The servers there are now, as their names in ZooKeeper: an iterable."""

    def __init__(self, finder):
        self._finder = finder

    def __iter__(self):
        return iter([_text(a) for a in self._finder.addresses()])

    def __len__(self):
        return len(self._finder.addresses())

    def __repr__(self):
        return f'<Addresses {list(self)}>'


def _text(address):
    if isinstance(address, str):
        return address
    host, port = address
    return f'[{host}]:{port}' if ':' in host else f'{host}:{port}'


def _log(level, name, text):
    logging.getLogger(name).log(level, text)


def client(zookeeper_connection_string, path, *args,
           wait_for_server_on_startup=None, **kw):
    """A ClientStorage whose servers are those registered at a path in ZooKeeper.

    Waits for one to be there, and for a connection to it, unless `wait` (or
    `wait_for_server_on_startup`, its older name) is false. ZooKeeper that cannot be reached is an
    error at once.
    """
    if wait_for_server_on_startup is not None:
        kw.setdefault('wait', wait_for_server_on_startup)
    wait = bool(kw.get('wait', True))
    kw.setdefault('name', f'<{zookeeper_connection_string}{path}>')
    finder = Finder(zookeeper_connection_string, path, wait, _log)
    try:
        # the servers come with the finder: until then there is nothing to be waited for
        storage = ClientStorage([], *args, **{**kw, 'wait': False})
    except BaseException:
        finder.close()
        raise
    try:
        storage.zookeeper_addresses = Addresses(finder)
        storage._addr = finder.addresses()
        finder.attach(storage)
        if wait:
            storage._wait()
    except BaseException:
        storage.close()
        finder.close()
        raise
    return storage


def DB(zookeeper_connection_string, path, *args, **kw):
    """A ZODB.DB on such a client; arguments as client()."""
    import ZODB
    storage = client(zookeeper_connection_string, path, *args, **kw)
    try:
        return ZODB.DB(storage)
    except BaseException:
        storage.close()
        raise


def connection(zookeeper_connection_string, path, *args, **kw):
    """A connection to such a database, which is closed with it."""
    db = DB(zookeeper_connection_string, path, *args, **kw)
    try:
        return db.open_then_close_db_when_connection_closes()
    except BaseException:
        db.close()
        raise


class ZConfig:
    """A <zkzeoclient> section."""

    def __init__(self, config):
        self.config = config
        self.name = config.getSectionName()

    def open(self):
        paths = [server.address for server in self.config.server]
        if len(paths) > 1:
            raise TypeError('Only one server option is allowed')
        path = paths[0]
        if not isinstance(path, str) or not path.startswith('/'):
            raise TypeError(f'server must be a ZooKeeper path, {path!r}')
        return client(self.config.zookeeper, path, **_options(self.config))


# Keys whose absence means ClientStorage's own default.
OPTIONAL = ('blob_cache_size', 'blob_cache_size_check', 'client_label', 'max_disconnect_poll')


def _options(config):
    options = {name: getattr(config, name) for name in (
        'storage', 'cache_size', 'blob_dir', 'shared_blob_dir', 'client', 'var',
        'min_disconnect_poll', 'wait', 'wait_timeout', 'read_only', 'read_only_fallback',
        'drop_cache_rather_verify', 'server_sync', 'username', 'password', 'realm')}
    options.update({name: getattr(config, name) for name in OPTIONAL
                    if getattr(config, name) is not None})
    if config.name:
        options['name'] = config.name
    if config.cache_path:
        options['cache'] = config.cache_path
    if config.ssl:
        options['ssl'], options['ssl_server_hostname'] = config.ssl
    return options
