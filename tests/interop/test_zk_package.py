"""zc.zk: the examples of the documentation of zc.zk 2.1, against a real ZooKeeper."""

import gc
import json
import logging
import os
import pathlib
import queue
import signal
import subprocess
import sys
import threading
import time
import weakref

import kazoo.exceptions
import pytest

import zc.zk
import zc.zk.event
import zc.zkzeo
from freezing import freeze
from zk import ZKZEO, ensemble, wait_for  # noqa: F401

PACKAGE = pathlib.Path(zc.zk.__file__).parent.parent.parent

TREE = """\
/lb : ipvs
  /pools
    /cms
      # The address is fixed because it's
      # exposed externally
      address = '1.2.3.4:80'
      providers -> /cms/providers
    /retail
      address = '1.2.3.5:80'
      providers -> /cms/providers

/cms : z4m cms
  threads = 3
  /providers
  /databases
    /main
      /providers

/retail : z4m retail
  threads = 1
  /providers
  /databases
    main -> /cms/databases/main
    /ugc
      /providers
"""

EXPORTED = """\
/cms : z4m cms
  threads = 3
  /databases
    /main
      /providers
  /providers
/fooservice
  database = u'/databases/foomain'
  favorite_color = u'red'
  threads = 1
  /providers
/lb : ipvs
  /pools
    /cms
      address = u'1.2.3.4:80'
      providers -> /cms/providers
    /retail
      address = u'1.2.3.5:80'
      providers -> /cms/providers
/retail : z4m retail
  threads = 1
  /databases
    main -> /cms/databases/main
    /ugc
      /providers
  /providers
"""

SMALLER = """\
/lb : ipvs
  /pools
    /cms
      # The address is fixed because it's
      # exposed externally
      address = '1.2.3.4:80'
      providers -> /cms/providers

/cms : z4m cms
  threads = 4
  /providers
  /databases
    /main
      /providers
"""


@pytest.fixture
def zk(ensemble):
    for name in ensemble.client.get_children('/'):
        if name != 'zookeeper':
            ensemble.client.delete('/' + name, recursive=True)
    ensemble.client.create('/fooservice', json.dumps(
        {'database': '/databases/foomain', 'favorite_color': 'red', 'threads': 1}).encode())
    ensemble.client.create('/fooservice/providers')
    zk = zc.zk.ZooKeeper(ensemble.connection)
    yield zk
    zk.close()


@pytest.fixture
def calls():
    """calls(x) is a callback that notes its arguments in calls.queue."""
    class Calls:
        def __init__(self):
            self.queue = queue.Queue()

        def __call__(self, *args):
            self.queue.put([sorted(a.items()) if isinstance(a, zc.zk.Properties) else sorted(a)
                            for a in args])

        def next(self):
            return self.queue.get(timeout=30)
    return Calls()


# instantiating

def test_names():
    assert zc.zk.ZK is zc.zk.ZooKeeper is zc.zkzeo.ZooKeeper
    assert all(hasattr(zc.zk, name) for name in zc.zk.__all__)


def test_default_connection(ensemble, zk, monkeypatch):
    monkeypatch.setenv('ZC_ZK_CONNECTION_STRING', ensemble.connection)
    other = zc.zk.ZK()
    assert other.exists('/fooservice')
    assert other.recv_timeout() == 10.0
    other.close()


def test_no_zookeeper(caplog):
    with pytest.raises(zc.zk.FailedConnect, match="Can't connect to ZooKeeper at 'nobody.invalid:1'"):
        zc.zk.ZooKeeper('nobody.invalid:1')
    assert ('zc.zk', logging.CRITICAL, "Can't connect to ZooKeeper at 'nobody.invalid:1'"
            ) in caplog.record_tuples


def test_wait_for_zookeeper(ensemble, zk, caplog):
    ensemble.stop()
    opened = []
    thread = threading.Thread(target=lambda: opened.append(
        zc.zk.ZooKeeper(ensemble.connection, wait=True)))
    thread.start()
    wait_for('it says so', lambda: caplog.record_tuples, 30)
    assert not opened
    ensemble.start()
    thread.join(30)
    assert opened[0].exists('/fooservice')
    opened[0].close()


@pytest.mark.parametrize('args,error', [(('a:b',), ValueError), ((7,), TypeError),
                                        (('h:1', -1), ValueError)])
def test_wrong_arguments(args, error):
    with pytest.raises(error):
        zc.zk.ZooKeeper(*args)


