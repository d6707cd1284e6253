"""The demonstration and the installation do what the README says."""

import os
import subprocess

from sanitized import ENVIRONMENT


def _environment():
    """What a sanitizer needs first in a process is for the client's alone: the shell crashes with the thread sanitizer's."""
    environment = dict(ENVIRONMENT)
    libraries = environment.pop('LD_PRELOAD', '')
    if libraries:
        environment['ZKZEO_DEMO_PYTHON'] = f'env LD_PRELOAD={libraries.replace(" ", ":")} .venv/bin/python'
    return environment


def test_demo(root, build, programs):
    run = subprocess.run(
        [root / 'scripts' / 'demo', build], capture_output=True, text=True, timeout=110,
        env=_environment())
    assert run.returncode == 0, run.stdout + run.stderr
    assert "read back: {'ada': {'born': 1815}, 'grace': {'born': 1906}}" in run.stdout
    tree = run.stdout.partition('* zkzeo tree')[2].partition('* stopping')[0]
    assert '/databases' in tree
    assert '/demo' in tree
    assert '/127.0.0.1:' in tree
    assert 'pid = ' in tree


def test_demo_reports_a_failure(root, tmp_path):
    """A server that does not start: not zero, nothing left running."""
    folder = tmp_path / 'src' / 'bin'
    folder.mkdir(parents=True)
    for name in ('zkrunzeo', 'zkzeo'):
        (folder / name).write_text('#!/bin/sh\nexit 1\n')
        (folder / name).chmod(0o755)
    run = subprocess.run(
        [root / 'scripts' / 'demo', tmp_path], capture_output=True, text=True, timeout=110,
        env={**os.environ, 'TMPDIR': str(tmp_path)})
    assert run.returncode != 0
    assert 'the server has ended' in run.stderr
    assert not list(tmp_path.glob('tmp.*')), 'the folder is left over'


def test_install(build, programs, tmp_path):
    subprocess.run(
        ['meson', 'install', '-C', build, '--no-rebuild', '--quiet', '--destdir', tmp_path],
        check=True, capture_output=True, timeout=60)
    found = {p.name: p for p in tmp_path.rglob('*') if p.is_file()}
    for name in ('zkrunzeo', 'zkzeo'):
        run = subprocess.run(
            [found[name], '--version'], capture_output=True, text=True, timeout=20, cwd=tmp_path)
        assert run.returncode == 0, run.stderr
        assert '0.1.0' in run.stdout
    assert 'zkrunzeo.1' in found
