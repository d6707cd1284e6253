/* The references of data records, for the comparison with ZODB.serialize.referencesf.
 *
 * stdin:  records, each behind 4 bytes length (big-endian)
 * stdout: for each, 4 bytes length, '+' and the oids or '-' and the error's text */
#include <stdio.h>
#include <string.h>

#include "base/bigendian.h"
#include "base/buf.h"
#include "base/mem.h"
#include "codec/references.h"

static void scan(struct references *r, struct slice record, struct buf *out)
{
	struct err e = ERR_INIT;
	const uint64_t *oids;
	size_t n;

	if (references_scan(r, record, &oids, &n, &e) != OK) {
		buf_put_u8(out, '-');
		buf_put_str(out, e.text);
		return;
	}
	buf_put_u8(out, '+');
	for (size_t i = 0; i < n; i++)
		buf_put_be64(out, oids[i]);
}

static void answer(const struct buf *out)
{
	uint8_t head[4];

	put_be32(head, (uint32_t)out->len);
	fwrite(head, 1, sizeof(head), stdout);
	fwrite(out->data, 1, out->len, stdout);
	fflush(stdout);
}

int main(void)
{
	struct references *r = references_new();
	struct buf out = BUF_INIT(0);
	uint8_t head[4];

	while (r && fread(head, 1, sizeof(head), stdin) == sizeof(head)) {
		size_t n = get_be32(head);
		uint8_t *in = mem_alloc(n);

		if (!in || fread(in, 1, n, stdin) != n) {
			mem_free(in);
			break;
		}
		buf_reset(&out);
		scan(r, slice_of(in, n), &out);
		answer(&out);
		mem_free(in);
	}
	references_free(r);
	buf_free(&out);
	return 0;
}