def test_closed(zk):
    children = zk.children('/fooservice')
    zk.close()
    zk.close()
    assert zk.closed
    assert list(children) == ['providers']
    for call in (lambda: zk.get('/'), lambda: zk.import_tree('/a'), lambda: zk.children('/'),
                 lambda: zk.register('/fooservice', 'h:1'), lambda: zk.resolve('/')):
        with pytest.raises(zc.zk.ConnectionClosedError):
            call()


# registering

def test_register(ensemble, zk):
    zk.register('/fooservice/providers', ('192.168.0.42', 8080))
    path = '/fooservice/providers/192.168.0.42:8080'
    assert zk.get_properties(path) == {'pid': os.getpid()}
    assert zk.is_ephemeral(path)
    assert ensemble.client.get_acls(path)[0] == zc.zk.READ_ACL_UNSAFE
    zk.close()
    assert ensemble.children('/fooservice/providers') == []


def test_register_with_properties(ensemble, zk):
    acl = [zc.zk.ACL(31, zc.zk.Id('world', 'anyone'))]
    zk.register_server('/fooservice/providers', '[::1]:1', acl, color='red', n=[1])
    path = '/fooservice/providers/[::1]:1'
    assert zk.get_properties(path) == {'pid': os.getpid(), 'color': 'red', 'n': [1]}
    assert zk.get_acls(path)[0] == acl == ensemble.client.get_acls(path)[0]


def test_register_with_a_blank_hostname(ensemble, zk):
    zk.register('/fooservice/providers', ('', 8080))
    names = ensemble.children('/fooservice/providers')
    assert names and all(n.endswith(':8080') and n.count('.') == 3 for n in names)
    assert '0.0.0.0:8080' not in names


def test_registered_again_when_somebody_removes_it(ensemble, zk):
    zk.register('/fooservice/providers', 'h:1')
    path = '/fooservice/providers/h:1'
    owner = zk.exists(path).ephemeralOwner
    ensemble.client.delete(path)
    wait_for('it is there again', lambda: ensemble.client.exists(path))
    assert zk.exists(path).ephemeralOwner == owner


def test_register_what_is_registered(ensemble, zk, caplog):
    """T32: it waits for the other one to go."""
    caplog.set_level(logging.INFO, 'zc.zk')
    zk.register('/fooservice/providers', 'h:1')
    other = zc.zk.ZooKeeper(ensemble.connection)
    other.register('/fooservice/providers', 'h:1', who='other')
    wait_for('a warning', lambda: 'is registered by another ZooKeeper session' in caplog.text)
    zk.close()
    wait_for('the other one', lambda: b'other' in ensemble.client.get(
        '/fooservice/providers/h:1')[0] if ensemble.children('/fooservice/providers') else False)
    other.close()


def test_register_where_nothing_is(zk):
    with pytest.raises(zc.zk.NoNodeError, match="the path '/nothing' does not exist"):
        zk.register('/nothing', 'h:1')


def test_registration_event(zk, monkeypatch):
    events = []

    def notify(event):
        events.append(event)
        event.properties['version'] = 3

    monkeypatch.setattr(zc.zk.event, 'notify', notify)
    zk.register('/fooservice/providers', 'h:1', a=1)
    assert zk.get_properties('/fooservice/providers/h:1') == {
        'a': 1, 'pid': os.getpid(), 'version': 3}
    assert (events[0].name, events[0].path) == ('h:1', '/fooservice/providers')
    assert repr(events[0]).startswith("RegisteringServer('h:1', '/fooservice/providers', {'")


# children

def test_children(ensemble, zk):
    zk.register('/fooservice/providers', ('192.168.0.42', 8080))
    addresses = zk.children('/fooservice/providers')
    assert sorted(addresses) == ['192.168.0.42:8080']
    zk.register('/fooservice/providers', ('192.168.0.42', 8081))
    wait_for('the second one', lambda: len(addresses) == 2)
    assert list(addresses) == ['192.168.0.42:8080', '192.168.0.42:8081']
    assert addresses[1] == '192.168.0.42:8081'
    assert '192.168.0.42:8080' in addresses
    assert repr(addresses) == 'zc.zk.Children(/fooservice/providers)'


def test_children_with_a_callback(ensemble, zk, calls):
    create = ensemble.client.create
    create('/fooservice/providers/a')
    seen = []

    @zk.children('/fooservice/providers')
    def addresses_updated(addresses):
        seen.append(addresses)
        calls(addresses)

    assert calls.next() == [['a']]
    create('/fooservice/providers/b')
    assert calls.next() == [['a', 'b']]
    assert addresses_updated is seen[0] is seen[1]
    assert isinstance(addresses_updated, zc.zk.Children)


