"""ClientStorage: the client in C with the face of ZEO.ClientStorage."""

import atexit
import logging
import os
import threading
import time
import weakref

import ZODB.BaseStorage
import ZODB.blob
import ZODB.event
import ZODB.interfaces
import zope.interface
from ZEO.ClientStorage import BlobCacheLayout, TransactionIterator
from ZEO.Exceptions import ClientDisconnected
from ZEO.interfaces import StaleCache
from ZODB.ConflictResolution import ConflictResolvingStorage
from ZODB.POSException import Unsupported

from . import _zkzeo
from ._replies import decode, result
from ._views import Cache, Connection, Server

# what users of ZEO's client watch
logger = logging.getLogger('ZEO.ClientStorage')

MB = 1024 ** 2

# What a server may offer beyond a plain storage, as its get_info says it.
OFFERED = (
    ZODB.interfaces.IStorageRestoreable,
    ZODB.interfaces.IStorageIteration,
    ZODB.interfaces.IStorageUndoable,
    ZODB.interfaces.IStorageCurrentRecordIteration,
    ZODB.interfaces.IBlobStorage,
    ZODB.interfaces.IExternalGC,
)

_opened = weakref.WeakSet()


@atexit.register
def _close_all():
    """No thread of ours may need the interpreter when it is gone."""
    for storage in list(_opened):
        try:
            storage.close()
        except Exception:  # a subclass's; the others are closed all the same
            logger.exception('%s could not be closed', storage.__name__)


def _normalize(addr):
    """A list of addresses, from all that ZEO takes for one or some."""
    if isinstance(addr, int):
        addr = '127.0.0.1', addr
    if isinstance(addr, str):
        return [addr]
    if (isinstance(addr, tuple) and len(addr) == 2 and isinstance(addr[0], str)
            and isinstance(addr[1], int)):
        return [addr]
    return [tuple(a) if isinstance(a, list) else a for a in addr]


def _cache_path(cache, client, var, storage):
    if cache is None:
        return client and os.path.join(var or os.getcwd(), f'{client}-{storage}.zec')
    if isinstance(cache, (str, bytes, os.PathLike)):
        return cache
    raise TypeError(f'cache must be a path or None, not {cache!r}: '
                    'this client has a cache of its own')


