/* Values: who owns them, what dicts find, what cannot be put; records without memory. The comparison with Python is
 * tests/interop/test_objects.py. */
#include "cmocka_all.h"

#include <math.h>
#include <stdio.h>

#include "base/mem.h"
#include "object/object.h"

static struct err last;
static int fail_from = -1;
static int allocations;

static int fail_one(void)
{
	return allocations++ == fail_from;
}

static struct value *text(const char *s)
{
	return value_str(slice_str(s));
}

static void put(struct value *dict, struct value *key, struct value *v)
{
	if (value_set(dict, key, v, &last) != OK)
		fail_msg("%s", last.text);
}

static void shows(const struct value *v, const char *expected)
{
	struct buf out = BUF_INIT(0);

	value_show(v, 1000, &out);
	buf_put_u8(&out, 0);
	assert_true(buf_ok(&out));
	assert_string_equal((char *)out.data, expected);
	buf_free(&out);
}

static void test_a_value_has_one_owner(void **state)
{
	struct value *list = value_list();
	struct value *other = value_list();
	struct value *item = text("x");

	assert_int_equal(value_insert(list, 0, item, &last), OK);
	assert_int_equal(value_insert(other, 0, item, &last), ERR_INVAL);
	value_free(item); /* the list's: nothing happens */
	assert_int_equal(value_insert(other, 0, NULL, &last), ERR_NOMEM);
	assert_int_equal(value_insert(list, 0, list, &last), ERR_INVAL);
	assert_int_equal(value_insert(list, 9, other, &last), OK);
	assert_int_equal(value_insert(other, 0, list, &last), ERR_INVAL);
	assert_non_null(strstr(last.text, "hold itself"));
	shows(list, "['x', []]");
	assert_ptr_equal(value_take(list, 0), item);
	assert_null(value_take(list, 1));
	assert_int_equal(value_replace(list, 0, item, &last), OK);
	assert_int_equal(value_replace(list, 1, text("lost"), &last), ERR_NOENT);
	shows(list, "['x']");
	value_free(list);
}

static void test_keys_are_equal_as_python_finds_them(void **state)
{
	static const uint8_t two_to_70[] = { 0, 0, 0, 0, 0, 0, 0, 0, 0x40 };
	struct value *d = value_dict();
	struct value *one = value_float(1.0);
	struct value *yes = value_bool(true);
	struct value *large = value_float(0x1p70);

	for (int rounds = 0; rounds < 2; rounds++) { /* without and with an index */
		put(d, value_int(1), text("one"));
		assert_string_equal(value_as_slice(value_get(d, one)).data, "one");
		put(d, value_bool(true), text("true"));
		assert_string_equal(value_as_slice(value_get(d, one)).data, "true");
		assert_ptr_equal(value_get(d, one), value_get(d, yes));
		put(d, value_bigint(slice_of(two_to_70, 9)), text("large"));
		assert_string_equal(value_as_slice(value_get(d, large)).data, "large");
		put(d, value_bytes(slice_str("k")), text("bytes"));
		assert_null(value_get_str(d, slice_str(rounds ? "none" : "k")));
		for (int i = 100; i < 140; i++)
			put(d, value_int(i), value_none());
	}
	assert_int_equal(value_len(d), 43);
	assert_int_equal(value_set(d, value_list(), value_none(), &last), ERR_INVAL);
	value_free(one);
	value_free(yes);
	value_free(large);
	value_free(d);
}

/* n * 2**shift in @le, little-endian two's complement. */
static struct slice large_int(int64_t n, unsigned shift, uint8_t le[160])
{
	memset(le, n < 0 ? 0xff : 0, 160);
	memset(le, 0, shift / 8);
	for (unsigned i = 0; i < 8; i++)
		le[shift / 8 + i] = (uint8_t)((uint64_t)n >> 8 * i);
	for (unsigned bit = 0; bit < shift % 8; bit++) {
		unsigned carry = 0;

		for (unsigned i = shift / 8; i < 160; i++) {
			carry |= (unsigned)le[i] << 1;
			le[i] = (uint8_t)carry;
			carry >>= 8;
		}
	}
	return slice_of(le, 160);
}