def test_callbacks_that_raise(ensemble, zk, calls, caplog):
    children = zk.children('/fooservice/providers')

    @children
    def bad(children):
        if len(children) == 1:
            raise ValueError('no')

    @children
    def cancels(children):
        if len(children) == 1:
            raise zc.zk.CancelWatch

    children(calls)
    ensemble.client.create('/fooservice/providers/a')
    assert [calls.next(), calls.next()] == [[[]], [['a']]]
    assert children.callbacks == [calls]
    assert 'ValueError: no' in caplog.text
    with pytest.raises(ZeroDivisionError):
        children(lambda c: 1 / 0)
    assert children.callbacks == [calls]


def test_callbacks_may_ask_zookeeper(ensemble, zk, calls):
    """T34"""
    made = []

    @zk.children('/fooservice')
    def updated(children):
        for name in children:
            made.append(zk.children('/fooservice/' + name))
            made.append(zk.properties('/fooservice/' + name))
        calls(zk.get_children('/fooservice'))

    calls.next()
    ensemble.client.create('/fooservice/x')
    assert calls.next() == [['providers', 'x']]
    assert len(made) == 6


def test_callbacks_may_close(ensemble, zk, calls):
    @zk.children('/fooservice')
    def updated(children):
        if len(children) == 2:
            zk.close()
            calls(['closed'])

    ensemble.client.create('/fooservice/x')
    assert calls.next() == [['closed']]


def test_what_is_not_kept_goes(ensemble, zk):
    children = zk.children('/fooservice')
    gone = weakref.ref(children)
    del children
    gc.collect()
    assert gone() is None
    ensemble.client.create('/fooservice/x')
    session = weakref.ref(zc.zk.ZooKeeper(ensemble.connection))
    gc.collect()
    assert session() is None


def test_deleted(ensemble, zk, calls):
    children = zk.children('/fooservice/providers')
    properties = zk.properties('/fooservice/providers')

    @children
    def interested(children=None):
        calls(*(() if children is None else (children,)))

    children(lambda children: None)
    ensemble.client.delete('/fooservice/providers')
    assert [calls.next(), calls.next()] == [[[]], []]
    wait_for('both know', lambda: children.deleted and properties.deleted)
    assert list(children) == [] and dict(properties) == {}
    assert repr(properties) == 'DELETED: zc.zk.Properties(/fooservice/providers)'
    with pytest.raises(zc.zk.NoNodeError):
        properties.set(a=1)
    assert len(children.callbacks) == 2
    ensemble.client.create('/fooservice/providers')  # it comes back
    ensemble.client.create('/fooservice/providers/a')
    wait_for('it is there again', lambda: list(children) == ['a'])
    assert not children.deleted


def test_no_such_path(zk):
    with pytest.raises(zc.zk.NoNodeError):
        zk.children('/nothing')
    with pytest.raises(kazoo.exceptions.NoNodeError):  # as users of zc.zk 2.1 catch it
        zk.properties('/nothing')


def test_zookeeper_restarts(ensemble, zk, calls):
    children = zk.children('/fooservice/providers')(calls)
    calls.next()
    zk.register('/fooservice/providers', 'h:1')
    assert calls.next() == [['h:1']]
    ensemble.restart()
    assert zk.get_properties('/fooservice')['threads'] == 1  # it waits for the connection
    ensemble.client.create('/fooservice/providers/h:2')
    assert calls.next() == [['h:1', 'h:2']]
    assert list(children) == ['h:1', 'h:2']


# properties

def test_properties(ensemble, zk, calls):
    data = zk.properties('/fooservice')
    assert (data['database'], data['threads'], len(data)) == ('/databases/foomain', 1, 3)
    assert sorted(data) == ['database', 'favorite_color', 'threads']
    assert 'threads' in data and 'x' not in data and data.get('x') is None
    assert data.copy() == dict(data)
    with pytest.raises(KeyError):
        data['x']
    data(calls)
    first = [('database', '/databases/foomain'), ('favorite_color', 'red'), ('threads', 1)]
    assert calls.next() == [first]
    data.update({'threads': 2}, secret='123')
    assert calls.next() == [first[:2] + [('secret', '123'), ('threads', 2)]]
    data['threads'] = 1
    assert calls.next() == [first[:2] + [('secret', '123'), ('threads', 1)]]
    data.set(threads=3, secret='1234')
    assert calls.next() == [[('secret', '1234'), ('threads', 3)]]
    data.update({'threads': 5}, threads=4)
    assert calls.next() == [[('secret', '1234'), ('threads', 4)]]
    assert ensemble.client.get('/fooservice')[0] == b'{"threads":4,"secret":"1234"}'


