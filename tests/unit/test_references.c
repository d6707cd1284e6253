/* The scanner where memory or bytes end; tests/interop/test_references.py compares it with ZODB's. */
#include "cmocka_all.h"

#include <stdlib.h>

#include "base/mem.h"
#include "codec/references.h"

#define OID(n) "\x08\0\0\0\0\0\0\0" n

static const char record[] = "\x80\x02N.\x80\x02(U" OID("\x01") "q\x01Qh\x01NtQU" OID(
	"\x02") "(tQ](U\x01w(U" OID("\x03") "teQC" OID("\x04") "Q.";

static int scan(struct references *r, const char *p, size_t n, const uint64_t **oids, size_t *len,
	struct err *e)
{
	return references_scan(r, slice_of(p, n), oids, len, e);
}

/* Every cut is an error, and the scanner is as good as new after it. */
static void test_cuts(void **state)
{
	static const char good[] = "N.(U" OID("\x01") "NtQU" OID("\x02") "Q.";
	struct references *r = references_new();
	struct err e = ERR_INIT;
	const uint64_t *oids = NULL;
	size_t n = 0;

	for (size_t cut = 0; cut + 1 < sizeof(good); cut++) {
		assert_int_equal(scan(r, good, cut, &oids, &n, &e), ERR_FORMAT);
		assert_non_null(strstr(e.text, "record: "));
	}
	assert_int_equal(scan(r, good, sizeof(good) - 1, &oids, &n, &e), OK);
	assert_int_equal(n, 2);
	assert_int_equal(oids[0], 1);
	assert_int_equal(oids[1], 2);
	assert_int_equal(scan(r, record, sizeof(record) - 1, &oids, &n, &e), ERR_FORMAT);
	assert_non_null(strstr(e.text, "names no object"));
	references_free(r);
	references_free(NULL);
}

static int countdown;

static int fail_nth(void)
{
	return countdown-- == 0;
}

static void test_no_memory(void **state)
{
	size_t len = 0;
	char *p = malloc(400 * 16);
	int failures = 0;
	int rc;

	memcpy(p, "N.", 2);
	len = 2;
	for (int i = 0; i < 400; i++) {
		memcpy(p + len, "U" OID("\x01") "q\0", 12);
		p[len + 11] = (char)(i & 0xff);
		len += 12;
	}
	for (int i = 0; i < 400; i++)
		p[len++] = 'Q';
	p[len - 1] = '.';
	do {
		struct references *r;
		struct err e = ERR_INIT;
		const uint64_t *oids;
		size_t n;

		countdown = failures;
		mem_fault_hook = fail_nth;
		r = references_new();
		rc = r ? scan(r, p, len, &oids, &n, &e) : ERR_NOMEM;
		mem_fault_hook = NULL;
		assert_true(rc == ERR_NOMEM || failures > 5);
		references_free(r);
		failures++;
	} while (rc == ERR_NOMEM);
	assert_int_equal(rc, ERR_FORMAT); /* a reference pops one, and leaves None for the next */
	free(p);
}

/* A hundred million marks: a byte each. */
static void test_memory(void **state)
{
	size_t len = 4 << 20;
	char *p = malloc(len);
	struct references *r = references_new();
	struct err e = ERR_INIT;
	const uint64_t *oids;
	size_t n;

	memset(p, '(', len);
	memcpy(p, "N.", 2);
	assert_int_equal(scan(r, p, len, &oids, &n, &e), ERR_FORMAT);
	memset(p + 2, 'N', len - 2);
	assert_int_equal(scan(r, p, len, &oids, &n, &e), ERR_FORMAT);
	p[len - 1] = '.';
	assert_int_equal(scan(r, p, len, &oids, &n, &e), OK);
	assert_int_equal(n, 0);
	references_free(r);
	free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cuts),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
