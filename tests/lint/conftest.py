"""The files the lint tests look at: what git knows, and what is not yet added."""

import subprocess

import pytest


@pytest.fixture(scope='session')
def files(root):
    """files(*folders): every file of the project in these folders, all without arguments."""
    if not (root / '.git').exists():
        pytest.skip('not a git checkout')

    def listed(*folders):
        out = subprocess.run(
            ['git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard', '--', *folders],
            cwd=root, check=True, capture_output=True).stdout
        paths = [root / name.decode() for name in out.split(b'\0') if name]
        return [path for path in paths if path.is_file()]
    return listed


@pytest.fixture(scope='session')
def sources(files):
    """sources(*folders): the C files and headers among them."""
    def listed(*folders):
        found = [p for p in files(*folders) if p.suffix in ('.c', '.h')]
        assert found, f'no C source in {folders}'
        return found
    return listed
