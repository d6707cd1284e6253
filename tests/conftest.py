"""What every suite may ask for."""

import json
import os
import pathlib
import re
import signal
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get('ZKZEO_BUILD', ROOT / 'build')).resolve()

# a shell's background jobs ignore it, and so would all that tests start
signal.signal(signal.SIGINT, signal.default_int_handler)
# the package zc.zkzeo as it was built, here and in the processes that tests start
PACKAGE = str(BUILD / 'python')
sys.path.insert(0, PACKAGE)
os.environ['PYTHONPATH'] = os.pathsep.join(
    filter(None, [PACKAGE, os.environ.get('PYTHONPATH')]))
# the programs it starts
os.environ['ZKZEO_PROGRAMS'] = str(BUILD / 'src' / 'bin')


def _is_sanitized():
    try:
        options = json.loads((BUILD / 'meson-info' / 'intro-buildoptions.json').read_text())
    except OSError:
        return False
    return any(o['name'] == 'b_sanitize' and o['value'] != 'none' for o in options)


SANITIZED = _is_sanitized()
PRELOADED = 'san.so' in os.environ.get('LD_PRELOAD', '')
LOADS_THE_EXTENSION = re.compile(r'^\s*(import zc\.zk|from zc\.zk|from zeo_package import client$)', re.M)


def pytest_ignore_collect(collection_path):
    """A sanitizer's runtime has to come first in a process: Python cannot load what needs it.

    Where it does, which scripts/run-tests sees to, that is what is run.
    """
    if SANITIZED and collection_path.suffix == '.py' and collection_path.name != 'conftest.py':
        text = collection_path.read_text()
        if bool(LOADS_THE_EXTENSION.search(text)) != PRELOADED:
            return True
    return None


@pytest.fixture(scope='session')
def root():
    """The source tree."""
    return ROOT


@pytest.fixture(scope='session')
def build():
    """The build directory under test; scripts/run-tests names it."""
    return BUILD


@pytest.fixture(scope='session')
def programs(build):
    """The folder of the built programs."""
    folder = build / 'src' / 'bin'
    if not (folder / 'zkrunzeo').exists():
        pytest.fail(f'{folder}/zkrunzeo is not built')
    return folder
