"""What no file of the project holds."""

import re

# written so that this file does not hold them itself
FORBIDDEN = {
    'a path of one machine': re.compile(r'(?<![\w.-])/(?:work|farm)[/\w-]*/'),
    'a mark of unfinished work': re.compile(r'\b(?:TO' r'DO|FIX' r'ME|X' r'XX)\b'),
    'trailing white space': re.compile(r'[ \t]+$', re.M),
}
BINARY = {'.png', '.fs', '.index', '.pickle', '.bin'}


def test_the_patterns():
    assert FORBIDDEN['a path of one machine'].search('see /wo' 'rk/shared/x')
    assert not FORBIDDEN['a path of one machine'].search('src/network/frame.c')
    assert FORBIDDEN['a mark of unfinished work'].search('/* TO' 'DO later */')


def test_text(root, files):
    wrong = []
    for path in files():
        name = path.relative_to(root).as_posix()
        if path.suffix in BINARY or '/corpus/' in f'/{name}' or '/data/' in f'/{name}':
            continue
        text = path.read_bytes().decode('utf-8')
        for what, pattern in FORBIDDEN.items():
            for match in pattern.finditer(text):
                line = text.count('\n', 0, match.start()) + 1
                wrong.append(f'{name}:{line}: {what}: {match.group()!r}')
        if text and not text.endswith('\n'):
            wrong.append(f'{name}: no newline at the end')
    assert not wrong, '\n'.join(wrong)
