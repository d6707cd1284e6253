"""`zkzeo tree` and `zkzeo servers` against a real ZooKeeper."""

import json
import subprocess

import pytest

from zk import ZKZEO, ensemble  # noqa: F401


def zkzeo(*args):
    return subprocess.run([ZKZEO, *args], text=True, capture_output=True, timeout=60)


@pytest.fixture
def tree(ensemble):
    ensemble.fresh('/tree')
    create = ensemble.client.create
    create('/tree/cms', b'{"type":"site","threads":4,"title":"Caf\\u00e9","db ->":"/tree/db"}')
    create('/tree/db')
    create('/tree/db/main', b'{"ratio":0.5,"on":true,"off":null,"names":["a",1]}')
    create('/tree/db/main/127.0.0.1:9', b'{"pid":7,"monitor":"127.0.0.1:10"}', ephemeral=True)
    create('/tree/db/main/[::1]:8', b'{"pid":8}', ephemeral=True)
    create('/tree/note', b'only text')
    create('/tree/bad', b'{"a":}')
    create('/tree/empty', b'')
    create('/tree/link', b'{"self ->":"/tree","up ->":"../db/main","loop ->":"/tree/link/loop"}')
    return ensemble


PRINTED = """\
/tree
  /bad
    string_value = '{"a":}'
  /cms : site
    threads = 4
    title = u'Caf\\xe9'
    db -> /tree/db
  /db
    /main
      names = [u'a', 1]
      off = None
      on = True
      ratio = 0.5
      /127.0.0.1:9
        monitor = u'127.0.0.1:10'
        pid = 7
      /[::1]:8
        pid = 8
  /empty
  /link
    loop -> /tree/link/loop
    self -> /tree
    up -> ../db/main
  /note
    string_value = 'only text'
"""


def test_tree_of_a_path(tree):
    """T74"""
    result = zkzeo('tree', f'{tree.connection}/tree')
    assert (result.stdout, result.stderr, result.returncode) == (PRINTED, '', 0)


def test_tree_of_everything(tree):
    result = zkzeo('tree', tree.connection)
    assert PRINTED in result.stdout
    assert '/zookeeper' not in result.stdout
    assert result.stdout == zkzeo('tree', f'{tree.connection}/').stdout


def test_links_are_followed(tree):
    result = zkzeo('tree', f'{tree.connection}/tree/cms/db/main')
    assert result.stdout.startswith('/main\n  names')
    assert zkzeo('tree', f'{tree.connection}/tree/link/up').stdout == result.stdout


def test_servers(tree):
    result = zkzeo('servers', f'{tree.connection}/tree/cms/db/main')
    assert result.stdout == '127.0.0.1:9 pid=7 monitor=127.0.0.1:10\n[::1]:8 pid=8\n'
    result = zkzeo('servers', '--json', f'{tree.connection}/tree/db/main')
    assert json.loads(result.stdout) == [
        {'address': '127.0.0.1:9', 'path': '/tree/db/main', 'pid': 7, 'monitor': '127.0.0.1:10'},
        {'address': '[::1]:8', 'path': '/tree/db/main', 'pid': 8}]


@pytest.mark.parametrize('path,text', [
    ('/nothing', "the path '/nothing' does not exist"),
    ('/tree/cms/db/x', "the path '/tree/cms/db/x' does not exist: there is no '/tree/db/x'"),
    ('/tree/link/loop', "the path '/tree/link/loop' leads through a loop of links"),
])
def test_paths_that_lead_nowhere(tree, path, text):
    for command in 'tree', 'servers':
        result = zkzeo(command, tree.connection + path)
        assert (result.stdout, result.stderr, result.returncode) == (
            '', f'zkzeo {command}: {text}\n', 1)


def test_no_zookeeper():
    result = zkzeo('tree', '127.0.0.1:1')
    assert result.stderr == "zkzeo tree: Can't connect to ZooKeeper at '127.0.0.1:1'\n"
    assert result.returncode == 1
    result = zkzeo('tree', 'nobody.invalid')
    assert result.stderr == ("zkzeo tree: Can't connect to ZooKeeper at 'nobody.invalid': "
                             'no host of it is known\n')
    assert result.returncode == 1


@pytest.mark.parametrize('args', [
    [], ['nope'], ['tree'], ['tree', 'a', 'b'], ['servers'], ['servers', '127.0.0.1:1'],
    ['servers', '--json'], ['servers', '--xml', '127.0.0.1:1/a']])
def test_usage(args):
    result = zkzeo(*args)
    assert (result.stdout, result.returncode) == ('', 2)
    assert 'usage: zkzeo' in result.stderr


def test_help_and_version():
    assert zkzeo('--help').stdout.startswith('usage: zkzeo COMMAND')
    assert zkzeo('tree', '--help').stdout.startswith('usage: zkzeo tree CONNECTION[/PATH]\n')
    assert zkzeo('--version').stdout.startswith('zkzeo ')


def test_bad_connection_string():
    result = zkzeo('tree', '127.0.0.1:x/a')
    assert result.returncode == 1
    assert "'127.0.0.1:x' is no ZooKeeper address" in result.stderr
