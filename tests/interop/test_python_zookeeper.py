"""Clients that find their servers, servers for tests, and the Nagios plugin, with a ZooKeeper.

What the documentation and the tests of zc.zkzeo 1.0.1 show is shown here again. Left out is what looked
into the processes of that time:

- the connection manager's repr (`<ConnectionManager for []>`): there is none; what it stood for,
  the addresses now, is `client.zookeeper_addresses`
- `zc.monitor.last_listener`, `zc.zk.monitor._servers`: the monitor is a part of the server's process,
  so a test cannot change what it says; what the plugin says of several servers and of none is shown with
  a monitor of the test's own
- `stop.server._ZKServer__zk.recv_timeout()`: the session is the server's; test_registration.py
  has its timeout
- the thread 'zookeeper_registration_thread': its effect is shown, not its name
- the mocked ZooKeeper and network interfaces: these are real here
"""

import io
import json
import re
import socketserver
import subprocess
import threading
import time

import pytest
import transaction
import ZConfig
import ZEO
import ZODB.config
from kazoo.client import KazooClient
from ZEO.Exceptions import ClientDisconnected

import zc.zk
import zc.zkzeo
import zc.zkzeo.nagios
import zc.zkzeo.runzeo

WAIT_S = 30
NOWHERE = '127.0.0.1:1'  # nobody listens there


def wait_for(condition, seconds=WAIT_S):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, 'it did not come'
        time.sleep(0.01)  # another process tells nobody


@pytest.fixture
def serve(zookeeper, zk_path, tmp_path):
    """serve(zookeeper section's lines, storage, address): a server at the test's path; stop()."""
    stops = []

    def make(lines='', storage=None, address='127.0.0.1', connection=zookeeper):
        storage = storage or f'<filestorage>\npath {tmp_path}/demo.fs\n</filestorage>'
        stop = zc.zkzeo.runzeo.test(
            f'<zeo>\naddress {address}\n</zeo>\n<zookeeper>\nconnection {connection}\n'
            f'path {zk_path}\n{lines}\n</zookeeper>\n{storage}\n')
        stops.append(stop)
        return stop
    yield make
    for stop in stops:
        assert stop().exception is None


def section(zookeeper, path, *lines):
    return '\n'.join(('%import zc.zkzeo', '<zkzeoclient>', f'zookeeper {zookeeper}',
                      f'server {path}', 'max-disconnect-poll 1', *lines, '</zkzeoclient>'))


def messages(caplog):
    return [(r.levelname, r.getMessage()) for r in caplog.records if r.name == 'zc.zkzeo']


def test_server_and_its_node(serve, kazoo, zk_path):
    stop = serve()
    [name] = kazoo.get_children(zk_path)
    assert name == '%s:%d' % stop.server.address
    assert json.loads(kazoo.get(f'{zk_path}/{name}')[0]) == {'pid': stop.server.process.pid}
    assert stop() is stop.server and stop.server.exception is None
    assert not stop.server.is_alive()
    assert kazoo.get_children(zk_path) == []


@pytest.mark.parametrize('monitor', ['127.0.0.1', './monitor.sock'])
def test_monitor(serve, kazoo, zk_path, tmp_path, monkeypatch, monitor):
    monkeypatch.chdir(tmp_path)
    serve(f'monitor-server {monitor}')
    [name] = kazoo.get_children(zk_path)
    properties = json.loads(kazoo.get(f'{zk_path}/{name}')[0])
    if monitor == '127.0.0.1':
        assert re.fullmatch(r'127\.0\.0\.1:\d+', properties['monitor'])
        zc.zkzeo.nagios._connect(properties['monitor']).close()
    else:
        assert list(properties) == ['pid']
        zc.zkzeo.nagios._connect(monitor).close()


def test_a_path_and_nothing_else(zookeeper, zk_path, kazoo, tmp_path):
    """test(path, storage, zookeeper)"""
    for storage in (None, str(tmp_path / 'x.fs'), '<mappingstorage>\n</mappingstorage>'):
        stop = zc.zkzeo.runzeo.test(zk_path, storage, zookeeper)
        assert kazoo.get_children(zk_path) == ['%s:%d' % stop.server.address]
        stop()
    assert (tmp_path / 'x.fs').exists()


def test_all_zookeeper_keys_are_optional(tmp_path):
    stop = zc.zkzeo.runzeo.test('<zeo>\naddress :\n</zeo>\n<zookeeper>\n</zookeeper>\n'
                                '<mappingstorage>\n</mappingstorage>\n')
    client = ZEO.client(('127.0.0.1', stop.server.address[1]), wait_timeout=WAIT_S)
    assert client.is_connected()
    client.close()
    assert stop().exception is None