static void test_large_keys(void **state)
{
	static const int64_t mantissas[] = { 1, -1, 3, -5, (INT64_C(1) << 53) - 1,
		-(INT64_C(1) << 53) + 1 };
	struct value *d = value_dict();
	uint8_t le[160];
	size_t n = 0;

	/* odd ones only: no two are equal */
	for (unsigned shift = 0; shift < 960; shift += 7)
		for (size_t i = 0; i < ARRAY_LEN(mantissas); i++, n++)
			put(d, value_bigint(large_int(mantissas[i], shift, le)), value_int(shift));
	assert_int_equal(value_len(d), n);
	for (unsigned shift = 0; shift < 960; shift += 7) {
		for (size_t i = 0; i < ARRAY_LEN(mantissas); i++) {
			struct value *f = value_float(ldexp((double)mantissas[i], (int)shift));

			assert_int_equal(value_as_int(value_get(d, f)), shift);
			value_free(f);
		}
	}
	value_free(d);
	/* as UUIDs are: with all of them in one place this would take minutes */
	d = value_dict();
	for (int64_t i = 0; i < 200000; i++)
		put(d, value_bigint(large_int(2 * i + 1, 64, le)), value_none());
	assert_int_equal(value_len(d), 200000);
	value_free(d);
}

static uint64_t undo_shift(uint64_t h, unsigned by)
{
	uint64_t x = h;

	for (unsigned done = by; done < 64; done += by)
		x = h ^ x >> by;
	return x;
}

/* Keys that somebody has chosen to share a place in the index: with one multiplication and no secret this takes minutes. */
static void test_chosen_keys(void **state)
{
	const uint64_t factor = UINT64_C(0xd6e8feb86659fd93);
	struct value *d = value_dict();
	uint64_t inverse = factor;
	size_t n = 0;

	for (int i = 0; i < 6; i++)
		inverse *= 2 - factor * inverse;
	for (uint64_t i = 1; n < 100000; i++) {
		uint64_t key = undo_shift(undo_shift(i << 20, 32) * inverse, 32);

		if (key >> 60)
			continue;
		put(d, value_int((int64_t)key), value_none());
		n++;
	}
	assert_int_equal(value_len(d), n);
	value_free(d);
}

static void test_a_dict_keeps_its_order(void **state)
{
	struct value *d = value_dict();
	struct value *key;
	struct value *v;
	char name[16];
	size_t pos = 0;
	int n = 0;

	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "key %d", i);
		put(d, text(name), value_int(i));
	}
	for (int i = 0; i < 1000; i++) {
		struct value *k = value_str(
			slice_of(name, (size_t)snprintf(name, sizeof(name), "key %d", i)));

		assert_int_equal(value_as_int(value_get(d, k)), i);
		if (i % 3)
			assert_true(value_remove(d, k));
		assert_int_equal(value_remove(d, k), i % 3 == 0);
		if (i % 3 == 0)
			put(d, text(name), value_int(i));
		value_free(k);
	}
	assert_int_equal(value_len(d), 334);
	while (value_next(d, &pos, &key, &v))
		assert_int_equal(value_as_int(v), 3 * n++);
	assert_int_equal(n, 334);
	value_free(d);
}

static void test_equal(void **state)
{
	struct value *a = value_dict();
	struct value *b = value_dict();

	put(a, text("x"), value_int(1));
	put(a, text("y"), value_none());
	put(b, text("y"), value_none());
	assert_false(value_equal(a, b));
	put(b, text("x"), value_float(1.0));
	assert_true(value_equal(a, b));
	put(b, text("x"), text("1"));
	assert_false(value_equal(a, b));
	value_free(a);
	value_free(b);
}

static void test_a_name_that_is_none(void **state)
{
	struct object_record r;

	assert_null(value_str(slice_str("\xff")));
	assert_null(value_reference(&(struct reference){ .class = "nodots" }));
	assert_null(value_reference(&(struct reference){ .class = "a\nb\nc" }));
	assert_int_equal(object_make("nothing", value_dict(), &r, &last), ERR_INVAL);
	assert_int_equal(object_make(OBJECT_LIST, NULL, &r, &last), ERR_NOMEM);
	assert_null(object_class("nodots"));
}

