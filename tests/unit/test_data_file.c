/* A file that is replaced while threads read it: what they have borrowed stays (R8). */
#include "cmocka_all.h"

#include <pthread.h>
#include <stdlib.h>

#include "storage/filestorage/data_file.h"

enum { READERS = 3, REPLACEMENTS = 2000 };

/* A disk file that says when it was closed. */
struct counted {
	struct disk_file base;
	atomic_bool closed;
};

static void close_counted(struct disk_file *f)
{
	atomic_store(&CONTAINER_OF(f, struct counted, base)->closed, true);
}

static const struct disk_ops counted_ops = { .close = close_counted };

static struct counted all[REPLACEMENTS + 1];
static _Atomic(struct data_file *) current;
static atomic_bool stop;
static atomic_uint n_reads;
static atomic_uint n_closed_while_borrowed;

static struct data_file *make(unsigned i)
{
	struct data_file *d;

	all[i].base.ops = &counted_ops;
	atomic_store(&all[i].closed, false);
	d = data_file_new(&all[i].base, NULL);
	assert_non_null(d);
	return d;
}

static bool is_closed(const struct data_file *d)
{
	return atomic_load(&CONTAINER_OF(d->disk, struct counted, base)->closed);
}

static void *borrow(void *arg)
{
	(void)arg;
	while (!atomic_load(&stop)) {
		struct data_file *d = data_file_borrow(&current);

		for (int i = 0; i < 50; i++)
			if (is_closed(d))
				atomic_fetch_add(&n_closed_while_borrowed, 1);
		data_file_return();
		atomic_fetch_add(&n_reads, 1);
	}
	return NULL;
}

static void test_what_is_borrowed_stays(void **state)
{
	pthread_t threads[READERS];
	struct data_file *kept;

	(void)state;
	atomic_store(&current, make(0));
	kept = data_file_get(&current);
	for (int i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, borrow, NULL), 0);
	for (unsigned i = 1; i <= REPLACEMENTS; i++) {
		unsigned before = atomic_load(&n_reads);

		data_file_replace(&current, make(i));
		while (i % 100 == 0 && atomic_load(&n_reads) == before)
			;
	}
	atomic_store(&stop, true);
	for (int i = 0; i < READERS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&n_closed_while_borrowed), 0);
	assert_false(is_closed(kept)); /* a reference keeps it */
	for (unsigned i = 1; i < REPLACEMENTS; i++)
		assert_true(atomic_load(&all[i].closed));
	assert_false(atomic_load(&all[REPLACEMENTS].closed));
	data_file_unref(kept);
	assert_true(atomic_load(&all[0].closed));
	data_file_unref(atomic_load(&current));
	assert_true(atomic_load(&all[REPLACEMENTS].closed));
}

static void test_forgotten_is_not_closed(void **state)
{
	(void)state;
	data_file_forget(make(0));
	assert_false(atomic_load(&all[0].closed));
	data_file_forget(NULL);
	data_file_unref(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_borrowed_stays),
		cmocka_unit_test(test_forgotten_is_not_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
