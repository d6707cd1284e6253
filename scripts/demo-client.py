"""The client side of the demonstration: released Python packages, and in use-ours zc.zkzeo.

  demo-client.py make-path    HOST:PORT/PATH
  demo-client.py use          HOST:PORT/PATH SERVER-PID
  demo-client.py use-ours     HOST:PORT/PATH SERVER-PID
  demo-client.py expect-empty HOST:PORT/PATH
"""

import contextlib
import os
import sys
import threading

import kazoo.client
import persistent.mapping
import transaction
import ZEO

TIMEOUT_S = 30


@contextlib.contextmanager
def zookeeper(location):
    """(started client, path)"""
    hosts, _, path = location.partition('/')
    client = kazoo.client.KazooClient(hosts=hosts)
    client.start(timeout=TIMEOUT_S)
    try:
        yield client, '/' + path
    finally:
        client.stop()
        client.close()


def make_path(location):
    with zookeeper(location) as (client, path):
        client.ensure_path(path)


def alive(pid):
    try:
        os.kill(pid, 0)
        # a server that ended stays a zombie until the script that started it looks
        with open(f'/proc/{pid}/stat') as f:
            return f.read().rpartition(')')[2].split()[0] != 'Z'
    except OSError:
        return False


def wait_for_children(location, wanted, pid=None):
    """The names below the path, once wanted(names) holds."""
    with zookeeper(location) as (client, path):
        ready = threading.Event()
        found = []

        @client.ChildrenWatch(path)
        def changed(names):
            found[:] = names
            if wanted(names):
                ready.set()
                return False

        for _ in range(TIMEOUT_S):
            if ready.wait(1):
                return sorted(found)
            if pid is not None and not alive(pid):
                sys.exit('the server has ended')
        sys.exit(f'below {location} there is {found} after {TIMEOUT_S} s')


def use(location, pid):
    addresses = []
    for name in wait_for_children(location, bool, int(pid)):
        host, _, port = name.rpartition(':')
        addresses.append((host.strip('[]'), int(port)))
    print('found in ZooKeeper:', addresses)

    db = ZEO.DB(addresses, wait_timeout=TIMEOUT_S)
    with db.transaction(note='demo') as connection:
        people = connection.root()['people'] = persistent.mapping.PersistentMapping()
        people['ada'] = persistent.mapping.PersistentMapping(born=1815)
        people['grace'] = persistent.mapping.PersistentMapping(born=1906)
    print('committed:', sorted(people))
    db.close()

    # a second database object: nothing comes from the first one's cache
    db = ZEO.DB(addresses, wait_timeout=TIMEOUT_S)
    connection = db.open(transaction.TransactionManager())
    people = connection.root()['people']
    read = {name: dict(person) for name, person in people.items()}
    print('read back:', read)
    print('last transaction:', db.lastTransaction().hex())
    connection.close()
    db.close()
    if read != {'ada': {'born': 1815}, 'grace': {'born': 1906}}:
        sys.exit('what was read is not what was committed')


def use_ours(location, pid):
    import zc.zkzeo
    hosts, _, path = location.partition('/')
    db = zc.zkzeo.DB(hosts, '/' + path, wait_timeout=TIMEOUT_S)
    print('found in ZooKeeper:', list(db.storage.zookeeper_addresses))
    with db.transaction(note='demo') as connection:
        people = connection.root()['people']
        print('read:', {name: dict(person) for name, person in people.items()})
        people['alan'] = persistent.mapping.PersistentMapping(born=1912)
    db.close()

    connection = zc.zkzeo.connection(hosts, '/' + path, wait_timeout=TIMEOUT_S)
    read = sorted(connection.root()['people'])
    print('committed, and read back:', read)
    connection.close()
    if read != ['ada', 'alan', 'grace']:
        sys.exit('what was read is not what was committed')


def expect_empty(location):
    wait_for_children(location, lambda names: not names)
    print(f'nothing is registered at {location}')


if __name__ == '__main__':
    command = {'make-path': make_path, 'use': use, 'use-ours': use_ours,
               'expect-empty': expect_empty}[sys.argv[1]]
    command(*sys.argv[2:])