def test_properties_without_watch(zk, calls):
    watched = zk.properties('/fooservice')(calls)
    calls.next()
    data = zk.properties('/fooservice', watch=False)
    with pytest.raises(TypeError, match="Can't set callbacks without watching."):
        data(lambda data: None)
    data['threads'] = 2
    assert dict(calls.next()[0])['threads'] == 2
    data.update(threads=3)
    assert dict(calls.next()[0])['threads'] == 3
    assert watched['threads'] == 3


@pytest.mark.parametrize('data,properties', [
    (b'', {}), (b' \n', {}), (b'{}', {}), (b'{"a":1}', {'a': 1}), (b' {"a": "\\u00e9"}\n', {'a': 'é'}),
    (b'text', {'string_value': 'text'}), (b'{bad}', {'string_value': '{bad}'}),
    (b'[1]', {'string_value': '[1]'}), (b'\xff', {'string_value': '\udcff'})])
def test_data(ensemble, zk, data, properties):
    ensemble.client.set('/fooservice', data)
    p = zk.properties('/fooservice')
    assert dict(p) == properties == zk.get_properties('/fooservice')
    p.set(properties)
    assert zk.get_properties('/fooservice') == properties


# trees

def test_import_and_export(zk, capsys):
    zk.import_tree(TREE)
    assert zk.export_tree() == EXPORTED
    assert zk.export_tree('/fooservice') == """\
/fooservice
  database = u'/databases/foomain'
  favorite_color = u'red'
  threads = 1
  /providers
"""
    zk.register('/fooservice/providers', ('192.168.0.42', 8080))
    shown = f"""\
  /providers
    /192.168.0.42:8080
      pid = {os.getpid()}
"""
    assert zk.export_tree('/fooservice', ephemeral=True).endswith(shown)
    assert zk.export_tree() == EXPORTED
    assert capsys.readouterr().out == ''
    zk.print_tree('/fooservice')
    assert capsys.readouterr().out == zk.export_tree('/fooservice', True)


def test_printed_as_zkzeo_tree_prints_it(ensemble, zk, capsys):
    zk.import_tree(TREE)
    zk.print_tree()
    printed = subprocess.run([ZKZEO, 'tree', ensemble.connection], check=True, text=True,
                             capture_output=True).stdout
    assert capsys.readouterr().out == printed == EXPORTED


def test_import_over_an_existing_tree(zk, capsys):
    def output():
        return capsys.readouterr().out

    zk.import_tree(TREE)
    zk.import_tree(SMALLER)
    assert output() == 'extra path not trimmed: /lb/pools/retail\n'
    assert zk.export_tree() == EXPORTED.replace('threads = 3', 'threads = 4')
    zk.import_tree(SMALLER, trim=True, dry_run=True)
    assert output() == 'would delete /lb/pools/retail.\n'
    zk.import_tree(SMALLER, trim=False)
    assert output() == ''
    zk.import_tree(SMALLER, trim=True, dry_run=True)
    assert output() == 'would delete /lb/pools/retail.\n'
    zk.import_tree(SMALLER, trim=True)
    assert output() == ''
    assert not zk.exists('/lb/pools/retail')
    assert zk.exists('/retail')  # at the top


def test_ephemeral_nodes_are_not_trimmed(zk, capsys):
    zk.import_tree('/a\n  /b\n    /c\n  /d\n')
    zk.create('/a/b/c/e', ephemeral=True)
    zk.create('/a/f', ephemeral=True)
    zk.import_tree('/a\n', trim=True)
    assert capsys.readouterr().out == (
        "Not deleting /a/b/c/e because it's ephemeral.\n"
        '/a/b/c not deleted due to ephemeral descendent.\n'
        '/a/b not deleted due to ephemeral descendent.\n')
    assert list(zk.walk('/a')) == ['/a', '/a/b', '/a/b/c', '/a/b/c/e', '/a/f']


def test_dry_run(zk, capsys):
    zk.import_tree('/a : t\n  x = 1\n  y = [1]\n  l -> /b\n  m -> /c\n  gone = u"z"\n  old -> /o')
    zk.import_tree('/a : u\n  x = 2\n  y = [1]\n  l -> /d\n  m -> /c\n  n = "new"\n  k -> /k\n'
                   '  /b\n    /c\n/z\n', dry_run=True)
    assert capsys.readouterr().out == """\
/a remove property gone = z
/a l link change from /b to /d
/a remove link old -> /o
/a type change from t to u
/a x change from 1 to 2
/a add link k -> /k
/a add property n = new
add /a/b
add /z
"""
    assert zk.get_children('/a') == [] and not zk.exists('/z')


