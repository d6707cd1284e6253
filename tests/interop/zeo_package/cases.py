"""The package's test cases, and what is excluded of them."""

import doctest
import unittest

import ZEO.tests.test_client_credentials
import ZEO.tests.test_client_side_conflict_resolution
import ZEO.tests.test_sync
import ZEO.tests.testConfig
import ZEO.tests.testConnection
import ZEO.tests.testConversionSupport
import ZEO.tests.testssl
import ZEO.tests.testZEO
import ZEO.tests.testZEO2
from ZEO.tests import forker

from .excluded import EXAMPLES, NO_SERVER

SUITES = (
    ZEO.tests.testZEO.test_suite,
    ZEO.tests.testZEO2.test_suite,
    ZEO.tests.testConnection.test_suite,
    ZEO.tests.testConversionSupport.test_suite,
    ZEO.tests.testConfig.test_suite,
    ZEO.tests.test_client_credentials.test_suite,
)


class FileStorageMsgpackTests(ZEO.tests.testZEO.FileStorageTests):
    """FileStorageTests in the other encoding."""

    def getZEOConfig(self):
        return forker.ZEOConfig(('127.0.0.1', 0), msgpack=True)

    def setUp(self):
        super().setUp()
        self.assertEqual(self._storage.protocol_version, b'M5')


class ClientConflictResolutionMsgpackTests(ZEO.tests.testZEO.ClientConflictResolutionTests):
    """ClientConflictResolutionTests in the other encoding."""

    def getZEOConfig(self):
        return forker.ZEOConfig(
            ('127.0.0.1', 0), client_conflict_resolution=True, msgpack=True)


class FileStorageClientConflictResolutionTests(ZEO.tests.testZEO.ClientConflictResolutionTests):
    """ClientConflictResolutionTests on a file."""

    def getConfig(self):
        return '<filestorage 1>\npath Data.fs\n</filestorage>\n'


# Those that no suite above has.
CLASSES = (
    ZEO.tests.testZEO.FileStorageTests,
    ZEO.tests.testZEO.FileStorageHexTests,
    ZEO.tests.testZEO.FileStorageClientHexTests,
    ZEO.tests.testZEO.DemoStorageTests,
    ZEO.tests.test_client_side_conflict_resolution.ClientSideConflictResolutionTests,
    ZEO.tests.test_sync.SyncTests,
    ZEO.tests.testssl.SSLConfigTest,
    FileStorageMsgpackTests,
    ClientConflictResolutionMsgpackTests,
    FileStorageClientConflictResolutionTests,
)


def _flat(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from _flat(test)
        else:
            yield test


def _of_class(cls):
    for prefix in ('check', 'test'):
        loader = unittest.TestLoader()
        loader.testMethodPrefix = prefix
        yield from loader.loadTestsFromTestCase(cls)


def _names(test):
    """(class, method) of a test; the class of a doctest is its file or module."""
    if isinstance(test, doctest.DocFileCase):
        return test.id(), ''
    if isinstance(test, doctest.DocTestCase):
        return tuple(test.id().rsplit('.', 2)[-2:])
    return type(test).__name__, test.id().rsplit('.', 1)[-1]


def _reasons(tables):
    """{name: reason}, no reason for those that are left out; a name stands in the tables once."""
    reasons = dict.fromkeys(NO_SERVER)
    for table in tables:
        for reason, names in table.items():
            for name in names:
                assert name not in reasons, name
                reasons[name] = reason
    return reasons


def _unused_name(name, entries):
    """A doctest's file is run for several kinds of client."""
    names = (name, *(f'{name}-{n}' for n in range(2, 10)))
    return next(n for n in names if n not in entries)


def _without_examples(test, name):
    """Take out the one example that EXAMPLES names."""
    part = EXAMPLES.get(name)
    if part:
        examples = test._dt_test.examples
        left = [e for e in examples if part not in e.source]
        assert len(left) == len(examples) - 1, name
        test._dt_test.examples = left


def collect(*tables):
    """({name: a test, or the reason why it is excluded}, names in the tables that name nothing).

    A class that is excluded as a whole is one entry.
    """
    tests = [t for suite in SUITES for t in _flat(suite())]
    tests += [t for cls in CLASSES for t in _of_class(cls)]
    reasons = _reasons(tables)
    unused = set(reasons)
    entries = {}
    for test in tests:
        cls, method = _names(test)
        full = f'{cls}.{method}'.rstrip('.')
        found = next((n for n in (cls, full, f'*.{method}') if n in reasons), None)
        unused.discard(found)
        _without_examples(test, cls)
        if found is None:
            entries[_unused_name(full, entries)] = test
        elif reasons[found]:
            entries[cls if found == cls else full] = reasons[found]
    return entries, unused
