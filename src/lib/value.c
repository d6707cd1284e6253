/* Values for programs: object/value.h with the checks that its callers make themselves. */
#include "base/mem.h"
#include "codec/number.h"
#include "lib/api.h"

struct zkzeo_value *zkzeo_none(void)
{
	return api_value(value_none());
}

struct zkzeo_value *zkzeo_bool(bool b)
{
	return api_value(value_bool(b));
}

struct zkzeo_value *zkzeo_int(int64_t i)
{
	return api_value(value_int(i));
}

struct zkzeo_value *zkzeo_int_of_bytes(const void *bytes, size_t len)
{
	return api_value(value_bigint(slice_of(bytes, len)));
}

struct zkzeo_value *zkzeo_int_of_text(const char *digits)
{
	struct buf le = BUF_INIT(0);
	struct value *v = NULL;

	if (digits && number_parse(digits, &le, NULL) == OK)
		v = value_bigint(buf_slice(&le));
	buf_free(&le);
	return api_value(v);
}

struct zkzeo_value *zkzeo_float(double f)
{
	return api_value(value_float(f));
}

struct zkzeo_value *zkzeo_str(const char *utf8)
{
	return utf8 ? api_value(value_str(slice_str(utf8))) : NULL;
}

struct zkzeo_value *zkzeo_str_of_bytes(const char *utf8, size_t len)
{
	return api_value(value_str(slice_of(utf8, len)));
}

struct zkzeo_value *zkzeo_bytes(const void *data, size_t len)
{
	return api_value(value_bytes(slice_of(data, len)));
}

struct zkzeo_value *zkzeo_tuple(void)
{
	return api_value(value_tuple());
}

struct zkzeo_value *zkzeo_list(void)
{
	return api_value(value_list());
}

struct zkzeo_value *zkzeo_dict(void)
{
	return api_value(value_dict());
}

struct zkzeo_value *zkzeo_reference(uint64_t oid, const char *class_name)
{
	struct reference r = { .oid = oid };
	struct value *v = NULL;
	char *class = NULL;

	if (!class_name || !*class_name)
		return api_value(value_reference(&r));
	if (api_class(class_name, &class, NULL) == OK) {
		r.class = class;
		v = value_reference(&r);
	}
	mem_free(class);
	return api_value(v);
}

struct zkzeo_value *zkzeo_weak_reference(uint64_t oid, const char *database)
{
	return api_value(value_reference(
		&(struct reference){ .oid = oid, .database = database, .weak = true }));
}

struct zkzeo_value *zkzeo_value_copy(const struct zkzeo_value *v)
{
	return v ? api_value(value_copy(const_value_of(v))) : NULL;
}

void zkzeo_value_free(struct zkzeo_value *v)
{
	value_free(value_of(v));
}

enum zkzeo_kind zkzeo_value_kind(const struct zkzeo_value *v)
{
	static const enum zkzeo_kind kinds[] = {
		[VALUE_NONE] = ZKZEO_NONE,
		[VALUE_BOOL] = ZKZEO_BOOL,
		[VALUE_INT] = ZKZEO_INT,
		[VALUE_BIGINT] = ZKZEO_INT,
		[VALUE_FLOAT] = ZKZEO_FLOAT,
		[VALUE_STR] = ZKZEO_STR,
		[VALUE_BYTES] = ZKZEO_BYTES,
		[VALUE_TUPLE] = ZKZEO_TUPLE,
		[VALUE_LIST] = ZKZEO_LIST,
		[VALUE_DICT] = ZKZEO_DICT,
		[VALUE_REFERENCE] = ZKZEO_REFERENCE,
		[VALUE_OTHER] = ZKZEO_OTHER,
	};

	return v ? kinds[value_kind(const_value_of(v))] : ZKZEO_NONE;
}

const char *zkzeo_kind_name(enum zkzeo_kind kind)
{
	static const char *const names[] = { "None", "bool", "int", "float", "str", "bytes",
		"tuple", "list", "dict", "reference", "object" };
	size_t i = (size_t)kind;

	return i < ARRAY_LEN(names) ? names[i] : "unknown";
}

bool zkzeo_value_equal(const struct zkzeo_value *a, const struct zkzeo_value *b)
{
	if (!a || !b)
		return a == b;
	return value_equal(const_value_of(a), const_value_of(b));
}

char *zkzeo_value_show(const struct zkzeo_value *v, size_t max)
{
	struct buf out = BUF_INIT(0);
	uint8_t *text = NULL;
	size_t len;

	if (max > SIZE_MAX / 2)
		max = SIZE_MAX / 2;
	if (v)
		value_show(const_value_of(v), max, &out);
	if (api_take(&out, &text, &len, NULL) != OK)
		return NULL;
	return (char *)text;
}

/* --- what is in it --- */

static int expect(const struct zkzeo_value *v, enum zkzeo_kind kind, struct err *e)
{
	if (!v)
		return err_set(e, ERR_NOENT, "no value: %s was expected", zkzeo_kind_name(kind));
	if (zkzeo_value_kind(v) == kind)
		return OK;
	return err_set(e, ERR_INVAL, "a value of type %s: %s was expected",
		zkzeo_kind_name(zkzeo_value_kind(v)), zkzeo_kind_name(kind));
}

