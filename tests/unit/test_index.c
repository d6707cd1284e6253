#include "cmocka_all.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "storage/filestorage/index.h"

static void set(struct index *ix, uint64_t oid, uint64_t off)
{
	assert_int_equal(index_prepare(ix, &oid, 1), 0);
	index_set(ix, oid, off);
}

static void test_empty(void **state)
{
	struct index *ix = index_new();
	struct index_iter *it = index_iter_open(ix);
	uint64_t oid, off;

	assert_int_equal(index_get(ix, 0), 0);
	assert_true(index_get(ix, UINT64_MAX) == 0);
	assert_int_equal(index_count(ix), 0);
	assert_false(index_iter_next(it, &oid, &off));
	index_iter_close(it);
	index_free(ix);
	index_free(NULL);
}

static void test_prepared_is_not_there(void **state)
{
	struct index *ix = index_new();
	uint64_t oids[] = { 5, 70000, 5 };

	assert_int_equal(index_prepare(ix, oids, 3), 0);
	assert_int_equal(index_get(ix, 5), 0);
	assert_int_equal(index_count(ix), 0);
	index_set(ix, 5, 100);
	index_set(ix, 5, 200);
	assert_int_equal(index_get(ix, 5), 200);
	assert_int_equal(index_count(ix), 1);
	assert_int_equal(index_max_oid(ix), 5);
	index_free(ix);
}

static uint64_t random_oid(unsigned *seed)
{
	uint64_t v = 0;

	for (int i = 0; i < 8; i++)
		v = v << 8 | (uint64_t)(rand_r(seed) >> 4 & 0xff);
	return v;
}

