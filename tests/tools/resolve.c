/* Resolve conflicts, for the comparison with BTrees and ZODB.
 *
 * resolve                                   with BTrees' classes only
 * resolve PYTHON PROCESSES TIMEOUT_MS PATH  with everything a server has; PYTHON - is none
 *
 * stdin:  requests: four numbers of 4 bytes (big-endian), the lengths of the old, the committed
 *         and the changed record and 0; then the records
 * stdout: for each, 4 bytes length, then '+' and the merged record, or a letter and the error's
 *         text: 'C' conflict, 'U' left to others, 'E' anything else. With processes, one answer
 *         comes first of all: '+', or 'E' and why they cannot be started */
#include <stdio.h>
#include <stdlib.h>

#include "base/bigendian.h"
#include "base/mem.h"
#include "resolver/btrees.h"
#include "resolver/resolvers.h"

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
	if (s.len)
		fwrite(s.data, 1, s.len, stdout);
	fflush(stdout);
}

static int open_all(char **argv, struct resolver **ret)
{
	const char *path[] = { argv[4] };
	struct helper_pool_options o = { .python = argv[1],
		.path = path,
		.path_n = argv[4][0] ? 1 : 0,
		.processes = (uint32_t)atoi(argv[2]),
		.timeout_ms = (uint32_t)atoi(argv[3]) };
	struct buf nothing = BUF_INIT(0);
	struct err e = ERR_INIT;
	int rc = resolvers_open(strcmp(argv[1], "-") == 0 ? NULL : &o, ret, &e);

	answer(rc, &nothing, &e);
	return rc;
}

int main(int argc, char **argv)
{
	struct resolver *all = NULL;
	struct buf out = BUF_INIT(0);
	uint8_t head[16];

	if (argc == 5 && open_all(argv, &all) != OK)
		return 1;
	while (fread(head, 1, sizeof(head), stdin) == sizeof(head)) {
		struct resolve_req q = { .oid = 1, .committed_serial = 3, .old_serial = 2 };
		struct err e = ERR_INIT;

		if (!read_record(get_be32(head), &q.old) ||
			!read_record(get_be32(head + 4), &q.committed) ||
			!read_record(get_be32(head + 8), &q.changed))
			return 1;
		buf_reset(&out);
		answer(all ? all->resolve(all, &q, &out, &e) : btrees_resolve(&q, &out, &e), &out,
			&e);
		mem_free((void *)q.old.data);
		mem_free((void *)q.committed.data);
		mem_free((void *)q.changed.data);
	}
	resolvers_close(all);
	buf_free(&out);
	return 0;
}
