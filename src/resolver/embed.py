"""Write a file as a C string, of any length."""

import sys

source, target, name = sys.argv[1:]
with open(source, 'rb') as f:
    data = f.read()
with open(target, 'w', encoding='ascii') as f:
    f.write(f'static const char {name}[] = {{\n')
    for i in range(0, len(data), 16):
        f.write('\t' + ''.join(f'{byte}, ' for byte in data[i:i + 16]) + '\n')
    f.write('\t0\n};\n')
