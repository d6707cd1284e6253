#include "client/remote.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/bigendian.h"
#include "base/buf.h"
#include "codec/tid.h"

static const struct {
	const char *name;
	int code;
} classes[] = {
	{ "ZODB.POSException.POSKeyError", ERR_NOKEY },
	{ "ZODB.POSException.ConflictError", ERR_CONFLICT },
	{ "ZODB.POSException.ReadConflictError", ERR_CONFLICT },
	{ "ZODB.POSException.BTreesConflictError", ERR_CONFLICT },
	{ "ZODB.POSException.ReadOnlyError", ERR_READONLY },
	{ "ZODB.POSException.StorageTransactionError", ERR_STATE },
	{ "ZODB.POSException.UndoError", ERR_UNDO },
	{ "ZODB.POSException.MultipleUndoErrors", ERR_UNDO },
	{ "ZODB.POSException.Unsupported", ERR_UNSUPPORTED },
};

static bool is_pair(const struct val *v)
{
	return v && v->type == VAL_TUPLE && v->n == 2 &&
	       (v->items[0].type == VAL_STR || v->items[0].type == VAL_BYTES);
}

static int code_of(struct slice name)
{
	for (size_t i = 0; i < ARRAY_LEN(classes); i++)
		if (slice_is(name, classes[i].name))
			return classes[i].code;
	return ERR_REMOTE;
}

static bool printable(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.data[i] < 0x20 || s.data[i] > 0x7e)
			return false;
	return true;
}

/* For a person: what the exception was made with. */
static void put_value(struct buf *out, const struct val *v, int depth)
{
	switch (v->type) {
	case VAL_INT:
		buf_printf(out, "%" PRId64, v->i);
		break;
	case VAL_BYTES:
		if (v->s.len == 8) {
			buf_printf(out, "0x%016" PRIx64, get_be64(v->s.data));
			break;
		}
		/* fall through */
	case VAL_STR:
		if (v->type == VAL_STR || printable(v->s))
			buf_put_slice(out, v->s);
		else
			buf_printf(out, "%zu bytes", v->s.len);
		break;
	case VAL_NONE:
		buf_put_str(out, "None");
		break;
	case VAL_TUPLE:
	case VAL_LIST:
	case VAL_DICT:
		for (uint32_t i = 0; i < v->n && depth < 4; i++) {
			buf_put_str(out, i == 0 ? "" : v->type == VAL_DICT && i % 2 ? ": " : ", ");
			put_value(out, &v->items[i], depth + 1);
		}
		break;
	default:
		buf_put_str(out, "...");
	}
}

int remote_error(const struct val *pair, struct err *e)
{
	uint8_t room[400];
	struct buf text = { room, 0, sizeof(room), sizeof(room), false }; /* on the stack */
	struct slice name;

	if (!is_pair(pair))
		return err_set(e, ERR_FORMAT,
			"the server's exception is none: a pair of class name and arguments was "
			"expected");
	name = pair->items[0].s;
	put_value(&text, &pair->items[1], 0);
	return err_set(e, code_of(name), "%.*s%s%.*s", (int)name.len, name.data,
		text.len ? ": " : "", (int)text.len, room);
}

void remote_class(const struct val *pair, char *out, size_t room)
{
	struct slice name = is_pair(pair) ? pair->items[0].s : slice_str("");

	snprintf(out, room, "%.*s", (int)name.len, name.len ? (const char *)name.data : "");
}

uint64_t remote_oid(const struct val *pair)
{
	const struct val *oid = NULL;

	if (is_pair(pair) && pair->items[1].type == VAL_DICT)
		oid = val_get(&pair->items[1], "oid");
	if (!oid || oid->type != VAL_BYTES || oid->s.len != 8)
		return OID_NONE;
	return get_be64(oid->s.data);
}
