"""ZooKeeper as the package zc.zk 2.1 showed it, on a session of our own."""

import atexit
import collections
import collections.abc
import itertools
import json
import logging
import os
import queue
import threading
import time
import weakref

from . import _zkzeo
from ._zookeeper_errors import (BadPropertyLink, CancelWatch, FailedConnect, LinkLoop,
                                NodeExistsError, NoNodeError)

logger = logging.getLogger('zc.zk')

Id = collections.namedtuple('Id', 'scheme id')
ACL = collections.namedtuple('ACL', 'perms id')
OPEN_ACL_UNSAFE = [ACL(31, Id('world', 'anyone'))]
READ_ACL_UNSAFE = [ACL(1, Id('world', 'anyone'))]

ZnodeStat = collections.namedtuple('ZnodeStat', (
    'czxid mzxid ctime mtime version cversion aversion ephemeralOwner dataLength numChildren '
    'pzxid'))

EPHEMERAL, SEQUENCE = 1, 2


def parse_addr(addr):
    """('host', port) of 'host:port' or '[IPv6]:port'."""
    host, _, port = addr.rpartition(':')
    return host.strip('[]'), int(port)


def encode(properties):
    """The data of a node that has these properties."""
    if len(properties) == 1 and isinstance(properties.get('string_value'), str):
        return properties['string_value'].encode('utf-8', 'surrogateescape')
    return json.dumps(properties, separators=(',', ':')).encode()


def decode(data, path='?'):
    """The properties that a node's data means."""
    text = (data or b'').decode('utf-8', 'surrogateescape')
    stripped = text.strip()
    if not stripped:
        return {}
    if stripped.startswith('{') and stripped.endswith('}'):
        try:
            return json.loads(stripped)
        except ValueError:
            logger.exception('bad json data in node at %r', path)
    return {'string_value': text}


def _say(level, text):
    if level:
        logger.log(level, '%s', text)
    else:
        print(text)


def _log_or_tell(watches, item):
    key, first, second = item
    if key is None:
        logger.log(first, '%s', second)
        return
    watch = watches.get(key)
    if watch is not None:
        watch._event(first, second)


def _dispatch(events, watches):
    """The thread on which callbacks run: they may do anything, ask ZooKeeper included."""
    while True:
        item = events.get()
        if item is None:
            return
        try:
            _log_or_tell(watches, item)
        except Exception:
            logger.exception('telling of a change')
        item = None


_open = weakref.WeakSet()


@atexit.register
def _close_all():
    for zk in list(_open):
        zk.close()


