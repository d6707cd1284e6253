"""Write a text file as a C string."""

import sys

source, target, name = sys.argv[1:]
with open(source, encoding='ascii') as f:
    lines = f.read().splitlines()
with open(target, 'w', encoding='ascii') as f:
    f.write(f'static const char {name}[] =\n')
    for line in lines:
        escaped = line.replace('\\', '\\\\').replace('"', '\\"')
        f.write(f'\t"{escaped}\\n"\n')
    f.write('\t;\n')
