"""What a client does when its list of servers comes from a real ZooKeeper: the examples of zc.zkzeo's tests."""

import subprocess
import time

import pytest

from zk import BUILD, ensemble, wait_for  # noqa: F401

FIND_SERVERS = BUILD / 'tests/tools/find_servers'


class Finding:
    def __init__(self, output, *args):
        self.output = output
        with open(output, 'wb') as f:
            self.process = subprocess.Popen(
                [FIND_SERVERS, *args], stdin=subprocess.PIPE, stdout=f, stderr=f)

    @property
    def lines(self):
        return self.output.read_text(errors='replace').splitlines()

    def wait_for(self, *lines):
        """Until exactly these lines are there."""
        wait_for(lines, lambda: (self.lines == list(lines) or len(self.lines) > len(lines)
                                 or self.process.poll() is not None), 30)
        assert self.lines == list(lines)

    def stop(self):
        self.process.stdin.close()
        assert self.process.wait(20) == 0


@pytest.fixture
def find(ensemble, tmp_path):
    started = []
    ensemble.fresh('/demo')

    def start(*args, connection=None, path='/demo'):
        process = Finding(tmp_path / f'output{len(started)}',
                          connection or ensemble.connection, path, *args)
        started.append(process)
        return process

    yield start
    for process in started:
        process.process.kill()
        process.process.wait()
        process.process.stdin.close()


def test_servers_are_there(ensemble, find):
    ensemble.client.create('/demo/127.0.0.1:2')
    ensemble.client.create('/demo/[::1]:1')
    where = f'<{ensemble.connection}/demo>'
    f = find()
    first = ('opened',
             f"zc.zkzeo INFO Addresses from {where}: ['127.0.0.1:2', '[::1]:1']",
             'client: 127.0.0.1:2 [::1]:1')
    f.wait_for(*first)
    ensemble.client.delete('/demo/127.0.0.1:2')
    f.wait_for(*first, f"zc.zkzeo INFO Addresses from {where}: ['[::1]:1']", 'client: [::1]:1')
    f.stop()


def test_start_with_empty_addresses(ensemble, find):
    """client_start_with_empty_addresses"""
    where = f'<{ensemble.connection}/demo>'
    f = find()
    f.wait_for(f'zc.zkzeo WARNING No addresses from {where}')
    ensemble.client.create('/demo/127.0.0.1:1', ephemeral=True)
    f.wait_for(f'zc.zkzeo WARNING No addresses from {where}',
               f'zc.zkzeo WARNING OK: Got addresses from {where}',
               'opened',
               f"zc.zkzeo INFO Addresses from {where}: ['127.0.0.1:1']",
               'client: 127.0.0.1:1')


def test_start_with_empty_addresses_and_no_wait(ensemble, find):
    """client_start_with_empty_addresses_and_no_wait"""
    where = f'<{ensemble.connection}/demo>'
    f = find('--no-wait')
    f.wait_for('opened', f'zc.zkzeo WARNING No addresses from {where}', 'client:')
    ensemble.client.create('/demo/127.0.0.1:1', ephemeral=True)
    f.wait_for('opened', f'zc.zkzeo WARNING No addresses from {where}', 'client:',
               f'zc.zkzeo WARNING OK: Addresses from {where}',
               f"zc.zkzeo INFO Addresses from {where}: ['127.0.0.1:1']",
               'client: 127.0.0.1:1')


def test_no_zookeeper(find):
    """client_exception_when_no_zookeeper_running"""
    start = time.monotonic()
    f = find(connection='127.0.0.1:1')
    f.wait_for("error: timeout: Can't connect to ZooKeeper at '127.0.0.1:1'")
    assert time.monotonic() - start < 15
    assert f.process.wait(20) == 1


def test_no_such_path(ensemble, find):
    find(path='/nothing').wait_for(
        f"error: not found: ZooKeeper at '{ensemble.connection}': "
        "the path '/nothing' does not exist")


def test_zookeeper_goes_away(ensemble, find):
    """T38: nothing happens to who has a server."""
    ensemble.client.create('/demo/127.0.0.1:1')
    where = f'<{ensemble.connection}/demo>'
    lines = ['opened', f"zc.zkzeo INFO Addresses from {where}: ['127.0.0.1:1']",
             'client: 127.0.0.1:1']
    f = find()
    f.wait_for(*lines)
    ensemble.restart()
    ensemble.client.create('/demo/127.0.0.1:2')
    lines += [f"zc.zkzeo INFO Addresses from {where}: ['127.0.0.1:1', '127.0.0.1:2']",
              'client: 127.0.0.1:1 127.0.0.1:2']
    f.wait_for(*lines)


def test_zookeeper_loses_its_data(ensemble, find):
    """T35, T70: the list is empty until the servers are there again."""
    ensemble.client.create('/demo/127.0.0.1:1')
    where = f'<{ensemble.connection}/demo>'
    lines = ['opened', f"zc.zkzeo INFO Addresses from {where}: ['127.0.0.1:1']",
             'client: 127.0.0.1:1']
    f = find()
    f.wait_for(*lines)
    ensemble.wipe()
    lines += [f'zc.zkzeo WARNING No addresses from {where}', 'client:']
    f.wait_for(*lines)
    ensemble.client.create('/demo/127.0.0.1:3', makepath=True)
    lines += [f'zc.zkzeo WARNING OK: Addresses from {where}',
              f"zc.zkzeo INFO Addresses from {where}: ['127.0.0.1:3']", 'client: 127.0.0.1:3']
    f.wait_for(*lines)