class ZooKeeper(_zkzeo.ZooKeeper):
    """A session with ZooKeeper, and trees of nodes in it.

    connection_string
      HOST:PORT,...; by default the environment's ZC_ZK_CONNECTION_STRING, or 127.0.0.1:2181.
    session_timeout
      Seconds after which ZooKeeper gives up a process that does not answer (10).
    wait
      Try until ZooKeeper is there, where FailedConnect would be raised.

    A session that is lost is replaced by another one: what is watched is watched on, what was
    registered is registered again.
    """

    def __init__(self, connection_string=None, session_timeout=None, wait=False):
        if not connection_string:
            connection_string = os.environ.get('ZC_ZK_CONNECTION_STRING') or '127.0.0.1:2181'
        if not isinstance(connection_string, str):
            raise TypeError('a connection string, HOST:PORT,..., is wanted, not '
                            f'{type(connection_string).__name__}')
        self.connection_string = connection_string
        self.session_timeout = 10.0 if session_timeout is None else session_timeout
        self._events = queue.SimpleQueue()
        self._watches = weakref.WeakValueDictionary()
        self._ids = itertools.count()
        self._thread = None
        self._start_lock = threading.Lock()
        self._connect(wait)
        _open.add(self)

    def _connect(self, wait):
        while True:
            try:
                super().__init__(self.connection_string, self._events.put, self.session_timeout)
                return
            except FailedConnect:
                logger.critical("Can't connect to ZooKeeper at %r", self.connection_string)
                if not wait:
                    raise
                time.sleep(1)

    def _start_thread(self):
        with self._start_lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=_dispatch, args=(self._events, self._watches), name='zc.zk',
                    daemon=True)
                self._thread.start()

    def __del__(self):
        if hasattr(self, '_events'):
            self._events.put(None)

    def close(self):
        """End the session, and with it what was registered. Children and properties stay as they were."""
        super().close()
        self._events.put(None)

    # nodes

    def get(self, path):
        """(data, ZnodeStat) of a node."""
        data, stat = super().get(path)
        return data, ZnodeStat(*stat)

    def exists(self, path):
        """A node's ZnodeStat, or None."""
        stat = super().exists(path)
        return stat and ZnodeStat(*stat)

    def create(self, path, value=b'', acl=None, ephemeral=False, sequence=False, makepath=False):
        """Make a node; returns its path."""
        if makepath and path.rfind('/') > 0:
            self.ensure_path(path.rpartition('/')[0], acl)
        flags = EPHEMERAL * bool(ephemeral) + SEQUENCE * bool(sequence)
        return super().create(path, _bytes(value), acl, flags)

    def ensure_path(self, path, acl=None):
        """Make a node, and those above it, where they are missing."""
        parts = path.strip('/').split('/')
        for n in range(1, len(parts) + 1):
            part = '/' + '/'.join(parts[:n])
            if part != '/' and not self.exists(part):
                try:
                    self.create(part, b'', acl)
                except NodeExistsError:
                    pass  # made meanwhile

    def create_recursive(self, path, data, acl):
        """Make a node with this data, and those above it."""
        self.ensure_path(path, acl)
        self.set(path, data)

    def set(self, path, value, version=-1):
        """Replace a node's data; returns its ZnodeStat."""
        return ZnodeStat(*super().set(path, _bytes(value), version))

    def delete(self, path, version=-1, recursive=False):
        """Remove a node that has no children."""
        if recursive:
            self.delete_recursive(path, force=True)
        else:
            super().delete(path, version)

    def get_acls(self, path):
        """(access control list, ZnodeStat) of a node."""
        acl, stat = super().get_acls(path)
        return [ACL(perms, Id(scheme, id)) for perms, scheme, id in acl], ZnodeStat(*stat)

    def set_acls(self, path, acls, version=-1):
        """Replace a node's access control list."""
        super().set_acls(path, acls, version)

    def get_properties(self, path):
        """A node's properties, as a dictionary."""
        return decode(self.get(path)[0], path)

    def is_ephemeral(self, path):
        """Whether a node goes with its session."""
        return bool(self.get(path)[1].ephemeralOwner)

    # live objects

    def children(self, path):
        """The names of a node's children, kept up to date: a Children object."""
        return Children(self, path)

    def properties(self, path, watch=True):
        """A node's properties, kept up to date: a Properties object."""
        return Properties(self, path, watch)

    # servers

    def register(self, path, addr, acl=READ_ACL_UNSAFE, **kw):
        """Tell others of a server: a node below path that is there as long as the session.

        addr is (host, port) or a text; without a host each of this machine's addresses is
        registered. Keywords become properties; pid is one of them.
        """
        from zc.zk import event
        kw['pid'] = os.getpid()
        if not isinstance(addr, str):
            addr = '%s:%s' % tuple(addr)
        path = self.resolve(path)
        event.notify(RegisteringServer(addr, path, kw))
        self._start_thread()
        super().register(path, addr, encode(kw).decode(), acl, int(self.session_timeout * 1000))

    register_server = register

    # trees

    def import_tree(self, text, path='/', trim=None, acl=OPEN_ACL_UNSAFE, dry_run=False):
        """Make and change nodes below path as a text describes them.

        trim
          What to do with nodes below those of the text that the text has not got: None keeps them
          and prints that; False keeps them; True deletes them. Nodes at the top, and those that
          contain ephemeral ones, are never deleted.
        acl
          The access control list of the text's nodes.
        dry_run
          Only print what would be done.
        """
        super().import_tree(text, path, trim, acl, dry_run, _say)

    def export_tree(self, path='/', ephemeral=False, name=None):
        """A text that describes the nodes from path on, for import_tree()."""
        return super().export_tree(path, ephemeral, name)

    def print_tree(self, path='/'):
        """Print the nodes from path on, ephemeral ones as well."""
        print(self.export_tree(path, True), end='')

    def delete_recursive(self, path, dry_run=False, force=False, ignore_if_ephemeral=False):
        """Delete a node and all below it; without force, ephemeral ones and what they are in stay."""
        super().delete_recursive(path, dry_run, force, ignore_if_ephemeral, _say)

    def walk(self, path='/', ephemeral=True, children=False):
        """The paths from path on. With children the first item is (path, list of names), and names
        that are taken out of the list are not walked into; the others are paths."""
        try:
            if not ephemeral and self.is_ephemeral(path):
                return
            names = sorted(self.get_children(path))
        except NoNodeError:
            return
        yield (path, names) if children else path
        for name in names:
            yield from self.walk(_join(path, name), ephemeral)

    def ln(self, target, source):
        """Make a link at source that leads to target; a target that ends in '/' gets source's name."""
        base, name = source.rsplit('/', 1)
        if target.endswith('/'):
            target += name
        properties = self.get_properties(base or '/')
        properties[name + ' ->'] = target
        self.set(base or '/', encode(properties))

    def recv_timeout(self):
        """The session's timeout, in seconds."""
        return self.session_timeout