static int expect_int(const struct zkzeo_value *v, struct err *e)
{
	return v && value_kind(const_value_of(v)) == VALUE_BOOL ? OK : expect(v, ZKZEO_INT, e);
}

static bool is_big(const struct zkzeo_value *v)
{
	return value_kind(const_value_of(v)) == VALUE_BIGINT;
}

int zkzeo_value_get_bool(const struct zkzeo_value *v, bool *ret, struct zkzeo_error *e)
{
	int rc = expect(v, ZKZEO_BOOL, err_of(e));

	if (rc == OK)
		*ret = value_as_bool(const_value_of(v));
	return rc;
}

int zkzeo_value_get_int(const struct zkzeo_value *v, int64_t *ret, struct zkzeo_error *e)
{
	int rc = expect_int(v, err_of(e));

	if (rc == OK && is_big(v))
		rc = err_set(err_of(e), ERR_LIMIT, "an int of more than 64 bits");
	if (rc == OK)
		*ret = value_as_int(const_value_of(v));
	return rc;
}

/* Little-endian two's complement, the fewest bytes. */
static struct slice bytes_of_int(const struct value *v, uint8_t room[8])
{
	uint64_t bits = (uint64_t)value_as_int(v);
	size_t n = 8;

	if (value_kind(v) == VALUE_BIGINT)
		return value_as_slice(v);
	for (int i = 0; i < 8; i++)
		room[i] = (uint8_t)(bits >> 8 * i);
	while (n > 1 && room[n - 1] == (room[n - 2] >= 0x80 ? 0xff : 0))
		n--;
	return slice_of(room, n);
}

int zkzeo_value_get_int_text(const struct zkzeo_value *v, char **ret, struct zkzeo_error *e)
{
	struct buf out = BUF_INIT(0);
	uint8_t room[8];
	uint8_t *text;
	size_t len;
	int rc = expect_int(v, err_of(e));

	if (rc)
		return rc;
	number_print(bytes_of_int(const_value_of(v), room), &out);
	rc = api_take(&out, &text, &len, err_of(e));
	if (rc == OK)
		*ret = (char *)text;
	return rc;
}

int zkzeo_value_get_int_bytes(
	const struct zkzeo_value *v, uint8_t **ret, size_t *ret_len, struct zkzeo_error *e)
{
	struct buf out = BUF_INIT(0);
	uint8_t room[8];
	int rc = expect_int(v, err_of(e));

	if (rc)
		return rc;
	buf_put_slice(&out, bytes_of_int(const_value_of(v), room));
	return api_take(&out, ret, ret_len, err_of(e));
}

int zkzeo_value_get_float(const struct zkzeo_value *v, double *ret, struct zkzeo_error *e)
{
	int rc;

	if (v && value_kind(const_value_of(v)) == VALUE_FLOAT) {
		*ret = value_as_float(const_value_of(v));
		return OK;
	}
	rc = v && expect_int(v, NULL) == OK ? OK : expect(v, ZKZEO_FLOAT, err_of(e));
	if (rc)
		return rc;
	*ret = is_big(v) ? number_double(value_as_slice(const_value_of(v)))
			 : (double)value_as_int(const_value_of(v));
	return OK;
}

int zkzeo_value_get_str(
	const struct zkzeo_value *v, const char **ret, size_t *ret_len, struct zkzeo_error *e)
{
	int rc = expect(v, ZKZEO_STR, err_of(e));
	struct slice s;

	if (rc)
		return rc;
	s = value_as_slice(const_value_of(v));
	*ret = (const char *)s.data;
	if (ret_len)
		*ret_len = s.len;
	return OK;
}

int zkzeo_value_get_bytes(
	const struct zkzeo_value *v, const void **ret, size_t *ret_len, struct zkzeo_error *e)
{
	int rc = expect(v, ZKZEO_BYTES, err_of(e));
	struct slice s;

	if (rc)
		return rc;
	s = value_as_slice(const_value_of(v));
	*ret = s.data;
	if (ret_len)
		*ret_len = s.len;
	return OK;
}

int zkzeo_value_get_reference(
	const struct zkzeo_value *v, struct zkzeo_reference_info *ret, struct zkzeo_error *e)
{
	int rc = expect(v, ZKZEO_REFERENCE, err_of(e));
	struct reference r;

	if (rc)
		return rc;
	r = value_as_reference(const_value_of(v));
	*ret = (struct zkzeo_reference_info){ r.oid, value_class(const_value_of(v)), r.database,
		r.weak };
	return OK;
}

const char *zkzeo_value_class(const struct zkzeo_value *v)
{
	return v ? value_class(const_value_of(v)) : "";
}