/* Oids of three kinds: dense, in clusters, anywhere. */
static uint64_t nth_oid(uint64_t n, unsigned *seed)
{
	switch (n % 3) {
	case 0:
		return n;
	case 1:
		return (random_oid(seed) & UINT64_C(0xff00000000000000)) + n % 300;
	default:
		return random_oid(seed);
	}
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void test_many(void **state)
{
	enum { N = 200000 };
	struct index *ix = index_new();
	uint64_t *oids = malloc(N * sizeof(*oids));
	unsigned seed = 7;
	struct index_iter *it;
	uint64_t oid, off, n = 0;

	for (uint64_t i = 0; i < N; i++) {
		oids[i] = nth_oid(i, &seed);
		set(ix, oids[i], oids[i] % 1000003 + 1);
	}
	set(ix, UINT64_MAX, 77);
	for (uint64_t i = 0; i < N; i++)
		assert_true(index_get(ix, oids[i]) == oids[i] % 1000003 + 1);
	assert_int_equal(index_get(ix, 4000001), 0);
	assert_true(index_max_oid(ix) == UINT64_MAX);

	qsort(oids, N, sizeof(*oids), by_value);
	it = index_iter_open(ix);
	for (uint64_t i = 0; i < N; i++) {
		if (i && oids[i] == oids[i - 1])
			continue;
		assert_true(index_iter_next(it, &oid, &off));
		assert_true(oid == oids[i]);
		assert_true(off == oid % 1000003 + 1);
		n++;
	}
	assert_true(index_iter_next(it, &oid, &off));
	assert_true(oid == UINT64_MAX && off == 77);
	assert_false(index_iter_next(it, &oid, &off));
	assert_int_equal(index_count(ix), n + 1);
	index_iter_close(it);
	free(oids);
	index_free(ix);
}

static void check_many(const struct index *ix, const uint64_t *oids, size_t n)
{
	uint64_t offs[INDEX_GET_MANY_MAX];

	index_get_many(ix, oids, n, offs);
	for (size_t i = 0; i < n; i++)
		assert_true(offs[i] == index_get(ix, oids[i]));
}

/* Those that are there and those that are not, in pages and in the hash; the largest has a place of its own. */
static void test_get_many(void **state)
{
	enum { N = 30000 };
	struct index *ix = index_new();
	uint64_t oids[INDEX_GET_MANY_MAX] = { 1, UINT64_MAX, 2, UINT64_MAX - 1 };
	uint64_t offs[INDEX_GET_MANY_MAX];
	unsigned seed = 7;

	check_many(ix, oids, 4);
	for (uint64_t i = 0; i < N; i++)
		set(ix, nth_oid(i, &seed), i + 1);
	for (uint64_t i = 1; i < 128; i++)
		set(ix, UINT64_MAX - i, i);
	set(ix, UINT64_MAX, 77);
	index_get_many(ix, oids, 4, offs);
	assert_int_equal(offs[1], 77);
	assert_int_equal(offs[2], 0); /* of nth_oid() only one of 64 random bits could be that */
	assert_int_equal(offs[3], 1);
	seed = 7;
	for (uint64_t i = 0; i < N; i += INDEX_GET_MANY_MAX / 2) {
		for (uint64_t k = 0; k < INDEX_GET_MANY_MAX; k += 2) {
			oids[k] = nth_oid(i + k / 2, &seed);
			oids[k + 1] = oids[k] + 1;
		}
		check_many(ix, oids, INDEX_GET_MANY_MAX - i % 3);
	}
	check_many(ix, oids, 0);
	index_free(ix);
}

/* Bytes an object after each of many sizes, the fixed part left aside. */
static double worst_ratio(uint64_t (*oid_of)(uint64_t n, unsigned *seed))
{
	struct index *ix = index_new();
	size_t base = index_bytes(ix);
	unsigned seed = 11;
	double worst = 0;

	for (uint64_t i = 1; i <= 300000; i++) {
		double ratio;

		set(ix, oid_of(i, &seed), i);
		ratio = (double)(index_bytes(ix) - base) / (double)index_count(ix);
		if (i > 20000 && ratio > worst)
			worst = ratio;
	}
	index_free(ix);
	return worst;
}

static uint64_t dense(uint64_t n, unsigned *seed)
{
	return n;
}

static uint64_t anywhere(uint64_t n, unsigned *seed)
{
	return random_oid(seed);
}

/* One page of memory each, if ranges became pages too soon. */
static uint64_t one_per_page(uint64_t n, unsigned *seed)
{
	return n << 9;
}

/* As many in a range as just do, or just do not, make a page of it. */
static uint64_t clusters_35(uint64_t n, unsigned *seed)
{
	return (n / 35) << 20 | n % 35;
}

static uint64_t clusters_36(uint64_t n, unsigned *seed)
{
	return (n / 36) << 20 | n % 36;
}

static void test_memory(void **state)
{
	assert_true(worst_ratio(dense) < 11);
	assert_true(worst_ratio(anywhere) <= 32);
	assert_true(worst_ratio(one_per_page) <= 32);
	assert_true(worst_ratio(clusters_35) <= 36);
	assert_true(worst_ratio(clusters_36) <= 36);
}

struct shared {
	struct index *ix;
	_Atomic(uint64_t) published; /* entries 1 to this are set */
	atomic_int bad;
};

static uint64_t shared_oid(uint64_t n)
{
	return n % 2 ? n : n * UINT64_C(0x9e3779b97f4a7c15);
}

static void *reader(void *arg)
{
	struct shared *sh = arg;
	uint64_t upto, n = 1;
	uint64_t oids[4], offs[4];

	while ((upto = atomic_load_explicit(&sh->published, memory_order_acquire)) != UINT64_MAX) {
		if (upto == 0)
			continue;
		n = n * 2862933555777941757u + 3037000493u;
		if (index_get(sh->ix, shared_oid(n % upto + 1)) != n % upto + 1)
			atomic_fetch_add(&sh->bad, 1);
		if (index_get(sh->ix, UINT64_C(0x123456789) + n) != 0)
			atomic_fetch_add(&sh->bad, 1);
		for (uint64_t i = 0; i < 4; i++)
			oids[i] = i == 3 ? UINT64_C(0x123456789) + n
					 : shared_oid((n >> 8 * i) % upto + 1);
		index_get_many(sh->ix, oids, 4, offs);
		for (uint64_t i = 0; i < 4; i++)
			if (offs[i] != (i == 3 ? 0 : (n >> 8 * i) % upto + 1))
				atomic_fetch_add(&sh->bad, 1);
	}
	return NULL;
}

/* No entry is ever missing for a reader, whatever moves. */
static void test_readers(void **state)
{
	struct shared sh = { .ix = index_new() };
	pthread_t threads[2];

	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, reader, &sh);
	for (uint64_t n = 1; n <= 200000; n++) {
		set(sh.ix, shared_oid(n), n);
		atomic_store_explicit(&sh.published, n, memory_order_release);
	}
	atomic_store(&sh.published, UINT64_MAX);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(sh.bad, 0);
	index_free(sh.ix);
}