def _bytes(value):
    return value.encode() if isinstance(value, str) else bytes(value)


def _join(path, name):
    return ('' if path == '/' else path) + '/' + name


class Watch:
    """What Children and Properties have in common."""

    deleted = False
    of_children = False

    def __init__(self, zk, path, watch=True):
        self.zk = zk
        self.path = path
        self.watch = watch
        self.callbacks = []
        self._lock = threading.Lock()
        if watch:
            self._follow()
        else:
            self.real_path = zk.resolve(path)
            self.setData(self._read())

    def _read(self):
        if self.of_children:
            return self.zk.get_children(self.real_path)
        return self.zk.get(self.real_path)[0]

    def _follow(self):
        number = next(self.zk._ids)
        self.zk._watches[number] = self
        self.zk._start_thread()
        with self._lock:  # what changes at once waits for what was there first
            self._handle, self.real_path, data = self.zk.follow(
                number, self.path, self.of_children)
            self.setData(data)

    def _event(self, real_path, data):
        """It has changed, or (None) is gone."""
        with self._lock:
            self.deleted = real_path is None
            if self.deleted:
                self.data = {}
            else:
                self.real_path = real_path
                self.setData(data)
        if self.deleted:
            self._tell_deleted()
        else:
            self._tell()

    def setData(self, data):
        self.data = data

    def _tell_deleted(self):
        for callback in list(self.callbacks):
            try:
                callback()
            except TypeError:
                pass  # it is not interested
            except Exception:
                logger.exception('Error %r calling %r', self, callback)

    def _tell(self):
        for callback in list(self.callbacks):
            try:
                callback(self)
            except CancelWatch:
                self.callbacks.remove(callback)
                logger.debug('cancelled watch(%r, %r)', self, callback)
            except Exception:
                self.callbacks.remove(callback)
                logger.exception('watch(%r, %r)', self, callback)

    def __call__(self, callback):
        """Call it now, and at each change, with this object; without arguments when the node is deleted.

        A callback that raises is called no more. Returns this object, so that it is a decorator.
        """
        if not self.watch:
            raise TypeError("Can't set callbacks without watching.")
        self.callbacks.append(callback)  # first: a change meanwhile is not missed
        try:
            callback(self)
        except BaseException:
            self.callbacks.remove(callback)
            raise
        return self

    def __iter__(self):
        return iter(self.data)

    def __len__(self):
        return len(self.data)

    def __repr__(self):
        deleted = 'DELETED: ' if self.deleted else ''
        return f'{deleted}zc.zk.{type(self).__name__}({self.path})'


class Children(Watch):
    """The names of a node's children: iterable, with a length, and called with a callback."""

    of_children = True

    def __getitem__(self, index):
        return list(self.data)[index]

    def __contains__(self, name):
        return name in self.data