static void test_too_deep(void **state)
{
	struct reference weak = { .oid = 1, .weak = true };
	struct object_record r = { 0 };
	struct object_record again = { 0 };
	struct value *v = value_reference(
		&weak); /* a list and a tuple when it is written, and the reference */
	struct value *inner = NULL;
	struct value *outer = value_list();
	struct buf out = BUF_INIT(0);

	for (int i = 3; i < VALUE_DEPTH_MAX; i++) {
		struct value *list = value_list();

		assert_int_equal(value_insert(list, 0, v, &last), OK);
		inner = inner ? inner : list;
		v = list;
	}
	/* no deeper, neither from above nor from below */
	assert_int_equal(value_insert(outer, 0, value_copy(v), &last), ERR_LIMIT);
	assert_non_null(strstr(last.text, "nested deeper than 60"));
	assert_int_equal(value_set(inner, value_list(), value_none(), &last), ERR_INVAL);
	assert_int_equal(value_insert(inner, 0, value_reference(&weak), &last), OK);
	assert_int_equal(value_insert(outer, 0, value_reference(&weak), &last), OK);
	assert_int_equal(value_insert(inner, 0, outer, &last), ERR_LIMIT);
	value_free(value_take(inner, 0));
	/* it is written, and read to be changed again */
	assert_int_equal(object_make(OBJECT_LIST, v, &r, &last), OK);
	assert_int_equal(object_write(&r, &out, &last), OK);
	assert_int_equal(object_read(buf_slice(&out), &again, &last), OK);
	assert_null(again.fixed);
	assert_true(value_equal(again.state, r.state));
	object_free(&again);
	object_free(&r);
	buf_free(&out);
}

/* Values of each kind, an object and a reference. */
static void read_and_write(int *ret_rc)
{
	static const char record[] =
		"\x80\3cpersistent.mapping\nPersistentMapping\nq\0.\x80\3}X\4\0\0\0data}("
		"X\1\0\0\0a](K\1\x8a\x09\0\0\0\0\0\0\0\0\1G?\xf8\0\0\0\0\0\0NeX\1\0\0\0r"
		"C\x08\0\0\0\0\0\0\0\1h\0\x86QX\1\0\0\0ocdatetime\ndate\nC\4abcd\x85Rus.";
	struct object_record r = { 0 };
	struct buf out = BUF_INIT(0);
	struct value *copy = NULL;
	int rc = object_read(slice_of(record, sizeof(record) - 1), &r, &last);

	if (rc == OK)
		copy = value_copy(r.state);
	if (rc == OK && !copy)
		rc = ERR_NOMEM;
	if (rc == OK)
		rc = object_write(&r, &out, &last);
	mem_fault_hook = NULL;
	if (rc == OK) {
		assert_true(value_equal(copy, r.state));
		shows(object_data(&r), "{'a': [1, 18446744073709551616, 1.5, None], "
				       "'r': <persistent.mapping.PersistentMapping oid 0x1>, "
				       "'o': <datetime.date, 23 bytes>}");
	}
	value_free(copy);
	buf_free(&out);
	object_free(&r);
	*ret_rc = rc;
}

static void test_without_memory(void **state)
{
	int rc = ERR_NOMEM;

	for (fail_from = 0; rc != OK && fail_from < 1000; fail_from++) {
		allocations = 0;
		mem_fault_hook = fail_one;
		read_and_write(&rc);
		mem_fault_hook = NULL;
		if (rc != OK && rc != ERR_NOMEM)
			fail_msg("allocation %d: %s", fail_from, last.text);
	}
	assert_true(fail_from > 20);
	assert_int_equal(rc, OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_value_has_one_owner),
		cmocka_unit_test(test_keys_are_equal_as_python_finds_them),
		cmocka_unit_test(test_large_keys),
		cmocka_unit_test(test_chosen_keys),
		cmocka_unit_test(test_a_dict_keeps_its_order),
		cmocka_unit_test(test_equal),
		cmocka_unit_test(test_a_name_that_is_none),
		cmocka_unit_test(test_too_deep),
		cmocka_unit_test(test_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