static int left;

static int fail_after(void)
{
	return left-- <= 0;
}

/* Without memory prepare says so, and what is there stays right. */
static void test_no_memory(void **state)
{
	for (int n = 0; n < 60; n++) {
		struct index *ix;
		uint64_t i;

		left = n;
		mem_fault_hook = fail_after;
		ix = index_new();
		for (i = 1; ix && i < 30000; i++) {
			uint64_t oid = shared_oid(i);

			if (index_prepare(ix, &oid, 1) != 0)
				break;
			index_set(ix, oid, i);
		}
		mem_fault_hook = NULL;
		for (uint64_t k = 1; ix && k < i; k++)
			assert_int_equal(index_get(ix, shared_oid(k)), k);
		for (; ix && i < 30000; i++)
			set(ix, shared_oid(i), i);
		for (uint64_t k = 1; ix && k < i; k++)
			assert_int_equal(index_get(ix, shared_oid(k)), k);
		assert_int_equal(ix ? index_count(ix) : 29999, 29999);
		index_free(ix);
	}
}

/* So many that pages are allocated by the megabyte: each begins empty, and without memory for them nothing is lost. */
static void test_large(void **state)
{
	enum { N = 600000, FIRST_MEGABYTES = 2048 * 128 };
	struct index *ix = index_new();
	uint64_t first, oid = 0;

	for (; oid < FIRST_MEGABYTES; oid++)
		set(ix, oid, oid + 1);
	for (int n = 0; n < 3; n++) { /* the table of pages, what notes them, they themselves */
		left = n > 0;
		mem_fault_hook = fail_after;
		while (index_prepare(ix, &oid, 1) == OK) {
			index_set(ix, oid, oid + 1);
			oid++;
		}
		mem_fault_hook = NULL;
		assert_in_range(oid, FIRST_MEGABYTES, FIRST_MEGABYTES + 2000);
	}
	for (first = oid; oid < N; oid += 2)
		set(ix, oid, oid + 1);
	for (oid = 0; oid < N; oid++)
		assert_true(index_get(ix, oid) ==
			    (oid < first || (oid - first) % 2 == 0 ? oid + 1 : 0));
	assert_int_equal(index_count(ix), first + (N - first + 1) / 2);
	index_free(ix);
}

static void test_huge_memory(void **state)
{
	for (int round = 0; round < 3; round++) {
		uint8_t *p = mem_alloc_huge();

		assert_non_null(p);
		assert_int_equal((uintptr_t)p % MEM_HUGE_BYTES, 0);
		for (size_t i = 0; i < MEM_HUGE_BYTES; i += 64)
			assert_int_equal(p[i], 0);
		memset(p, 1, MEM_HUGE_BYTES);
		mem_free_huge(p);
	}
	mem_free_huge(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_prepared_is_not_there),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_get_many),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_readers),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_huge_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
