#include "zeo/exception.h"

#include "base/bigendian.h"
#include "base/buf.h"
#include "base/compiler.h"

#define UNDO_ERROR "ZODB.POSException.UndoError"

static void str(struct enc *en, const char *s)
{
	enc_str(en, slice_str(s));
}

static void str_or_none(struct enc *en, const char *s)
{
	if (s)
		str(en, s);
	else
		enc_none(en);
}

static void begin(struct enc *en, const char *class_name)
{
	enc_tuple(en, 2);
	str(en, class_name);
}

void exception_pos_key(struct enc *en, uint64_t oid)
{
	begin(en, "ZODB.POSException.POSKeyError");
	enc_tuple(en, 1);
	enc_id(en, oid);
	enc_end(en);
	enc_end(en);
}

void exception_key(struct enc *en, uint64_t oid)
{
	begin(en, "builtins.KeyError");
	enc_tuple(en, 1);
	enc_id(en, oid);
	enc_end(en);
	enc_end(en);
}

/* The instance dictionary of ConflictError, in the order its constructor fills it. */
static void conflict_dict(struct enc *en, const char *message, const struct exception_conflict *c)
{
	enc_dict(en, 4);
	str(en, "message");
	str(en, message);
	str(en, "oid");
	enc_id(en, c->oid);
	str(en, "class_name");
	str_or_none(en, c->class_name);
	str(en, "serials");
	enc_tuple(en, 2);
	enc_id(en, c->committed_serial);
	enc_id(en, c->old_serial);
	enc_end(en);
	enc_end(en);
}

void exception_conflict(struct enc *en, const struct exception_conflict *c)
{
	begin(en, "ZODB.POSException.ConflictError");
	conflict_dict(en, "database conflict error", c);
	enc_end(en);
}

void exception_read_conflict(struct enc *en, const struct exception_conflict *c)
{
	begin(en, "ZODB.POSException.ReadConflictError");
	conflict_dict(en, "database read conflict error", c);
	enc_end(en);
}

void exception_read_only(struct enc *en)
{
	begin(en, "ZODB.POSException.ReadOnlyError");
	enc_tuple(en, 0);
	enc_end(en);
	enc_end(en);
}

void exception_undo(struct enc *en, const char *text)
{
	begin(en, UNDO_ERROR);
	enc_dict(en, 2);
	str(en, "_reason");
	str(en, text);
	str(en, "_oid");
	enc_none(en);
	enc_end(en);
	enc_end(en);
}

static struct val text_val(const char *s)
{
	return (struct val){ .type = VAL_STR, .s = slice_str(s) };
}

/* The exception object itself, as its class pickles it: a function that makes it of its class and
 * state. */
static void undo_error_object(struct enc *en, uint64_t oid, const char *reason)
{
	uint8_t id[8];
	struct val args_items[2] = { text_val(reason),
		{ .type = VAL_BYTES, .s = slice_of(id, 8) } };
	struct val args = { .type = VAL_TUPLE, .n = 2, .items = args_items };
	struct val state_items[] = {
		text_val("_reason"),
		args_items[0],
		text_val("_oid"),
		args_items[1],
		text_val("args"),
		args,
	};
	struct val call_args_items[] = {
		{ .type = VAL_GLOBAL, .s = slice_str("ZODB.POSException\nUndoError") },
		{ .type = VAL_DICT, .n = ARRAY_LEN(state_items), .items = state_items },
	};
	struct val call_items[] = {
		{ .type = VAL_GLOBAL, .s = slice_str("ZODB.POSException\n_recon") },
		{ .type = VAL_TUPLE, .n = 2, .items = call_args_items },
	};
	struct val call = { .type = VAL_REDUCE, .n = 2, .items = call_items };

	put_be64(id, oid);
	enc_val(en, &call);
}

