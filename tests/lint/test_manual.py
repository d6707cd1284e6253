"""The manual says what the programs say: options, and the keys of the configuration."""

import re
import subprocess

import pytest


def man_text(path):
    """A man page without its markup."""
    text = path.read_text()
    text = re.sub(r'\\f[BIRP]', '', text)
    return text.replace('\\-', '-').replace('\\(en', '-')


def options(help_text):
    return set(re.findall(r'(?<![\w-])(--?[a-zA-Z][\w-]*)', help_text))


@pytest.mark.parametrize('program', ['zkrunzeo', 'zkzeo'])
def test_man_page_has_every_option(program, programs, root):
    binary = programs / program
    page = root / 'man' / f'{program}.1'
    run = subprocess.run([binary, '--help'], capture_output=True, text=True, timeout=20)
    assert run.returncode == 0, run.stderr
    shown = options(run.stdout)
    assert '--help' in shown
    missing = sorted(shown - options(man_text(page)))
    assert not missing, f'{page.name} does not mention {missing}'


@pytest.mark.parametrize('page', ['zkrunzeo'])
def test_man_page_is_well_formed(page, root):
    text = (root / 'man' / f'{page}.1').read_text()
    sections = re.findall(r'^\.SH "?([A-Z ]+)', text, re.M)
    for wanted in ('NAME', 'SYNOPSIS', 'DESCRIPTION', 'OPTIONS', 'EXIT STATUS', 'SIGNALS', 'FILES'):
        assert wanted in sections


def test_man_page_has_every_function(root):
    page = man_text(root / 'man' / 'libzkzeo.3')
    declared = set()
    for header in (root / 'include' / 'zkzeo').glob('*.h'):
        declared |= set(re.findall(
            r'\b(zkzeo_\w+)\(', re.sub(r'/\*.*?\*/', '', header.read_text(), flags=re.S)))
    assert declared
    assert not declared - set(re.findall(r'zkzeo_\w+', page))
    assert not set(re.findall(r'zkzeo_\w+', page)) - declared - {'zkzeo_code', 'zkzeo_error'}
