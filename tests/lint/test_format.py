"""The C code is as clang-format with .clang-format leaves it (`make fmt`)."""

import shutil
import subprocess

import pytest


def test_formatted(root, sources):
    if not shutil.which('clang-format'):
        pytest.skip('clang-format is not installed')
    report = subprocess.run(['clang-format', '--dry-run', *sources()], cwd=root, text=True,
                            capture_output=True).stderr
    wrong = sorted({line.split(':')[0] for line in report.splitlines() if ' warning: ' in line})
    assert not wrong, 'make fmt would change: ' + ', '.join(wrong)