def test_an_empty_host_is_registered_as_one_that_others_reach(serve, kazoo, zk_path):
    serve(address=':')
    names = kazoo.get_children(zk_path)
    assert names and not any(n.startswith((':', '0.0.0.0')) for n in names)


@pytest.mark.parametrize('address', ['127.0.0.1', ':0'])
def test_a_server_with_any_port_fails_without_zookeeper(address):
    config = (f'<zeo>\naddress {address}\n</zeo>\n<zookeeper>\nconnection {NOWHERE}\n'
              'path /databases/demo\n</zookeeper>\n<mappingstorage>\n</mappingstorage>\n')
    for threaded in (False, True):
        with pytest.raises(zc.zkzeo.runzeo.ServerFailed, match=NOWHERE):
            zc.zkzeo.runzeo.test(config, threaded=threaded)


def test_a_server_with_a_port_serves_without_zookeeper(serve, free_address, root, tmp_path):
    """... and registers itself when there is one."""
    folder = tmp_path / 'zookeeper'
    folder.mkdir()

    def zookeeper(what):
        run = subprocess.run([root / 'scripts' / 'zookeeper-test', what, folder], check=True,
                             capture_output=True, text=True, timeout=60)
        return run.stdout.split()[-1:]

    [connection] = zookeeper('start')
    zookeeper('stop')
    stop = zc.zkzeo.runzeo.test(
        '<zeo>\naddress %s:%d\n</zeo>\n' % free_address +
        f'<zookeeper>\nconnection {connection}\npath /databases/demo\n</zookeeper>\n'
        '<mappingstorage>\n</mappingstorage>\n')
    client = zc.zkzeo.ClientStorage(stop.server.address, wait_timeout=WAIT_S)
    complaint = f"Can't connect to ZooKeeper at '{connection}'"
    wait_for(lambda: any('CRITICAL' in line and complaint in line for line in stop.server._lines))
    assert zookeeper('start') == [connection]
    try:
        zk = KazooClient(hosts=connection)
        zk.start(timeout=WAIT_S)
        zk.ensure_path('/databases/demo')
        wait_for(lambda: zk.get_children('/databases/demo') == ['%s:%d' % free_address])
        assert client.is_connected()
        zk.stop()
        zk.close()
    finally:
        client.close()
        stop()
        zookeeper('stop')


def test_clients_follow(zookeeper, zk_path, serve, kazoo, caplog):
    """From Python and from a configuration; a server goes, and comes again elsewhere."""
    caplog.set_level('INFO', 'zc.zkzeo')
    stop = serve()
    client = zc.zkzeo.client(zookeeper, zk_path, max_disconnect_poll=1)
    assert list(client.zookeeper_addresses) == kazoo.get_children(zk_path)
    db = zc.zkzeo.DB(zookeeper, zk_path, max_disconnect_poll=1)
    exconn = zc.zkzeo.connection(zookeeper, zk_path, max_disconnect_poll=1)
    configured = ZODB.config.databaseFromString(
        section(zookeeper, zk_path).replace('<zkzeoclient>', '<zodb>\n<zkzeoclient>') + '\n</zodb>')
    with configured.transaction() as conn:
        conn.root.x = 1
    from_py = ZODB.DB(client)
    for database in (from_py, db, exconn.db()):
        database.storage.ping()
        with database.transaction() as conn:
            assert conn.root() == {'x': 1}
    with transaction.manager:
        assert exconn.root() == {'x': 1}

    storages = [client, configured.storage, db.storage, exconn.db().storage]
    where = f'<{zookeeper}{zk_path}>'
    caplog.clear()
    stop()
    wait_for(lambda: not any(s.is_connected() for s in storages))
    wait_for(lambda: len(messages(caplog)) == 4)
    assert messages(caplog) == [('WARNING', f'No addresses from {where}')] * 4
    assert list(client.zookeeper_addresses) == []
    caplog.clear()

    stop = serve()
    name = '%s:%d' % stop.server.address
    wait_for(lambda: all(s.is_connected() for s in storages))
    wait_for(lambda: len(messages(caplog)) == 8)
    assert sorted(messages(caplog)) == sorted(
        [('WARNING', f'OK: Addresses from {where}'),
         ('INFO', f"Addresses from {where}: ['{name}']")] * 4)
    with configured.transaction() as conn:
        conn.root.x = 2
    for database in (from_py, db, exconn.db()):
        database.storage.ping()
        with database.transaction() as conn:
            assert conn.root() == {'x': 2}
    exconn.close()
    with pytest.raises(ClientDisconnected):
        storages[3].ping()
    for database in (from_py, db, configured):
        database.close()