int zkzeo_value_pickle(
	const struct zkzeo_value *v, uint8_t **ret, size_t *ret_len, struct zkzeo_error *e)
{
	struct buf out = BUF_INIT(0);
	int rc = v ? value_pickle(const_value_of(v), &out, err_of(e))
		   : err_set(err_of(e), ERR_NOENT, "no value");

	if (rc == OK)
		return api_take(&out, ret, ret_len, err_of(e));
	buf_free(&out);
	return rc;
}

/* --- lists, tuples, dicts --- */

size_t zkzeo_value_len(const struct zkzeo_value *v)
{
	return v ? value_len(const_value_of(v)) : 0;
}

struct zkzeo_value *zkzeo_list_item(const struct zkzeo_value *v, size_t i)
{
	return v ? api_value(value_item(const_value_of(v), i)) : NULL;
}

/* For NULL containers: what was to be taken is freed. */
static int no_container(struct zkzeo_value *a, struct zkzeo_value *b, struct zkzeo_error *e)
{
	zkzeo_value_free(a);
	zkzeo_value_free(b);
	return err_set(err_of(e), ERR_NOENT, "no value: there is nothing to put something into");
}

int zkzeo_list_append(struct zkzeo_value *v, struct zkzeo_value *item, struct zkzeo_error *e)
{
	return zkzeo_list_insert(v, SIZE_MAX, item, e);
}

int zkzeo_list_insert(
	struct zkzeo_value *v, size_t i, struct zkzeo_value *item, struct zkzeo_error *e)
{
	if (!v)
		return no_container(item, NULL, e);
	return value_insert(value_of(v), i, value_of(item), err_of(e));
}

int zkzeo_list_replace(
	struct zkzeo_value *v, size_t i, struct zkzeo_value *item, struct zkzeo_error *e)
{
	if (!v)
		return no_container(item, NULL, e);
	return value_replace(value_of(v), i, value_of(item), err_of(e));
}

struct zkzeo_value *zkzeo_list_take(struct zkzeo_value *v, size_t i)
{
	return v ? api_value(value_take(value_of(v), i)) : NULL;
}

struct zkzeo_value *zkzeo_dict_get(const struct zkzeo_value *dict, const struct zkzeo_value *key)
{
	return dict && key ? api_value(value_get(const_value_of(dict), const_value_of(key))) : NULL;
}

struct zkzeo_value *zkzeo_dict_get_str(const struct zkzeo_value *dict, const char *key)
{
	return dict && key ? api_value(value_get_str(const_value_of(dict), slice_str(key))) : NULL;
}

int zkzeo_dict_set(struct zkzeo_value *dict, struct zkzeo_value *key, struct zkzeo_value *v,
	struct zkzeo_error *e)
{
	if (!dict)
		return no_container(key, v, e);
	return value_set(value_of(dict), value_of(key), value_of(v), err_of(e));
}

int zkzeo_dict_set_str(
	struct zkzeo_value *dict, const char *key, struct zkzeo_value *v, struct zkzeo_error *e)
{
	return zkzeo_dict_set(dict, zkzeo_str(key), v, e);
}

bool zkzeo_dict_remove(struct zkzeo_value *dict, const struct zkzeo_value *key)
{
	return dict && key && value_remove(value_of(dict), const_value_of(key));
}

bool zkzeo_dict_remove_str(struct zkzeo_value *dict, const char *key)
{
	struct zkzeo_value *k = zkzeo_str(key);
	bool removed = zkzeo_dict_remove(dict, k);

	zkzeo_value_free(k);
	return removed;
}

bool zkzeo_dict_next(const struct zkzeo_value *dict, size_t *pos, struct zkzeo_value **ret_key,
	struct zkzeo_value **ret_value)
{
	struct value *key;
	struct value *v;

	if (!dict || !value_next(const_value_of(dict), pos, &key, &v))
		return false;
	*ret_key = api_value(key);
	*ret_value = api_value(v);
	return true;
}

/* --- records --- */

int zkzeo_record_parse(const void *data, size_t len, char **ret_class,
	struct zkzeo_value **ret_state, struct zkzeo_error *e)
{
	struct object_record r;
	char *class;
	int rc = object_read(slice_of(data, len), &r, err_of(e));

	if (rc)
		return rc;
	class = object_dotted(r.class);
	if (class) {
		*ret_class = class;
		*ret_state = api_value(object_take_state(&r));
	} else {
		rc = err_set(err_of(e), ERR_NOMEM, "no memory for a class");
	}
	object_free(&r);
	return rc;
}

int zkzeo_record_make(const char *class_name, const struct zkzeo_value *state, uint8_t **ret,
	size_t *ret_len, struct zkzeo_error *e)
{
	struct object_record r = { .state = (struct value *)state }; /* only read */
	struct buf out = BUF_INIT(0);
	int rc = api_class(class_name, &r.class, err_of(e));

	if (rc == OK && !state)
		rc = err_set(err_of(e), ERR_NOENT, "no state");
	if (rc == OK)
		rc = object_write(&r, &out, err_of(e));
	mem_free(r.class);
	if (rc == OK)
		return api_take(&out, ret, ret_len, err_of(e));
	buf_free(&out);
	return rc;
}
