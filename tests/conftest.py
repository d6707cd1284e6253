"""What every suite may ask for."""

import os
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get('ZKZEO_BUILD', ROOT / 'build')).resolve()

# the package zc.zkzeo as it was built, here and in the processes that tests start
PACKAGE = str(BUILD / 'python')
sys.path.insert(0, PACKAGE)
os.environ['PYTHONPATH'] = os.pathsep.join(
    filter(None, [PACKAGE, os.environ.get('PYTHONPATH')]))
# the programs it starts
os.environ['ZKZEO_PROGRAMS'] = str(BUILD / 'src' / 'bin')


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