def test_an_empty_path_is_waited_for(zookeeper, zk_path, serve, caplog):
    caplog.set_level('INFO', 'zc.zkzeo')
    where = f'<{zookeeper}{zk_path}>'
    results = []
    threads = [threading.Thread(target=lambda f=f: results.append(f())) for f in (
        lambda: zc.zkzeo.client(zookeeper, zk_path, max_disconnect_poll=1),
        lambda: ZODB.config.storageFromString(section(zookeeper, zk_path)))]
    for t in threads:
        t.start()
    wait_for(lambda: len(messages(caplog)) == 2)
    assert messages(caplog) == [('WARNING', f'No addresses from {where}')] * 2
    assert all(t.is_alive() for t in threads)
    caplog.clear()
    stop = serve()
    for t in threads:
        t.join(WAIT_S)
    assert [c.is_connected() for c in results] == [True, True]
    name = '%s:%d' % stop.server.address
    assert sorted(messages(caplog)) == sorted(
        [('WARNING', f'OK: Got addresses from {where}'),
         ('INFO', f"Addresses from {where}: ['{name}']")] * 2)
    for client in results:
        client.close()


def test_an_empty_path_is_not_waited_for(zookeeper, zk_path, serve, caplog):
    caplog.set_level('INFO', 'zc.zkzeo')
    where = f'<{zookeeper}{zk_path}>'
    clients = [
        zc.zkzeo.client(zookeeper, zk_path, max_disconnect_poll=1, wait=False),
        zc.zkzeo.client(zookeeper, zk_path, wait_for_server_on_startup=False),
        ZODB.config.storageFromString(section(zookeeper, zk_path, 'wait false'))]
    assert not any(c.is_connected() for c in clients)
    assert messages(caplog) == [('WARNING', f'No addresses from {where}')] * 3
    caplog.clear()
    stop = serve()
    wait_for(lambda: all(c.is_connected() for c in clients))
    name = '%s:%d' % stop.server.address
    assert sorted(messages(caplog)) == sorted(
        [('WARNING', f'OK: Addresses from {where}'),
         ('INFO', f"Addresses from {where}: ['{name}']")] * 3)
    for client in clients:
        client.close()


@pytest.mark.parametrize('start', [
    lambda: zc.zkzeo.client(NOWHERE, '/mydb'),
    lambda: ZODB.config.storageFromString(section(NOWHERE, '/databases/demo'))])
def test_no_zookeeper(start):
    with pytest.raises(zc.zkzeo.FailedConnect, match=NOWHERE):
        start()
    assert zc.zk.FailedConnect is zc.zkzeo.FailedConnect


def test_no_such_path(zookeeper):
    with pytest.raises(zc.zk.NoNodeError, match='/not/there'):
        zc.zkzeo.client(zookeeper, '/not/there')


def test_configuration_errors(zookeeper):
    with pytest.raises(TypeError, match='Only one server option is allowed'):
        ZODB.config.storageFromString(section(zookeeper, '/a', 'server /b'))
    with pytest.raises(TypeError, match='server must be a ZooKeeper path'):
        ZODB.config.storageFromString(section(zookeeper, 'localhost:8100'))
    with pytest.raises(ZConfig.ConfigurationError, match='zookeeper'):
        ZODB.config.storageFromString(
            '%import zc.zkzeo\n<zkzeoclient>\nserver /a\n</zkzeoclient>')


def keys_of(schema, name):
    return {key for key, _ in schema.gettype(name) if key}


def test_all_keys_of_the_released_sections():
    """<zkzeoclient> has those of <zeoclient> and of <clientstorage>."""
    schema = ZConfig.loadSchemaFile(
        io.StringIO('<schema><import package="ZODB"/><import package="ZEO"/>'
                    '<import package="zc.zkzeo"/></schema>'))
    ours = keys_of(schema, 'zkzeoclient')
    assert keys_of(schema, 'zeoclient') | keys_of(schema, 'clientstorage') <= ours
    assert 'zookeeper' in ours


