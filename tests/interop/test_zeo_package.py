"""The ZEO package's own test classes for FileStorage and MappingStorage, against zkrunzeo."""

import unittest

import pytest
from zeo_package.cases import collect
from zeo_package.excluded import EXCLUDED
from zeo_package.forker import Forker, ServerError

# Python's client, when it is closed in the middle of a call.
pytestmark = pytest.mark.filterwarnings('ignore:coroutine .* was never awaited:RuntimeWarning')

ENTRIES, UNUSED = collect(EXCLUDED)


@pytest.fixture
def forker(programs, tmp_path, monkeypatch):
    folder = tmp_path / 'run'
    folder.mkdir()
    monkeypatch.chdir(folder)
    forker = Forker(programs / 'zkrunzeo', tmp_path)
    with forker.installed():
        yield forker


def _run(test):
    result = unittest.TestResult()
    test.run(result)
    failed = [text for _, text in result.errors + result.failures]
    return '\n'.join(failed), [reason for _, reason in result.skipped]


def _params():
    for name, entry in ENTRIES.items():
        skip = [pytest.mark.skip(reason=entry)] if isinstance(entry, str) else []
        yield pytest.param(entry, id=name, marks=skip)


@pytest.mark.parametrize('test', list(_params()))
def test_zeo_package(forker, test):
    forker.resolves = 'resol' in test.id().lower()
    failed, skipped = _run(test)
    if not forker.processes:
        failed += '\nno zkrunzeo was started: the test does not test it'
    try:
        forker.close()
    except ServerError as e:
        failed += f'\n{e}'
    if failed:
        pytest.fail(f'{failed}\n{forker.output()}', pytrace=False)
    if skipped:
        pytest.skip(skipped[0])


def test_exclusions_name_tests():
    """A name that names nothing is a mistake, or another version of the package."""
    assert not UNUSED
