#include "object/object.h"

#include <string.h>

#include "base/arena.h"
#include "base/mem.h"
#include "codec/pickle.h"
#include "codec/zrecord.h"

_Static_assert((int)VALUE_DEPTH_MAX < (int)ENC_DEPTH_MAX, "what is in values can be written");
static const struct pickle_limits limits = {
	.depth = VALUE_DEPTH_MAX,
	.memo = 1 << 22,
	.items = 1 << 24,
};

enum { PICKLE_FLAGS = PICKLE_KEEP_GLOBALS | PICKLE_EXACT | PICKLE_OBJECTS };

void object_free(struct object_record *r)
{
	mem_free(r->class);
	value_free(r->args);
	value_free(object_take_state(r));
	mem_free(r->fixed);
	*r = (struct object_record){ 0 };
}

/* Values of the first pickle. */
static int read_class(
	const struct val *class, struct arena *arena, struct object_record *r, struct err *e)
{
	const struct val *args = NULL;
	struct slice name;

	if (!record_class(class, arena, &name, &args) || memchr(name.data, 0, name.len))
		return err_set(e, ERR_UNSUPPORTED, "a record whose class has no name");
	r->class = mem_alloc(name.len + 1);
	if (!r->class)
		return err_set(e, ERR_NOMEM, "no memory for a class");
	memcpy(r->class, name.data, name.len);
	r->class[name.len] = 0;
	return args ? value_of_val(args, r->old, &r->args, e) : OK;
}

static int fix(struct object_record *r, const char *why, struct err *e)
{
	r->fixed = mem_strdup(why);
	return r->fixed ? OK : err_set(e, ERR_NOMEM, "no memory for a record");
}

/* The state is beyond us, as @why says: the second pickle as it is. */
static int read_class_only(
	struct slice data, struct arena *arena, struct object_record *r, struct err *why)
{
	struct val class;
	size_t len = 0;
	struct err e = ERR_INIT;
	int rc = pickle_decode(data, PICKLE_FLAGS, &limits, arena, &class, &len, &e);

	if (rc == OK)
		rc = read_class(&class, arena, r, &e);
	if (rc == OK)
		rc = fix(r, why->text, &e);
	if (rc == OK) {
		r->state = value_other(slice_of(data.data + len, data.len - len), "", true);
		if (!r->state)
			rc = err_set(&e, ERR_NOMEM, "no memory for a state");
	}
	if (rc)
		*why = e;
	return rc;
}

static int read_record(
	struct slice data, struct arena *arena, struct object_record *r, struct err *e)
{
	struct val class;
	struct val state;
	struct pickle_notes notes;
	int rc = pickle_decode_objects(data, &limits, arena, &class, &state, &notes, e);

	if (rc == ERR_NOMEM)
		return rc;
	if (rc)
		return read_class_only(data, arena, r, e);
	r->old = notes.old;
	rc = read_class(&class, arena, r, e);
	if (rc == OK)
		rc = value_of_val(&state, r->old, &r->state, e);
	if (rc == ERR_LIMIT) { /* it could not be written */
		object_free(r);
		return read_class_only(data, arena, r, e);
	}
	if (rc == OK && notes.shared)
		rc = fix(r, "a list or dictionary stands in two places of this state", e);
	return rc;
}

int object_read(struct slice data, struct object_record *ret, struct err *e)
{
	struct object_record r = { 0 };
	struct buf inflated = BUF_INIT(0);
	struct arena arena = ARENA_INIT(0);
	struct err err = ERR_INIT;
	int rc = OK;

	if (zrecord_is(data)) {
		rc = zrecord_inflate(data, &inflated, &err);
		data = buf_slice(&inflated);
	}
	if (rc == OK)
		rc = read_record(data, &arena, &r, &err);
	if (rc == OK)
		rc = value_hold(r.state, &err);
	if (rc == OK)
		*ret = r;
	else
		object_free(&r);
	if (rc && e)
		*e = err;
	arena_free(&arena);
	buf_free(&inflated);
	return rc;
}

