/* Any bytes as a record: an error, or values; what is written of them is read as the same. */
#include "base/check.h"
#include "base/mem.h"
#include "fuzz.h"
#include "object/object.h"

static void write_and_read(const struct object_record *r)
{
	struct buf out = BUF_INIT(0);
	struct object_record again = { 0 };
	struct err e = ERR_INIT;
	int rc = object_write(r, &out, &e);

	if (rc == OK) {
		rc = object_read(buf_slice(&out), &again, &e);
		CHECK(rc == OK && !again.fixed);
		CHECK(value_len(again.state) == value_len(r->state));
		CHECK(value_kind(again.state) == value_kind(r->state));
		object_free(&again);
	} else {
		CHECK(e.code == rc && e.text[0] && (r->fixed || rc == ERR_LIMIT));
	}
	buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct object_record r = { 0 };
	struct buf shown = BUF_INIT(0);
	struct err e = ERR_INIT;
	int rc = object_read(slice_of(data, n), &r, &e);

	if (rc == OK) {
		value_show(r.state, 1000, &shown);
		write_and_read(&r);
		object_free(&r);
	} else {
		CHECK(e.code == rc && e.text[0]);
	}
	buf_free(&shown);
	return 0;
}
