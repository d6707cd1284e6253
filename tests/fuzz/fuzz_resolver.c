/* Any bytes as the three records of a conflict: nothing breaks, and what is merged can be merged with
 * itself. The lengths of the first two records stand in front, two bytes each. */
#include "base/bigendian.h"
#include "base/check.h"
#include "fuzz.h"
#include "resolver/btrees.h"

static struct slice cut(struct slice *rest, size_t n)
{
	struct slice s = slice_of(rest->data, n < rest->len ? n : rest->len);

	*rest = slice_of(rest->data + s.len, rest->len - s.len);
	return s;
}

/* Nothing changed on either side: this is no conflict, unless the values do not compare. */
static void again(struct slice record)
{
	struct resolve_req q = { .old = record, .committed = record, .changed = record };
	struct buf out = BUF_INIT(64 << 20);
	struct err e = ERR_INIT;
	int rc = btrees_resolve(&q, &out, &e);

	CHECK(rc == OK || rc == ERR_CONFLICT || rc == ERR_UNSUPPORTED);
	buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct slice rest = slice_of(data, n);
	struct buf out = BUF_INIT(64 << 20);
	struct resolve_req q = { .oid = 1 };
	struct err e = ERR_INIT;
	struct slice head = cut(&rest, 4);
	int rc;

	if (head.len < 4)
		return 0;
	q.old = cut(&rest, get_be16(head.data));
	q.committed = cut(&rest, get_be16(head.data + 2));
	q.changed = rest;
	rc = btrees_resolve(&q, &out, &e);
	if (rc == OK)
		again(buf_slice(&out));
	else
		CHECK(e.code == rc && e.text[0]);
	buf_free(&out);
	return 0;
}
