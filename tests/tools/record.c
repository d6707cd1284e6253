/* Read data records as values, and write them again, for the comparison with Python's.
 *
 * stdin:  frames of 4 bytes length (big-endian), what is wanted (2 bytes, the second one unused), a record
 * stdout: for each, 4 bytes length, '+' and the answer or '-' and the error's text
 * Wanted: 'W' the record written again, 'S' its state shown, 'C' a copy of the state written again,
 *         'F' why it cannot be written in place, 'P' a pickle of the state alone. */
#include <locale.h>
#include <stdio.h>

#include "base/bigendian.h"
#include "base/mem.h"
#include "object/object.h"

static int copy_state(struct object_record *r, struct err *e)
{
	struct value *copy = value_copy(r->state);
	bool old = r->old;
	int rc;

	if (!copy)
		return err_set(e, ERR_NOMEM, "no copy");
	if (!value_equal(copy, r->state)) {
		value_free(copy);
		return err_set(e, ERR_CORRUPT, "a copy that differs");
	}
	rc = object_set_state(r, copy, e);
	r->old = old;
	return rc;
}

static int answer_of(struct object_record *r, uint8_t wanted, struct buf *out, struct err *e)
{
	switch (wanted) {
	case 'S':
		value_show(r->state, SIZE_MAX / 2, out);
		return OK;
	case 'F':
		buf_put_str(out, r->fixed ? r->fixed : "");
		return OK;
	case 'P':
		return value_pickle(r->state, out, e);
	case 'C':
		if (copy_state(r, e) != OK)
			return e->code;
		return object_write(r, out, e);
	default:
		return object_write(r, out, e);
	}
}

static void convert(struct slice in, uint8_t wanted, struct buf *out)
{
	struct object_record r = { 0 };
	struct err e = ERR_INIT;
	int rc = object_read(in, &r, &e);

	buf_put_u8(out, '+');
	if (rc == OK)
		rc = answer_of(&r, wanted, out, &e);
	if (rc) {
		buf_reset(out);
		buf_put_u8(out, '-');
		buf_put_str(out, e.text);
	}
	object_free(&r);
}

int main(void)
{
	struct buf out = BUF_INIT(0);
	uint8_t head[6];

	setlocale(LC_ALL, ""); /* as programs do: it must change nothing */
	while (fread(head, 1, sizeof(head), stdin) == sizeof(head)) {
		size_t n = get_be32(head);
		uint8_t *in = mem_alloc(n);

		if (!in || fread(in, 1, n, stdin) != n) {
			mem_free(in);
			break;
		}
		buf_reset(&out);
		convert(slice_of(in, n), head[4], &out);
		put_be32(head, (uint32_t)out.len);
		fwrite(head, 1, 4, stdout);
		fwrite(out.data, 1, out.len, stdout);
		fflush(stdout);
		mem_free(in);
	}
	buf_free(&out);
	return 0;
}