def test_access_control_lists(ensemble, zk):
    zk.import_tree('/a\n  /b\n')
    everybody = zk.get_acls('/a')[0]
    assert everybody == zc.zk.OPEN_ACL_UNSAFE == ensemble.client.get_acls('/a')[0]
    read_mostly = [zc.zk.ACL(1, zc.zk.Id('world', 'anyone')), zc.zk.ACL(31, zc.zk.Id('ip', '127.0.0.1'))]
    zk.import_tree('/a\n  /b\n  /c\n', acl=read_mostly)
    for path in '/a', '/a/b', '/a/c':
        assert sorted(ensemble.client.get_acls(path)[0]) == sorted(read_mostly)
    zk.import_tree('/a\n  /b\n')
    assert ensemble.client.get_acls('/a/b')[0] == zc.zk.OPEN_ACL_UNSAFE
    zk.create('/a/r', b'x', zc.zk.READ_ACL_UNSAFE)
    with pytest.raises(zc.zk.NoAuthError):
        zk.set('/a/r', b'y')
    with pytest.raises(kazoo.exceptions.NoAuthError):
        zk.create('/a/r/s')
    for acl, error in ((7, TypeError), ([], ValueError), ([(1, 2)], TypeError), ([3], TypeError)):
        with pytest.raises(error):
            zk.create('/a/x', b'', acl)


def test_round_trip(zk):
    text = """\
/t : some type
  a = 1
  b = -2.5
  c = u"it's"
  d = [u'x', None, True, {u'k': u'v'}]
  e = u'Caf\\xe9 \\u20ac \\U0001f600'
  f => = u'/t a'
  l -> /somewhere
  /1.2.3.4:5
  /empty
  /plain
    string_value = 'only text'
"""
    zk.import_tree(text)
    assert zk.export_tree('/t') == text
    assert zk.get('/t/plain')[0] == b'only text'
    assert zk.properties('/t')['e'] == 'Café € 😀'
    assert zk.properties('/t')['f'] == 1
    zk.delete_recursive('/t')
    zk.import_tree(text)
    assert zk.export_tree('/t') == text
    zk.create('/copy')
    zk.import_tree(zk.export_tree('/t', name='u'), '/copy/')
    assert zk.export_tree('/copy/u').splitlines()[1:] == text.splitlines()[1:]
    assert zk.export_tree(name='root').startswith('/root\n  /copy\n')


@pytest.mark.parametrize('text,error', [
    ('a = 1', "line 1: 'a = 1': a property stands below a node"),
    ('/a\n  x = y', 'line 2: the value of x:'),
    ('/a\n  x = __import__("os").abort()', 'line 2: the value of x:'),
    ('/a\n/a', "line 2: '/a': a node of this name is there already"),
])
def test_texts_that_are_none(zk, text, error):
    with pytest.raises(ValueError, match=error):
        zk.import_tree(text)
    with pytest.raises(ValueError, match=error):
        zc.zk.parse_tree(text)
    assert not zk.exists('/a')


def test_import_below_what_is_not_there(zk):
    with pytest.raises(zc.zk.NoNodeError):
        zk.import_tree('/a', '/nothing')


def test_delete_recursive(zk, capsys, caplog):
    caplog.set_level(logging.INFO, 'zc.zk')
    zk.import_tree(TREE)
    zk.delete_recursive('/retail')
    assert not zk.exists('/retail')
    assert [text for name, level, text in caplog.record_tuples if name == 'zc.zk'] == [
        'deleting /retail/databases/ugc/providers', 'deleting /retail/databases/ugc',
        'deleting /retail/databases', 'deleting /retail/providers', 'deleting /retail']
    for port in 8080, 8081:
        zk.create(f'/fooservice/providers/h:{port}', ephemeral=True)
    zk.delete_recursive('/fooservice')
    assert capsys.readouterr().out == (
        "Not deleting /fooservice/providers/h:8080 because it's ephemeral.\n"
        "Not deleting /fooservice/providers/h:8081 because it's ephemeral.\n"
        '/fooservice/providers not deleted due to ephemeral descendent.\n'
        '/fooservice not deleted due to ephemeral descendent.\n')
    zk.delete_recursive('/fooservice/providers/h:8080', ignore_if_ephemeral=True)
    assert capsys.readouterr().out == ''
    zk.delete_recursive('/fooservice', dry_run=True, force=True)
    assert capsys.readouterr().out == (
        'would delete /fooservice/providers/h:8080.\nwould delete /fooservice/providers/h:8081.\n'
        'would delete /fooservice/providers.\nwould delete /fooservice.\n')
    zk.delete_recursive('/fooservice', dry_run=True)
    assert "wouldn't delete /fooservice/providers/h:8080 because it's ephemeral." in (
        capsys.readouterr().out)
    zk.delete_recursive('/fooservice', force=True)
    assert not zk.exists('/fooservice')
    with pytest.raises(zc.zk.NoNodeError):
        zk.delete_recursive('/fooservice')


