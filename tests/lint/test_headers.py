"""Every header compiles alone: it includes what it uses, and is guarded."""

import concurrent.futures
import json
import os
import re
import shlex
import subprocess

FLAGS = re.compile(r'-(I|isystem|D|std=|pthread)')


def flags(build):
    """What the build compiles its own sources with: include folders and definitions."""
    out = []
    for entry in json.loads((build / 'compile_commands.json').read_text()):
        words = shlex.split(entry['command'])
        for i, word in enumerate(words):
            if word == '-isystem':
                out += [word, words[i + 1]]
            elif word.startswith('-I') and len(word) > 2:
                # relative to the build folder; a target's private folder has nothing for us
                if '.p' not in word.split('/')[-1]:
                    out.append('-I' + os.path.normpath(
                        os.path.join(entry['directory'], word[2:])))
            elif FLAGS.match(word):
                out.append(word)
    return list(dict.fromkeys(out))


def compile_alone(header, options):
    # twice: the second inclusion has to be empty
    text = f'#include "{header}"\n#include "{header}"\n'
    run = subprocess.run(
        ['cc', '-x', 'c', '-fsyntax-only', '-Wall', '-Wextra', '-Wno-unused-parameter',
         '-Werror', *options, '-'],
        input=text, capture_output=True, text=True)
    return f'{header}\n{run.stderr}' if run.returncode else None


def test_headers_compile_alone(build, sources):
    headers = [p for p in sources('src', 'include', 'python') if p.suffix == '.h']
    options = flags(build)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        errors = [e for e in pool.map(lambda h: compile_alone(h, options), headers) if e]
    assert not errors, '\n'.join(errors)


def test_an_incomplete_header_is_found(tmp_path, build):
    header = tmp_path / 'incomplete.h'
    header.write_text('struct s {\n\tuint64_t off;\n};\n')
    assert compile_alone(header, flags(build))