class Properties(Watch, collections.abc.Mapping):
    """A node's properties: a mapping that is written with set(), update() and item assignment."""

    def __init__(self, zk, path, watch=True, _linked=None):
        # path -> Properties that property links lead to; shared by all that they lead through
        self._linked = {} if _linked is None else _linked
        Watch.__init__(self, zk, path, watch)

    def setData(self, data):
        self.data = decode(data, self.path)
        self._link_all(handle_errors=True)

    def _link_all(self, handle_errors):
        """Follow what property links lead to: a change there is a change here."""
        for name, link in self.data.items():
            if not name.endswith(' =>') or name[:-3] in self.data:
                continue
            try:
                path, target = self._divide(name[:-3], link)
                self._follow_link(self.zk.resolve(path))[target]
            except Exception as e:
                if not handle_errors:
                    raise ValueError('Bad property link', name, link, e) from e
                logger.exception('Bad property link %r %r', name, link)

    def _divide(self, key, link):
        """Path and name of what a property link means."""
        parts = link.split()
        if not 1 <= len(parts) <= 2:
            raise ValueError('Bad link data')
        path = parts[0] if parts[0].startswith('/') else self.path + '/' + parts[0]
        return path, parts[1] if len(parts) == 2 else key

    def _follow_link(self, path):
        properties = self._linked.get(path)
        if properties is not None:
            return properties
        self._linked[self.real_path] = self
        properties = self._linked[path] = Properties(self.zk, path, self.watch, self._linked)
        if self.watch:
            properties.callbacks.append(_LinkChanged(self, path))
        return properties

    def __getitem__(self, key, seen=()):
        data = self.data
        if key in data:
            return data[key]
        link = data.get(key + ' =>')
        if link is None:
            raise KeyError(key)
        try:
            path, name = self._divide(key, link)
            path = self.zk.resolve(path)
            if path in seen:
                raise LinkLoop(seen + (path,))
            return self._follow_link(path).__getitem__(name, seen + (path,))
        except Exception as e:
            raise BadPropertyLink(e, f'in {key + " =>"!r}: {link!r}') from e

    def __iter__(self):
        for key in self.data:
            yield key[:-3] if key.endswith(' =>') else key

    def __contains__(self, key):
        return key in self.data or f'{key} =>' in self.data

    __hash__ = object.__hash__  # a mapping that changes has none of its own

    def copy(self):
        """The node's own properties, as a dictionary."""
        return dict(self.data)

    def _set(self, data):
        old, linked = self.data, self._linked
        self.data, self._linked = data, {}
        try:
            self._link_all(handle_errors=False)
            self.zk.set(self.real_path, encode(data))
        except BaseException:
            self.data, self._linked = old, linked
            raise

    def set(self, data=None, /, **properties):
        """Replace all properties."""
        self._set({**dict(data or {}), **properties})

    def update(self, data=None, /, **properties):
        """Change some properties."""
        self._set({**self.data, **dict(data or {}), **properties})

    def __setitem__(self, key, value):
        self.update({key: value})


class _LinkChanged:
    """The callback of a property link: tells those who look through it."""

    def __init__(self, owner, path):
        self._owner = weakref.ref(owner)
        self._path = path

    def __call__(self, properties=None):
        owner = self._owner()
        if owner is None or (
                properties is not None and owner._linked.get(self._path) is not properties):
            raise CancelWatch()
        if properties is None:
            owner._linked.pop(self._path, None)
            owner._link_all(handle_errors=True)
        owner._tell()


class ParseNode:
    """A node of a tree that was read from a text."""

    def __init__(self, name='', properties=None, **children):
        self.name = name
        self.properties = properties or {}
        self.children = children
        for key, child in children.items():
            child.name = key


def parse_tree(text, node_class=ParseNode):
    """The root of the tree that a text describes: a node with .name, .properties and .children."""
    return _parsed('', json.loads(_zkzeo.parse_tree(text)), node_class)


def _parsed(name, node, node_class):
    result = node_class(name, node['properties'])
    for child, content in node['children'].items():
        result.children[child] = _parsed(child, content, node_class)
    return result


class RegisteringServer:
    """Told to event.notify() before a server is registered.

    name, path: the server's name, and the path it is registered at. properties: a dictionary
    that becomes the node's data; who is told may add to it.
    """

    def __init__(self, name, path, properties):
        self.name = name
        self.path = path
        self.properties = properties

    def __repr__(self):
        return f'RegisteringServer({self.name!r}, {self.path!r}, {self.properties!r})'