def test_a_line_that_cannot_be_printed_ends_it(zk, monkeypatch):
    zk.import_tree('/a\n  /b\n')

    def broken(*args, **kw):
        raise OSError('no')

    monkeypatch.setattr('builtins.print', broken)
    with pytest.raises(OSError, match='no'):
        zk.import_tree('/a\n')


def test_parse_tree():
    tree = zc.zk.parse_tree(SMALLER)
    assert sorted(tree.children) == ['cms', 'lb']
    assert tree.children['lb'].properties == {'type': 'ipvs'}
    assert tree.children['lb'].children['pools'].name == 'pools'

    class Node(zc.zk.ParseNode):
        pass

    assert type(zc.zk.parse_tree('/a', Node).children['a']) is Node


def test_walk(zk):
    zk.import_tree('/a\n  /b\n    /c\n  /d\n')
    zk.create('/a/d/e', ephemeral=True)
    assert list(zk.walk('/a')) == ['/a', '/a/b', '/a/b/c', '/a/d', '/a/d/e']
    assert list(zk.walk('/a', ephemeral=False)) == ['/a', '/a/b', '/a/b/c', '/a/d']
    assert next(zk.walk()) == '/'
    assert '/a/b' in list(zk.walk())
    walk = zk.walk('/a', children=True)
    path, children = next(walk)
    assert (path, children) == ('/a', ['b', 'd'])
    del children[0]
    assert list(walk) == ['/a/d', '/a/d/e']
    assert list(zk.walk('/nothing')) == []
    seen = []
    for path in zk.walk('/a'):
        seen.append(path)
        if 'b' in zk.get_children(path):
            zk.delete_recursive(path + '/b')
    assert seen == ['/a', '/a/d', '/a/d/e']


# links

def test_symbolic_links(ensemble, zk):
    zk.import_tree(TREE)
    assert zk.resolve('/lb/pools/cms/providers') == '/cms/providers'
    zk.register('/lb/pools/cms/providers', '1.2.3.4:5')
    assert zk.resolve('/lb/pools/cms/providers/1.2.3.4:5') == '/cms/providers/1.2.3.4:5'
    main_children = zk.children('/cms/databases/main')
    main_properties = zk.properties('/cms/databases/main')
    assert (main_children.path, main_children.real_path) == ('/cms/databases/main',) * 2
    export = zk.export_tree('/cms/databases/main', name='cms')
    assert export == '/cms\n  /providers\n'
    assert zk.create('/databases') == '/databases'
    zk.import_tree(export, '/databases')
    assert zk.export_tree('/databases') == '/databases\n  /cms\n    /providers\n'
    zk.ln('/databases/cms', '/cms/databases/main')
    assert zk.get_properties('/cms/databases') == {'main ->': '/databases/cms'}
    zk.delete_recursive('/cms/databases/main')
    for watch in main_children, main_properties:
        wait_for('it has moved', lambda: watch.real_path == '/databases/cms')
        assert watch.path == '/cms/databases/main' and not watch.deleted
    assert sorted(main_children) == ['providers']
    zk.delete('/databases/cms/providers')
    wait_for('nothing is there', lambda: sorted(main_children) == [])
    zk.properties('/databases/cms').set(a=1)
    wait_for('it is set', lambda: dict(main_properties) == {'a': 1})
    main_properties['a'] = 2  # written where the link leads
    assert zk.get_properties('/databases/cms') == {'a': 2}
    zk.ln('/databases/', '/cms/other')
    assert zk.get_properties('/cms')['other ->'] == '/databases/other'


def test_relative_links(zk):
    zk.import_tree('/a\n  /b\n    l -> c\n    l2 -> ../c\n    /c\n  /c\n')
    assert zk.resolve('/a/b/l') == '/a/b/c'
    assert zk.resolve('/a/b/l2') == '/a/c'
    assert zk.resolve('/a/./b/../b/l2') == '/a/c'


