"""The layers of src/: who may include whom. docs/architecture.md states the table."""

import re

import pytest

RANKS = {
    'base': 0,
    'codec': 1, 'config': 1, 'net': 1,
    'zookeeper': 2, 'storage': 2, 'zeo': 2, 'object': 2,
    'resolver': 3, 'server': 3, 'client': 3, 'monitor': 3,
    'database': 4, 'fanout': 4,
    'lib': 5, 'bin': 5,
}
# narrower than the ranks say
ONLY = {
    'config': {'base'},
    'storage': {'base', 'codec'},
    'object': {'base', 'codec'},
    'resolver': {'base', 'codec', 'storage'},
}
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]', re.M)


def includes(text):
    return [(quote == '"', name) for quote, name in INCLUDE.findall(text)]


def problem(path, name):
    """Why the file at src/`path` may not include "`name`", or None."""
    own, _, _ = path.partition('/')
    if '/' not in name:
        # generated, or a private header beside the file
        return None
    target, _, _ = name.partition('/')
    if target not in RANKS:
        return f'{name} is in no layer'
    if target == own:
        return None
    if target not in ONLY.get(own, RANKS):
        return f'{own} may include {", ".join(sorted(ONLY[own]))} only, not {name}'
    if RANKS[target] >= RANKS[own]:
        return f'{own} (rank {RANKS[own]}) includes {name} (rank {RANKS[target]})'
    return None


@pytest.mark.parametrize('path, name, wrong', [
    ('storage/a.c', 'base/err.h', False),
    ('storage/filestorage/a.c', 'storage/storage.h', False),
    ('bin/zkrunzeo.c', 'server/server.h', False),
    ('storage/a.c', 'zeo/frame.h', True),
    ('storage/a.c', 'net/listen.h', True),
    ('base/a.c', 'codec/tid.h', True),
    ('server/a.c', 'client/a.h', True),
    ('config/a.c', 'codec/val.h', True),
    ('server/a.c', 'elsewhere/a.h', True),
])
def test_the_rule_itself(path, name, wrong):
    assert bool(problem(path, name)) is wrong


def test_includes(root, sources):
    wrong = []
    for path in sources('src'):
        relative = path.relative_to(root / 'src').as_posix()
        assert relative.partition('/')[0] in RANKS, f'src/{relative} is in no layer'
        for quoted, name in includes(path.read_text()):
            why = problem(relative, name) if quoted else None
            if why:
                wrong.append(f'src/{relative}: {why}')
    assert not wrong, '\n'.join(wrong)


def test_only_one_file_knows_the_zookeeper_library(root, sources):
    users = [
        path.relative_to(root).as_posix()
        for path in sources('src')
        if any(name.startswith('zookeeper/') and not quoted
               for quoted, name in includes(path.read_text()))]
    assert set(users) <= {'src/zookeeper/session.c'}


def test_the_public_headers_are_for_the_library(root, sources):
    users = {
        path.relative_to(root / 'src').parts[0]
        for path in sources('src')
        if any(name.startswith('zkzeo/') for _, name in includes(path.read_text()))}
    assert users <= {'lib'}


def test_public_headers_need_no_other(root, sources):
    for path in sources('include'):
        for quoted, name in includes(path.read_text()):
            assert not quoted or (root / 'include' / name).exists(), f'{path}: {name}'


def test_only_one_file_knows_openssl(root, sources):
    users = [
        path.relative_to(root).as_posix()
        for path in sources('src')
        if any(name.startswith('openssl/') for _, name in includes(path.read_text()))]
    assert set(users) <= {'src/net/tls.c'}


def test_no_quoted_include_reaches_the_zookeeper_library(root, sources):
    """"zookeeper/x.h" in quotes has to be a header of ours."""
    for path in sources('src'):
        for quoted, name in includes(path.read_text()):
            if quoted and '/' in name:
                assert (root / 'src' / name).exists(), f'{path}: {name} is not in src/'