static int put_class(struct record_writer *w, const struct object_record *r, struct err *e)
{
	int rc;

	if (!r->args) {
		record_put_global(w, slice_str(r->class));
		return OK;
	}
	enc_tuple(&w->en, 2);
	record_put_global(w, slice_str(r->class));
	rc = value_put(w, r->args, e);
	enc_end(&w->en);
	return rc;
}

int object_write(const struct object_record *r, struct buf *out, struct err *e)
{
	size_t start = out->len;
	struct record_writer w;
	int rc;

	if (r->fixed)
		return err_set(e, ERR_UNSUPPORTED,
			"the state of a %s can be read only, not written: %s", r->class, r->fixed);
	record_begin(&w, out);
	w.old = r->old;
	rc = put_class(&w, r, e);
	record_next(&w);
	if (rc == OK)
		rc = value_put(&w, r->state, e);
	record_finish(&w);
	if (rc == OK && !buf_ok(out))
		rc = err_set(e, ERR_NOMEM, "no memory for a record");
	if (rc)
		out->len = start;
	return rc;
}

int object_make(const char *class, struct value *state, struct object_record *ret, struct err *e)
{
	struct object_record r = { 0 };
	int rc = OK;

	if (!value_is_class(slice_str(class)))
		rc = err_set(e, ERR_INVAL, "'%s' is no class: MODULE.NAME was expected", class);
	r.class = rc == OK ? mem_strdup(class) : NULL;
	if (rc == OK && !r.class)
		rc = err_set(e, ERR_NOMEM, "no memory for a class");
	if (rc == OK)
		rc = value_hold(state, e);
	if (rc) {
		mem_free(r.class);
		value_free(state);
		return rc;
	}
	r.state = state;
	*ret = r;
	return OK;
}

int object_set_state(struct object_record *r, struct value *state, struct err *e)
{
	int rc = value_hold(state, e);

	if (rc)
		return rc; /* it is somebody's, or none */
	value_free(object_take_state(r));
	r->state = state;
	mem_free(r->fixed);
	r->fixed = NULL;
	r->old = false;
	return OK;
}

struct value *object_take_state(struct object_record *r)
{
	struct value *state = r->state;

	value_let_go(state);
	r->state = NULL;
	return state;
}

struct value *object_data(const struct object_record *r)
{
	struct value *data = NULL;

	if (!r->state || value_kind(r->state) != VALUE_DICT)
		return NULL;
	if (strcmp(r->class, OBJECT_MAPPING) == 0) {
		data = value_get_str(r->state, slice_str("data"));
		if (!data) /* before persistent 3 */
			data = value_get_str(r->state, slice_str("_container"));
		return data && value_kind(data) == VALUE_DICT ? data : NULL;
	}
	if (strcmp(r->class, OBJECT_LIST) != 0)
		return NULL;
	data = value_get_str(r->state, slice_str("data"));
	return data && value_kind(data) == VALUE_LIST ? data : NULL;
}

int object_state_of_data(struct value *data, struct value **ret, struct err *e)
{
	struct value *state = value_dict();
	int rc;

	if (!state) {
		value_free(data);
		return err_set(e, ERR_NOMEM, "no memory for a state");
	}
	rc = value_set(state, value_str(slice_str("data")), data, e);
	if (rc)
		value_free(state);
	else
		*ret = state;
	return rc;
}

char *object_dotted(const char *class)
{
	char *p = mem_strdup(class);
	char *nl = p ? strchr(p, '\n') : NULL;

	if (nl)
		*nl = '.';
	return p;
}

char *object_class(const char *dotted)
{
	const char *dot = strrchr(dotted, '.');
	char *p = dot ? mem_strdup(dotted) : NULL;

	if (p)
		p[dot - dotted] = '\n';
	return p;
}
