/* Resolve conflicts, for the comparison with BTrees and ZODB.
 *
 * stdin:  requests: four numbers of 4 bytes (big-endian), the lengths of the old, the committed
 *         and the changed record and 0; then the records
 * stdout: for each, 4 bytes length, then '+' and the merged record, or a letter and the error's
 *         text: 'C' conflict, 'U' left to others, 'E' anything else */
#include <stdio.h>

#include "base/bigendian.h"
#include "base/mem.h"
#include "resolver/btrees.h"

static bool read_record(size_t n, struct slice *ret)
{
	uint8_t *p = mem_alloc(n);

	*ret = slice_of(p, n);
	return p && fread(p, 1, n, stdin) == n;
}

static void answer(int rc, const struct buf *record, const struct err *e)
{
	struct slice s = rc == OK ? buf_slice(record) : slice_str(e->text);
	uint8_t head[5];

	put_be32(head, (uint32_t)s.len + 1);
	head[4] = rc == OK ? '+' : rc == ERR_CONFLICT ? 'C' : rc == ERR_UNSUPPORTED ? 'U' : 'E';
	fwrite(head, 1, sizeof(head), stdout);
	fwrite(s.data, 1, s.len, stdout);
	fflush(stdout);
}

int main(void)
{
	struct buf out = BUF_INIT(0);
	uint8_t head[16];

	while (fread(head, 1, sizeof(head), stdin) == sizeof(head)) {
		struct resolve_req q = { .oid = 1, .committed_serial = 3, .old_serial = 2 };
		struct err e = ERR_INIT;

		if (!read_record(get_be32(head), &q.old) ||
			!read_record(get_be32(head + 4), &q.committed) ||
			!read_record(get_be32(head + 8), &q.changed))
			return 1;
		buf_reset(&out);
		answer(btrees_resolve(&q, &out, &e), &out, &e);
		mem_free((void *)q.old.data);
		mem_free((void *)q.committed.data);
		mem_free((void *)q.changed.data);
	}
	buf_free(&out);
	return 0;
}
