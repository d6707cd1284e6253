"""The ZEO package's own tests with our client in place of its own, against both servers.

Everything runs where the environment has ZKZEO_ALL_TESTS=1; else what takes long is run with the stock
client only (test_zeo_package.py), and with Python's server the classes about a client.
"""

import contextlib
import os
import unittest

import pytest
from zeo_package import client
from zeo_package.cases import collect
from zeo_package.excluded import CLIENT_EXCLUDED, EXCLUDED, PYTHON_SERVER_EXCLUDED
from zeo_package.forker import Forker

ALL = os.environ.get('ZKZEO_ALL_TESTS') == '1'
THREAD_SANITIZED = 'libtsan' in os.environ.get('LD_PRELOAD', '')
NO_FORK = 'the thread sanitizer knows no threads after a fork'
FORKS = ('MultiprocessingTests',)
SLOW = ('checkConcurrentUpdates', 'checkConcurrentLargeUpdates', 'zeo_blob_cache',
        'test_race_', 'StorageThreads', 'checkReconnectUpgrade')
WITH_PYTHON = ('FileStorageTests.', 'MappingStorageTests.', 'ReconnectionTests', 'InvqTests',
               'ClientConflictResolutionTests', 'BlobAdaptedFileStorageTests.',
               'FileStorageConnectionTests', 'testZEO.')


@pytest.fixture
def zkrunzeo(programs, tmp_path, monkeypatch):
    forker = Forker(programs / 'zkrunzeo', tmp_path)
    with forker.installed():
        yield forker


@pytest.fixture(autouse=True)
def server_processes(monkeypatch):
    """The thread sanitizer knows no threads of a forked process: Python's server is started anew there."""
    if THREAD_SANITIZED:
        monkeypatch.setenv('ZEO_PROCESS_TYPE', 'spawn')


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    folder = tmp_path / 'run'
    folder.mkdir()
    monkeypatch.chdir(folder)


def _run(test):
    result = unittest.TestResult()
    with client.installed(test):
        test.run(result)
    return ('\n'.join(text for _, text in result.errors + result.failures),
            [reason for _, reason in result.skipped])


def _params(wanted, *tables):
    entries, unused = collect(*tables)
    assert not unused
    for name, entry in entries.items():
        if ALL or wanted(name):
            if THREAD_SANITIZED and any(f in name for f in FORKS):
                entry = NO_FORK
            skip = [pytest.mark.skip(reason=entry)] if isinstance(entry, str) else []
            yield pytest.param(entry, id=name, marks=skip)


@pytest.mark.parametrize('test', list(_params(
    lambda name: not any(s in name for s in SLOW), EXCLUDED, CLIENT_EXCLUDED)))
def test_with_zkrunzeo(zkrunzeo, test):
    zkrunzeo.resolves = 'resol' in test.id().lower()
    with contextlib.ExitStack() as stack:
        if 'test_prefetch' in test.id():
            stack.enter_context(client.answered_when_looked(zkrunzeo.processes))
        failed, skipped = _run(test)
    zkrunzeo.close()
    if failed:
        pytest.fail(f'{failed}\n{zkrunzeo.output()}', pytrace=False)
    if skipped:
        pytest.skip(skipped[0])


@pytest.mark.parametrize('test', list(_params(
    lambda name: any(s in name for s in WITH_PYTHON) and not any(s in name for s in SLOW),
    PYTHON_SERVER_EXCLUDED, CLIENT_EXCLUDED)))
def test_with_python(test):
    failed, skipped = _run(test)
    if failed:
        pytest.fail(failed, pytrace=False)
    if skipped:
        pytest.skip(skipped[0])
