"""Conflicts of stock clients through a server: merged by it, by its resolver process, or not at all."""

import importlib
import os
import signal
import sys
import time

import pytest
import transaction
import ZODB
from BTrees.Length import Length
from BTrees.OOBTree import OOBTree
from ZODB.POSException import ConflictError
from ZODB.serialize import ObjectWriter

SERVER = '''
<zeo>
  address {address}
</zeo>
'''
STORAGES = {
    'file': '<filestorage 1>\n  path {dir}/Data.fs\n</filestorage>\n',
    'zlib': '%import zc.zlibstorage\n<zlibstorage 1>\n<filestorage>\n  path {dir}/Data.fs\n'
            '</filestorage>\n</zlibstorage>\n',
    'serverzlib': '%import zc.zlibstorage\n<serverzlibstorage 1>\n<filestorage>\n'
                  '  path {dir}/Data.fs\n</filestorage>\n</serverzlibstorage>\n',
    'demo': '<demostorage 1>\n<filestorage base>\n  path {dir}/Data.fs\n</filestorage>\n'
            '</demostorage>\n',
}
APPLICATION = '''
import os
from persistent import Persistent

class Account(Persistent):
    balance = 0

    def _p_resolveConflict(self, old, committed, new):
        if new.get('kill'):
            os._exit(1)
        return {**committed, **new, 'balance': committed.get('balance', 0) +
                new.get('balance', 0) - old.get('balance', 0)}
'''


@pytest.fixture(scope='module')
def application(tmp_path_factory):
    """A module that only the client and the resolver process can import."""
    folder = tmp_path_factory.mktemp('application')
    (folder / 'conflict_application.py').write_text(APPLICATION)
    sys.path.insert(0, str(folder))
    yield importlib.import_module('conflict_application')
    sys.path.remove(str(folder))


def resolver(application, python=sys.executable, more=''):
    return (f'<conflict-resolver>\n  python {python}\n'
            f'  path {os.path.dirname(application.__file__)}\n{more}</conflict-resolver>\n')


@pytest.fixture
def two(storage, opened):
    """two(server): roots of two connections, each with its transaction manager."""
    def make(server):
        result = []
        for i in range(2):
            db = opened(ZODB.DB(storage(server, server_sync=True)))
            manager = transaction.TransactionManager()
            result.append((db.open(manager), manager))
        return result
    return make


def meet(two, server, make, here, there):
    """Both change the object that `make` gave; returns it as a third one sees it. What the second
    one meets is raised."""
    (first, first_manager), (second, second_manager) = two(server)
    first.root()['it'] = make()
    first_manager.commit()
    second_manager.begin()
    here(first.root()['it'])
    there(second.root()['it'])
    first_manager.commit()
    second_manager.commit()
    first_manager.begin()
    second_manager.begin()
    # the one who stored the merged state has been told to load it
    states = [c._storage.load(c.root()['it']._p_oid) for c in (first, second)]
    seen = [ObjectWriter(c.root()['it']).serialize(c.root()['it']) for c in (first, second)]
    assert states[0] == states[1]
    assert seen[0] == seen[1]
    return first.root()['it']


@pytest.mark.parametrize('kind', STORAGES)
def test_a_tree(server, two, kind):
    s = server(SERVER + STORAGES[kind])
    tree = meet(two, s, OOBTree, lambda t: t.update({'a': 1}), lambda t: t.update({'b': Length(7)}))
    assert list(tree) == ['a', 'b']
    assert tree['b']() == 7


@pytest.mark.parametrize('kind', STORAGES)
def test_an_application(server, two, application, kind):
    s = server(SERVER + STORAGES[kind] + resolver(application))

    def pay(amount):
        return lambda account: setattr(account, 'balance', account.balance + amount)

    assert meet(two, s, application.Account, pay(5), pay(7)).balance == 12


def test_without_a_resolver(server, two, application):
    s = server(SERVER + STORAGES['file'])
    with pytest.raises(ConflictError):
        meet(two, s, application.Account,
             lambda a: setattr(a, 'balance', 1), lambda a: setattr(a, 'balance', 2))


def test_the_same_key(server, two):
    s = server(SERVER + STORAGES['file'])
    with pytest.raises(ConflictError):
        meet(two, s, OOBTree, lambda t: t.update({'a': 1}), lambda t: t.update({'a': 1}))


def test_a_process_that_dies(server, two, application):
    s = server(SERVER + STORAGES['file'] + resolver(application))
    with pytest.raises(ConflictError):
        meet(two, s, application.Account,
             lambda a: setattr(a, 'balance', 1), lambda a: setattr(a, 'kill', True))
    assert meet(two, s, application.Account, lambda a: setattr(a, 'balance', 1),
                lambda a: setattr(a, 'note', 'x')).note == 'x'


def test_an_interpreter_that_is_missing(server, application):
    s = server(SERVER + STORAGES['file'] + resolver(application, '/nonexistent/python'),
               start=False)
    s.start(wait=False)
    assert s.process.wait(30) != 0
    assert "'/nonexistent/python' cannot be started" in s.text()


def children(pid):
    found = []
    for task in os.listdir(f'/proc/{pid}/task'):
        with open(f'/proc/{pid}/task/{task}/children') as f:
            found += map(int, f.read().split())
    return found


@pytest.mark.parametrize('how', [signal.SIGTERM, signal.SIGKILL])
def test_the_process_ends_with_the_server(server, application, how):
    if not os.path.exists(f'/proc/{os.getpid()}/task/{os.getpid()}/children'):
        pytest.skip('this kernel does not list children')
    s = server(SERVER + STORAGES['file'] + resolver(application))
    pid, = children(s.pid)
    assert s.stop(how) == (0 if how == signal.SIGTERM else -signal.SIGKILL)
    deadline = time.monotonic() + 20
    while os.path.exists(f'/proc/{pid}'):
        with open(f'/proc/{pid}/stat') as f:
            if f.read().rpartition(')')[2].split()[0] == 'Z':
                break
        assert time.monotonic() < deadline
        time.sleep(0.02)  # nobody tells


LENGTH = b'cBTrees.Length\nLength\n.I%d\n.'


@pytest.mark.parametrize('kind', STORAGES)
def test_left_to_the_client(server, wires, kind):
    """client-conflict-resolution: the server merges nothing, whatever the storage."""
    conf = STORAGES[kind]
    options = '\n  client-conflict-resolution true\n</zeo>'
    imports = '%import' in conf and conf[:conf.index('\n') + 1] or ''
    s = server(imports + SERVER.replace('\n</zeo>', options) + conf[len(imports):])
    w = wires(s)
    oid = w.call('new_oids')[0]
    first = w.commit([(oid, bytes(8), LENGTH % 1)])
    second = w.commit([(oid, first, LENGTH % 2)])
    w.begin(77, [(oid, first, LENGTH % 5)])
    assert w.call('vote', 77) == [
        {'oid': oid, 'serials': (second, first), 'data': LENGTH % 5}]
    w.call('tpc_abort', 77)
    assert w.call('loadBefore', oid, b'\x7f' * 8)[0] == LENGTH % 2