/* An exception in an exception: msgpack has no objects, there it is reduced as all are. */
static void undo_error(struct enc *en, uint64_t oid, const char *reason)
{
	if (en->encoding == ENC_PICKLE) {
		undo_error_object(en, oid, reason);
		return;
	}
	begin(en, UNDO_ERROR);
	enc_dict(en, 2);
	str(en, "_reason");
	str(en, reason);
	str(en, "_oid");
	enc_id(en, oid);
	enc_end(en);
	enc_end(en);
}

void exception_undo_begin(struct enc *en, uint32_t n, uint64_t first_oid, const char *first_reason)
{
	begin(en, "ZODB.POSException.MultipleUndoErrors");
	enc_dict(en, 3);
	str(en, "_reason");
	enc_id(en, first_oid);
	str(en, "_oid");
	undo_error(en, first_oid, first_reason);
	str(en, "_errs");
	enc_list(en, n);
}

void exception_undo_failure(struct enc *en, uint64_t oid, const char *reason)
{
	enc_tuple(en, 2);
	enc_id(en, oid);
	undo_error(en, oid, reason);
	enc_end(en);
}

void exception_undo_end(struct enc *en)
{
	enc_end(en);
	enc_end(en);
	enc_end(en);
}

void exception_text(struct enc *en, const char *class_name, const char *text)
{
	begin(en, class_name);
	enc_tuple(en, 1);
	str(en, text);
	enc_end(en);
	enc_end(en);
}

void exception_os(struct enc *en, int errnum, const char *text)
{
	begin(en, "builtins.OSError");
	enc_tuple(en, 2);
	enc_int(en, errnum);
	str(en, text);
	enc_end(en);
	enc_end(en);
}

/* --- of other servers --- */

/* Is it a call of @function ("module\nname") with at least @n arguments? */
static bool is_call(const struct val *v, uint32_t n)
{
	return v->type == VAL_REDUCE && v->n >= 2 && v->items[0].type == VAL_GLOBAL &&
	       v->items[1].type == VAL_TUPLE && v->items[1].n >= n;
}

/* "module\nname" with a dot */
static void class_name(struct enc *en, struct slice global)
{
	struct buf b = BUF_INIT(0);

	buf_put_slice(&b, global);
	for (size_t i = 0; i < b.len; i++)
		if (b.data[i] == '\n')
			b.data[i] = '.';
	if (buf_ok(&b))
		enc_str(en, buf_slice(&b));
	else
		en->out->failed = true;
	buf_free(&b);
}

static void plain_val(struct enc *en, const struct val *v);

static void plain_items(struct enc *en, const struct val *v)
{
	for (uint32_t i = 0; i < v->n; i++)
		plain_val(en, &v->items[i]);
	enc_end(en);
}

/* An exception as pickle has it is a call of its class with its arguments, or of _recon with class and state. */
static void plain_object(struct enc *en, const struct val *v)
{
	const struct val *what = &v->items[0];
	const struct val *args = &v->items[1];

	if (slice_is(what->s, "ZODB.POSException\n_recon") && is_call(v, 2) &&
		args->items[0].type == VAL_GLOBAL) {
		what = &args->items[0];
		args = &args->items[1];
	}
	enc_tuple(en, 2);
	class_name(en, what->s);
	plain_val(en, args);
	enc_end(en);
}

/* What has no form in msgpack is left out. */
static void plain_val(struct enc *en, const struct val *v)
{
	if (is_call(v, 0)) {
		plain_object(en, v);
	} else if (v->type == VAL_TUPLE || v->type == VAL_LIST || v->type == VAL_SET) {
		enc_list(en, v->n);
		plain_items(en, v);
	} else if (v->type == VAL_DICT) {
		enc_dict(en, v->n / 2);
		plain_items(en, v);
	} else if (v->type == VAL_GLOBAL) {
		class_name(en, v->s);
	} else if (v->type == VAL_REDUCE || v->type == VAL_PERSID) {
		enc_none(en);
	} else {
		enc_val(en, v);
	}
}

void exception_val(struct enc *en, const struct val *raised)
{
	if (en->encoding == ENC_PICKLE)
		enc_val(en, raised);
	else
		plain_val(en, raised);
}
