#include "codec/utf8.h"

/* Bytes of the sequence at @p and its code point, or 0 when it is malformed. */
static size_t sequence(const uint8_t *p, size_t left, uint32_t *ret)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
	uint32_t c = p[0] & (0xffu >> (n + 1));

	if (p[0] < 0xc2 || p[0] > 0xf4 || n > left)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	if (c < least[n] || c > 0x10ffff)
		return 0;
	*ret = c;
	return n;
}

bool utf8_ok(struct slice s, bool surrogates)
{
	size_t i = 0;

	while (i < s.len) {
		uint32_t c = 0;
		size_t n = 1;

		if (s.data[i] >= 0x80) {
			n = sequence(s.data + i, s.len - i, &c);
			if (n == 0 || (!surrogates && c >= 0xd800 && c <= 0xdfff))
				return false;
		}
		i += n;
	}
	return true;
}
