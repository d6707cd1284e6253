#include "storage/filestorage/data_file.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/mem.h"

/* What a thread has borrowed: its hazard pointer. There is one for each thread that ever borrowed at the
 * same time as others; they are used again, and never freed. */
struct hazard {
	_Atomic(struct data_file *) held;
	atomic_bool taken;
	struct hazard *next;
};

static _Atomic(struct hazard *) hazards;
static _Thread_local struct hazard *mine;
static pthread_key_t exit_key;
static pthread_once_t exit_once = PTHREAD_ONCE_INIT;

static void give_back(void *arg)
{
	struct hazard *h = arg;

	atomic_store(&h->taken, false);
}

static void make_key(void)
{
	CHECK(pthread_key_create(&exit_key, give_back) == 0);
}

static struct hazard *find_free(void)
{
	struct hazard *h;

	for (h = atomic_load(&hazards); h; h = h->next) {
		bool taken = false;

		if (atomic_compare_exchange_strong(&h->taken, &taken, true))
			return h;
	}
	return NULL;
}

/* A few dozen bytes for each thread, once: without them no object can be read. */
static struct hazard *make_mine(void)
{
	struct hazard *h;

	pthread_once(&exit_once, make_key);
	h = find_free();
	if (!h) {
		h = calloc(1, sizeof(*h));
		CHECK(h);
		atomic_store(&h->taken, true);
		h->next = atomic_load(&hazards);
		while (!atomic_compare_exchange_weak(&hazards, &h->next, h))
			;
	}
	CHECK(pthread_setspecific(exit_key, h) == 0);
	return h;
}

struct data_file *data_file_borrow(_Atomic(struct data_file *) *current)
{
	struct data_file *d;

	if (!mine)
		mine = make_mine();
	CHECK(!atomic_load_explicit(&mine->held, memory_order_relaxed));
	do {
		d = atomic_load(current);
		atomic_store(&mine->held, d);
	} while (atomic_load(current) != d); /* else it may be gone already */
	return d;
}

void data_file_return(void)
{
	atomic_store_explicit(&mine->held, NULL, memory_order_release);
}

struct data_file *data_file_get(_Atomic(struct data_file *) *current)
{
	struct data_file *d = data_file_ref(data_file_borrow(current));

	data_file_return();
	return d;
}

void data_file_replace(_Atomic(struct data_file *) *current, struct data_file *d)
{
	struct data_file *old = atomic_exchange(current, d);

	for (struct hazard *h = atomic_load(&hazards); h; h = h->next)
		while (atomic_load(&h->held) == old)
			sched_yield();
	data_file_unref(old);
}

struct data_file *data_file_new(struct disk_file *disk, struct index *index)
{
	struct data_file *d = mem_zalloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->disk = disk;
	d->index = index;
	atomic_store(&d->refs, 1);
	return d;
}

struct data_file *data_file_ref(struct data_file *d)
{
	atomic_fetch_add(&d->refs, 1);
	return d;
}

void data_file_unref(struct data_file *d)
{
	if (!d || atomic_fetch_sub(&d->refs, 1) != 1)
		return;
	d->disk->ops->close(d->disk);
	data_file_forget(d);
}

void data_file_forget(struct data_file *d)
{
	if (!d)
		return;
	index_free(d->index);
	mem_free(d);
}