def test_link_loops(zk):
    zk.import_tree('/a\n  l -> /a/m\n  m -> /a/l\n')
    with pytest.raises(zc.zk.LinkLoop):
        zk.resolve('/a/l')
    with pytest.raises(zc.zk.NoNodeError, match="the path '/a/x' does not exist"):
        zk.resolve('/a/x')


def test_property_links(ensemble, zk, calls, capsys):
    zk.create('/links')
    zk.import_tree('/cms : z4m cms\n  threads => /fooservice threads\n  /databases\n', '/links')
    properties = zk.properties('/links/cms')
    assert properties['threads =>'] == '/fooservice threads'
    assert properties['threads'] == 1
    assert 'threads' in properties and sorted(properties) == ['threads', 'type']
    properties(calls)
    assert dict(calls.next()[0]) == {'threads': 1, 'type': 'z4m cms'}
    zk.properties('/fooservice')['threads'] = 8  # a change there is a change here
    assert dict(calls.next()[0])['threads'] == 8
    zk.import_tree('/cms\n  threads => /fooservice\n', '/links')
    assert capsys.readouterr().out == 'extra path not trimmed: /links/cms/databases\n'
    wait_for('it has changed', lambda: properties['threads =>'] == '/fooservice')
    assert properties['threads'] == 8
    relative = zk.properties('/links')
    relative.set({'x =>': '../fooservice threads'})
    assert relative['x'] == 8


def test_property_links_that_lead_nowhere(zk):
    zk.create('/links')
    properties = zk.properties('/links')
    for link in '/nothing', '/fooservice nothing', 'a b c', '':
        with pytest.raises(ValueError, match='Bad property link'):
            properties.set({'x =>': link})
    assert dict(properties) == {}
    zk.set('/links', json.dumps({'a =>': '/links b', 'b =>': '/links a'}))
    loop = zk.properties('/links')
    with pytest.raises(zc.zk.BadPropertyLink):
        loop['a']


# nodes

def test_nodes(ensemble, zk):
    assert zk.create('/n', b'x') == '/n'
    with pytest.raises(zc.zk.NodeExistsError):
        zk.create('/n')
    data, stat = zk.get('/n')
    assert data == b'x'
    assert tuple(stat) == tuple(ensemble.client.get('/n')[1])
    assert zk.exists('/n').dataLength == 1
    assert zk.exists('/m') is None
    assert zk.set('/n', 'é').version == 1
    assert zk.get('/n')[0] == 'é'.encode()
    with pytest.raises(zc.zk.BadVersionError):
        zk.set('/n', b'y', 0)
    assert zk.create('/n/s', sequence=True) == '/n/s0000000000'
    assert zk.create('/p/q/r', b'z', makepath=True) == '/p/q/r'
    assert zk.get_children('/n') == ['s0000000000']
    with pytest.raises(zc.zk.NotEmptyError):
        zk.delete('/n')
    zk.delete('/n', recursive=True)
    for call in (lambda: zk.get('/n'), lambda: zk.set('/n', b''), lambda: zk.delete('/n'),
                 lambda: zk.get_children('/n'), lambda: zk.get_acls('/n'),
                 lambda: zk.create('/n/m')):
        with pytest.raises(zc.zk.NoNodeError):
            call()
    with pytest.raises(zc.zk.ZookeeperError):
        zk.create('no path')
    zk.create_recursive('/u/v', b'w', zc.zk.OPEN_ACL_UNSAFE)
    assert zk.get('/u/v')[0] == b'w'


def test_empty_data(ensemble, zk):
    """T37"""
    zk.create('/n')
    assert zk.get('/n')[0] == b'' == ensemble.client.get('/n')[0]
    zk.set('/n', b'')
    assert ensemble.client.get('/n')[0] == b''


def test_many_threads(zk):
    zk.create('/n')
    errors = []

    def work(i):
        try:
            for j in range(20):
                zk.create(f'/n/{i}-{j}', b'%d' % j)
                assert zk.get(f'/n/{i}-{j}')[0] == b'%d' % j
                zk.children('/n')
                zk.delete(f'/n/{i}-{j}')
        except Exception as e:
            errors.append(e)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert not errors
    assert zk.get_children('/n') == []


def test_closed_while_others_wait(ensemble, zk):
    """They are told, and nothing crashes."""
    results = []

    def ask():
        try:
            results.append(zk.get('/fooservice'))
        except zc.zk.ZookeeperError as e:
            results.append(e)

    ensemble.kill()
    wait_for('the connection is lost', lambda: not zk.session_id)
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for t in threads:
        t.start()
    zk.close()
    for t in threads:
        t.join(30)
    assert len(results) == 8 and all(isinstance(r, zc.zk.ZookeeperError) for r in results)
    ensemble.start()


