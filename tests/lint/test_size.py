"""Files and functions stay small enough to be read in one go."""

import re

FILE_LINES = 1000
FUNCTION_LINES = 70


def blank(text):
    """The text with comments, strings and character constants turned into spaces."""
    def spaces(match):
        return re.sub(r'[^\n]', ' ', match.group())
    return re.sub(
        r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', spaces, text, flags=re.S)


def functions(text):
    """(name, lines of the body with its braces) of each function of a C file.

    A function is a brace at depth 0 whose head ends in a closing parenthesis.
    """
    text = blank(text)
    depth = start = head = 0
    name = None
    for i, c in enumerate(text):
        if c == '{':
            if depth == 0:
                before = text[head:i].rstrip()
                match = re.search(r'(\w+)\s*\(', before)
                is_function = before.endswith(')') and match
                name = match.group(1) if is_function else None
                start = i
            depth += 1
        elif c == '}':
            depth -= 1
            assert depth >= 0, 'braces do not balance'
            if depth == 0:
                if name:
                    yield name, text.count('\n', start, i) + 1
                head = i + 1
        elif c == ';' and depth == 0:
            head = i + 1
    assert depth == 0, 'braces do not balance'


def test_functions_are_found():
    text = '''
struct s { int a; };
static int first(struct s *s) /* { */
{
\tif (s->a == '{')
\t\treturn 1;
\treturn "}"[0];
}
int table[] = { 1, 2 };
int second(void) { return 0; }
'''
    assert list(functions(text)) == [('first', 5), ('second', 1)]


def test_files(root, files):
    text_files = [p for p in files() if p.suffix in ('.c', '.h', '.py')]
    long = [(p.relative_to(root).as_posix(), n) for p in text_files
            if (n := len(p.read_text().splitlines())) > FILE_LINES]
    assert not long


def test_functions(root, sources):
    long = []
    for path in sources('src', 'bench', 'tests', 'python'):
        for name, lines in functions(path.read_text()):
            if lines > FUNCTION_LINES:
                long.append(f'{path.relative_to(root)}: {name} has {lines} lines')
    assert not long, '\n'.join(long)
