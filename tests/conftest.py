"""What every suite may ask for."""

import os
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(scope='session')
def root():
    """The source tree."""
    return ROOT


@pytest.fixture(scope='session')
def build():
    """The build directory under test; scripts/run-tests names it."""
    return pathlib.Path(os.environ.get('ZKZEO_BUILD', ROOT / 'build')).resolve()


@pytest.fixture(scope='session')
def programs(build):
    """The folder of the built programs."""
    folder = build / 'src' / 'bin'
    if not (folder / 'zkrunzeo').exists():
        pytest.fail(f'{folder}/zkrunzeo is not built')
    return folder