def test_all_keys_arrive(zookeeper, zk_path, serve, tmp_path):
    serve(storage=f'<mappingstorage second>\n</mappingstorage>\n<blobstorage 1>\n'
                  f'blob-dir {tmp_path}/blobs\n<mappingstorage>\n</mappingstorage>\n</blobstorage>')
    storage = ZODB.config.storageFromString(section(
        zookeeper, zk_path, 'storage 1', 'name me', 'cache-size 1MB', 'client c',
        f'var {tmp_path}', f'blob-dir {tmp_path}/cache', 'blob-cache-size 5MB',
        'blob-cache-size-check 20', 'wait-timeout 7', 'min-disconnect-poll 2', 'read-only on',
        'server-sync on', 'client-label l', 'username u', 'password p', 'realm r',
        'drop-cache-rather-verify on'))
    assert storage.getName() == 'me (connected)'
    assert storage.isReadOnly() and storage.server_sync
    assert (storage._cache.maxsize, storage._server.timeout) == (1 << 20, 7)
    assert storage._blob_cache_size == 5 << 20 and storage._blob_cache_size_check == 1 << 20
    assert (tmp_path / 'c-1.zec').exists() and (tmp_path / 'cache' / 'tmp').exists()
    storage.close()
    storage = ZODB.config.storageFromString(section(
        zookeeper, zk_path, 'storage second', f'cache-path {tmp_path}/x.zec',
        'read-only-fallback on'))
    assert storage._storage == 'second' and (tmp_path / 'x.zec').exists()
    assert not storage.isReadOnly()
    storage.close()


def test_zodburi(zookeeper, zk_path, serve):
    """As an entry point of an installed package: test_python_package.py."""
    from zc.zkzeo._uri import resolver
    serve()
    factory, rest = resolver(
        f'zkzeo://{zookeeper}{zk_path}?cache_size=2MB&wait_timeout=9&server_sync=yes'
        '&connection_pool_size=3&database_name=x')
    assert rest == {'connection_pool_size': '3', 'database_name': 'x'}
    storage = factory()
    assert storage.is_connected() and storage.server_sync
    assert (storage._cache.maxsize, storage._server.timeout) == (2 << 20, 9)
    storage.close()
    for uri in ('zkzeo://localhost', 'zkzeo:///databases/demo'):
        with pytest.raises(ValueError, match='expected zkzeo://HOST:PORT/PATH'):
            resolver(uri)


class Monitor(socketserver.ThreadingUnixStreamServer):
    """Answers `servers` with what the test wants."""

    class RequestHandlerClass(socketserver.StreamRequestHandler):
        def handle(self):
            assert self.rfile.readline().startswith(b'servers /')
            self.wfile.write(self.server.answer.encode())

    def __init__(self, path):
        super().__init__(path, self.RequestHandlerClass)
        threading.Thread(target=self.serve_forever, daemon=True).start()


def test_nagios(zookeeper, zk_path, serve, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def check(*args):
        status = zc.zkzeo.nagios.main([*args, zookeeper, zk_path])
        return status, capsys.readouterr().out

    assert check() == (2, "Couldn't find server in ZooKeeper\n")
    assert check('-m', '-sstatus', '-M./sock') == (
        2, "Can't connect [Errno 2] No such file or directory\n")
    stop = serve('monitor-server ./sock', '<mappingstorage>\n</mappingstorage>')
    empty = "Empty storage '1'"
    assert check() == (1, f'{empty}\n')
    metrics = f'{empty}|active_txns=0\n| connections=0\n waiting=0\n'
    assert check('-m', '-sstatus') == (1, metrics)
    status, text = check('-m', '-sstatus')
    assert status == 1 and text.startswith(metrics.rstrip('\n')) and '\n commits=0.0\n' in text
    assert check('-m', '-M./sock') == (1, metrics)
    name = '%s:%d' % stop.server.address
    for monitor in (None, './sock'):
        assert zc.zkzeo.nagios.find_server(zookeeper, zk_path, monitor) == name


def test_nagios_with_several_servers(zookeeper, zk_path, serve, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = serve(storage='<mappingstorage>\n</mappingstorage>')
    serve(storage='<mappingstorage>\n</mappingstorage>')
    name = '%s:%d' % first.server.address

    def find():
        return (zc.zkzeo.nagios.find_server(zookeeper, zk_path, './own'),
                capsys.readouterr().out)

    assert zc.zkzeo.nagios.find_server(zookeeper, zk_path, None) is None
    assert capsys.readouterr().out == "Couldn't find server in ZooKeeper\n"
    with Monitor('./own') as monitor:
        for monitor.answer, found, text in (
                (f'{name}\n', name, ''),
                (f':{first.server.address[1]}\n', name, ''),
                (f'{name} {name}\n', name, ''),
                (f'{name} foo.com:1\n', None, "Too many servers, "),
                ('foo.com:1\n', None, "Couldn't find server in ZooKeeper\n"),
                ('\n', None, "No servers at: './own'\n"),
                ('Invalid path\n', None, "Invalid path at './own'\n")):
            server, output = find()
            assert server == found and output.startswith(text)
        monitor.shutdown()