def test_expired_session(ensemble, calls):
    """Stopped for longer than its session lives: all is there again, on another one."""
    ensemble.fresh('/demo')
    process = subprocess.Popen([sys.executable, '-c', '''if True:
        import sys, zc.zk
        zk = zc.zk.ZooKeeper(sys.argv[1], 0.8)
        zk.register('/demo', 'h:1')
        first = zk.session_id
        children = zk.children('/demo')
        children(lambda c: print(*sorted(c), zk.session_id == first, flush=True))
        sys.stdin.read()
        print(zk.get_children('/demo'), flush=True)
    ''', ensemble.connection], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, 'PYTHONPATH': str(PACKAGE)})
    try:
        assert process.stdout.readline() == 'h:1 True\n'
        freeze(process)
        wait_for('its node goes', lambda: ensemble.children('/demo') == [])
        ensemble.client.create('/demo/h:2')
        process.send_signal(signal.SIGCONT)
        wait_for('its node is there again', lambda: len(ensemble.children('/demo')) == 2)
        # on a busy machine the session may have expired before, too
        for line in iter(process.stdout.readline, 'h:1 h:2 False\n'):
            assert line.split()[:-1] in ([], ['h:1'], ['h:2']) and line, line
    finally:
        out = process.communicate('', timeout=30)[0]
    # its own node goes when it ends, of which it may still be told
    assert out.splitlines()[0] in ("['h:1', 'h:2']", "['h:2', 'h:1']")
    assert out.splitlines()[1:] in ([], ['h:2 False'])
    assert process.returncode == 0
    assert ensemble.children('/demo') == ['h:2']


def run(code, *args):
    return subprocess.run([sys.executable, '-c', code, *args], text=True, capture_output=True,
                          timeout=60, env={**os.environ, 'PYTHONPATH': str(PACKAGE)})


def test_end_of_a_process(ensemble, zk):
    """What it registered goes at once, though it closed nothing; it ends, with status 0."""
    result = run('''if True:
        import sys, zc.zk
        zk = zc.zk.ZooKeeper(sys.argv[1])
        zk.register('/fooservice/providers', 'h:1')
        children = zk.children('/fooservice/providers')(lambda c: None)
        print(list(children))
    ''', ensemble.connection)
    assert (result.returncode, result.stdout, result.stderr) == (0, "['h:1']\n", '')
    assert ensemble.children('/fooservice/providers') == []


@pytest.mark.skipif('libtsan' in os.environ.get('LD_PRELOAD', ''),
                    reason='the thread sanitizer knows no threads after a fork')
def test_child_process(ensemble, zk):
    """T31"""
    zk.register('/fooservice/providers', 'h:1')
    children = zk.children('/fooservice/providers')
    child = os.fork()
    if child == 0:
        status = 1
        try:
            try:
                zk.get('/fooservice')
            except zc.zk.ConnectionLoss as e:
                status = 0 if 'belongs to the process that opened it' in str(e) else 2
            zk.close()
            own = zc.zk.ZooKeeper(ensemble.connection)
            status += 0 if own.exists('/fooservice') else 4
            own.close()
            del children
            gc.collect()
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    ensemble.client.create('/fooservice/providers/h:2')
    wait_for('the parent is told', lambda: list(children) == ['h:1', 'h:2'])
    assert zk.session_id


def test_without_kazoo(ensemble, zk):
    result = run('''if True:
        import sys
        sys.modules['kazoo'] = None
        import zc.zk
        zk = zc.zk.ZooKeeper(sys.argv[1])
        try:
            zk.get('/nothing')
        except zc.zk.NoNodeError as e:
            print(e, type(e).__mro__[1:3])
    ''', ensemble.connection)
    assert result.stderr == ''
    assert result.stdout == ("the path '/nothing' does not exist (<class "
                             "'zc.zkzeo._zookeeper_errors.ZookeeperError'>, <class 'Exception'>)\n")


def test_interrupted():
    """A signal ends the wait for ZooKeeper."""
    start = time.monotonic()
    result = run('''if True:
        import os, signal, sys, threading, zc.zk
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            zc.zk.ZooKeeper('127.0.0.1:1', wait=True)
        except KeyboardInterrupt:
            print('interrupted')
    ''')
    assert result.stdout == 'interrupted\n'
    assert time.monotonic() - start < 8