@zope.interface.implementer(ZODB.interfaces.IMultiCommitStorage)
class ClientStorage(_zkzeo.Client, ConflictResolvingStorage):
    """A storage that is a client of a ZEO server, as ZEO.ClientStorage.ClientStorage is.

    Arguments are those of that class. Different are:

    cache
        a path, or None; not an object
    ssl
        an SSLContext, through which the bytes go by way of a thread in Python
    min_disconnect_poll, max_disconnect_poll
        obeyed: seconds between two attempts to connect
    """

    _db = None

    def __init__(self, addr, storage='1', cache_size=20 * MB,
                 name='', wait_timeout=None,
                 disconnect_poll=None,
                 read_only=0, read_only_fallback=0,
                 blob_dir=None, shared_blob_dir=False,
                 blob_cache_size=None, blob_cache_size_check=10,
                 client_label=None,
                 cache=None,
                 ssl=None, ssl_server_hostname=None,
                 client=None, var=None,
                 min_disconnect_poll=1, max_disconnect_poll=None,
                 wait=True,
                 drop_cache_rather_verify=True,
                 credentials=None,
                 server_sync=False,
                 username=None, password=None, realm=None):
        if isinstance(addr, int):
            addr = '127.0.0.1', addr
        self.__name__ = name or str(addr)
        self._addr = addr
        self._storage = storage
        self._client_label = client_label
        self._iterators = weakref.WeakValueDictionary()
        self._iterator_ids = set()
        self._wait_timeout = wait_timeout or 30
        logger.info('%s %s (pid=%d) created %s/%s for storage: %r',
                    self.__name__, type(self).__name__, os.getpid(),
                    'RO' if read_only else 'RW',
                    'fallback' if read_only_fallback else 'normal', storage)
        self._read_only_fallback = read_only_fallback
        self.blob_dir, self.shared_blob_dir = blob_dir, shared_blob_dir
        self._blob_cache_size = blob_cache_size
        if blob_cache_size is not None:
            self._blob_cache_size_check = blob_cache_size * blob_cache_size_check // 100
        dialer = None
        if ssl is not None:
            from ._ssl import Dialer
            dialer = Dialer(ssl, ssl_server_hostname)
        path = _cache_path(cache, client, var, storage)
        self._cache_path, self._cache_size = path, cache_size
        self._open(
            storage=storage, name=self.__name__, label=client_label or None, cache_path=path,
            cache_bytes=cache_size, read_only=bool(read_only),
            read_only_fallback=bool(read_only_fallback), wait_timeout=self._wait_timeout,
            min_poll=min_disconnect_poll or 0, max_poll=max_disconnect_poll or 0,
            server_sync=bool(server_sync), dialer=dialer)
        _opened.add(self)
        try:
            self.fshelper = self._blob_folder(blob_cache_size_check)
            self._set_addresses(_normalize(addr))
            if wait:
                self._wait()
        except BaseException:
            self.close()
            raise

    def _blob_folder(self, check_percent):
        """Open it; what ZODB has for looking into it, or None."""
        if self.blob_dir is None:
            return None
        self._open_blobs(self.blob_dir, bool(self.shared_blob_dir), self._blob_cache_size,
                         check_percent)
        if self.shared_blob_dir:
            return ZODB.blob.FilesystemHelper(self.blob_dir)
        ZODB.blob.LAYOUTS.setdefault('zeocache', BlobCacheLayout())
        return ZODB.blob.FilesystemHelper(self.blob_dir, layout_name='zeocache')

    # ---- the connection ----

    def new_addr(self, addr):
        """The servers there are from now on."""
        self._addr = addr
        self._set_addresses(_normalize(addr))

    def close(self):
        """End it; calls that other threads wait for end with ClientDisconnected."""
        _opened.discard(self)
        if not self._close():
            # in the middle of a callback: the client cannot end as long as that runs
            threading.Thread(target=self._close, name='zkzeo close').start()

    def _wait(self, timeout=None):
        self._wait_connected(self._wait_timeout if timeout is None else timeout)

    @property
    def _server_addr(self):
        """The server as sortKey() names it, or None."""
        try:
            return self.sortKey()[len(self._storage) + 1:]
        except ClientDisconnected:
            return None

    @property
    def _is_read_only(self):
        return self.is_read_only()

    @property
    def _server(self):
        return Server(self)

    @property
    def _cache(self):
        return Cache(self)

    def getName(self):
        """The storage's name, and whether it is connected."""
        return '{} ({})'.format(
            self.__name__, 'connected' if self.is_connected() else 'disconnected')

    # ---- what the client tells; on the thread that reads ----

    def _connected(self):
        self.notify_connected(Connection(self), self._info)

    def notify_connected(self, conn, info):
        """Calls go through from now on. For subclasses; `conn` is a Connection, `info` a dict."""
        if self._db is not None:
            self._db.invalidateCache()
        logger.info('%s %s to storage: %s', self.__name__,
                    'Connected' if self._connection_generation <= 1 else 'Reconnected',
                    self._server_addr)
        offered = info.get('interfaces', ())
        for interface in OFFERED:
            if (interface.__module__, interface.__name__) in offered:
                zope.interface.alsoProvides(self, interface)

    def _disconnected(self):
        self.notify_disconnected()

    def notify_disconnected(self):
        """The connection is lost. For subclasses."""
        logger.info('%s Disconnected from storage: %r', self.__name__, self._server_addr)
        self._iterator_gc(True)

    def _stale_cache(self):
        ZODB.event.notify(StaleCache(self))

    def _log(self, level, name, text):
        logging.getLogger(name).log(level, text)

    def invalidateCache(self):
        """Anything may have changed."""
        if self._db is not None:
            self._db.invalidateCache()

    def invalidateTransaction(self, tid, oids):
        """Objects have changed."""
        if self._db is not None:
            self._db.invalidate(tid, oids)

    def registerDB(self, db):
        """Tell a database, from now on, what changes."""
        super().registerDB(db)
        self._db = db

    # ---- what the server has said of itself ----

    @property
    def _info(self):
        info = {'length': 0, 'size': 0, 'name': 'ZEO Client', 'supportsUndo': 0,
                'interfaces': ()}
        raw = self._raw_info()
        if raw is not None:
            info.update(decode(*raw))
        return info

    def __len__(self):
        """The number of objects, as the server has said it last."""
        return self._info['length']

    def getSize(self):
        """About the size in bytes, as the server has said it last."""
        return self._info['size']

    def supportsUndo(self):
        """Whether transactions can be undone."""
        return self._info['supportsUndo']

    # ---- calls ----

    def _call(self, method, *args, timeout=None):
        """The server's answer to a call of any of its methods."""
        return result(*self._raw_call(
            method, args, self._wait_timeout if timeout is None else timeout))

    def _async(self, method, *args):
        """A call without an answer."""
        self._cast(method, args)

    def loadSerial(self, oid, serial):
        """The data of one revision."""
        return self._call('loadSerial', oid, serial)

    def history(self, oid, size=1):
        """The newest revisions of an object, described."""
        return self._call('history', oid, size)

    def getTid(self, oid):
        """The id of the transaction that wrote an object last."""
        return self._call('getTid', oid)

    def record_iternext(self, next=None):
        """The next of all current records."""
        return self._call('record_iternext', next)

    def pack(self, t=None, referencesf=None, wait=1, days=0):
        """Pack the storage, at its server, which has its own idea of references."""
        t = (time.time() if t is None else t) - days * 86400
        return self._call('pack', t, wait)

    def undoInfo(self, first=0, last=-20, specification=None):
        """Transactions that could be undone."""
        return self._call('undoInfo', first, last, specification)

    def undoLog(self, first=0, last=-20, filter=None):
        """Transactions that could be undone; none with a filter, which cannot go to a server."""
        return [] if filter is not None else self._call('undoLog', first, last)

    def server_status(self, timeout=None):
        """What the server says of itself, a dictionary."""
        return self._call('server_status', timeout=timeout)

    def copyTransactionsFrom(self, other, verbose=0):
        """Copy all transactions of another storage."""
        ZODB.BaseStorage.copy(other, self, verbose)

    # ---- two-phase commit: what is beside the C code ----

    def tpc_finish(self, txn, f=None):
        """Commit; f(tid) is called in the order of transactions. Returns the tid."""
        try:
            return super().tpc_finish(txn, f)
        finally:
            self._iterator_gc()

    def tpc_abort(self, txn, timeout=None):
        """Give a transaction up."""
        try:
            super().tpc_abort(txn, timeout)
        finally:
            self._iterator_gc()

    # ---- blobs ----

    def temporaryDirectory(self):
        """A folder for blobs that are being written."""
        if self.fshelper is None:
            raise Unsupported('No blob cache directory is configured.')
        return self.fshelper.temp_dir

    def loadBlob(self, oid, serial):
        """The file of a blob, downloaded if it is not there."""
        try:
            return super().loadBlob(oid, serial)
        except ClientDisconnected:
            # what is there is there also when the storage is closed
            path = self.fshelper and self.fshelper.getBlobFilename(oid, serial)
            if path and os.path.exists(path):
                return path
            raise

    def openCommittedBlobFile(self, oid, serial, blob=None):
        """The file of a blob, opened for reading."""
        while True:
            path = self.loadBlob(oid, serial)
            try:
                if blob is None:
                    return open(path, 'rb')
                return ZODB.blob.BlobFile(path, 'r', blob)
            except FileNotFoundError:
                if self.shared_blob_dir:
                    raise
                # removed from the cache: it is downloaded again

    # ---- iteration ----

    def iterator(self, start=None, stop=None):
        """All transactions between two tids."""
        return self._setup_iterator(
            TransactionIterator, self._call('iterator_start', start, stop))

    def _setup_iterator(self, factory, iid, *args):
        self._iterators[iid] = iterator = factory(self, iid, *args)
        self._iterator_ids.add(iid)
        return iterator

    def _forget_iterator(self, iid):
        self._iterators.pop(iid, None)
        self._iterator_ids.remove(iid)

    def _iterator_gc(self, disconnected=False):
        """Tell the server of iterators that nobody has any more."""
        if not self._iterator_ids:
            return
        if disconnected:
            for iterator in list(self._iterators.values()):
                iterator._iid = -1
            self._iterators.clear()
            self._iterator_ids.clear()
            return
        gone = self._iterator_ids - set(self._iterators)
        self._iterators._last_gc = time.time()
        if gone:
            try:
                self._async('iterator_gc', list(gone))
            except ClientDisconnected:
                self._iterator_gc(True)
            else:
                self._iterator_ids -= gone
