/* Any bytes as a data file: it is opened or refused with a text; when it is opened, every object can be
 * asked for, a transaction can be committed, and the file opens again and shows it. */
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "fuzz.h"
#include "storage/filestorage/fs.h"

/* A file in memory. */
struct memory_file {
	struct disk_file base;
	struct buf bytes;
};

static struct buf *bytes_of(struct disk_file *f)
{
	return &CONTAINER_OF(f, struct memory_file, base)->bytes;
}

static int memory_pread(struct disk_file *f, void *p, size_t n, uint64_t off, bool may_block,
	size_t *ret_n, struct err *e)
{
	struct buf *b = bytes_of(f);

	(void)may_block;
	(void)e;
	*ret_n = off >= b->len ? 0 : n < b->len - off ? n : b->len - (size_t)off;
	if (*ret_n)
		memcpy(p, b->data + off, *ret_n);
	return OK;
}

static int memory_pwrite(struct disk_file *f, const void *p, size_t n, uint64_t off, struct err *e)
{
	struct buf *b = bytes_of(f);

	(void)e;
	while (b->len < off + n)
		buf_put_u8(b, 0);
	if (n)
		memcpy(b->data + off, p, n);
	return OK;
}

static int memory_sync(struct disk_file *f, struct err *e)
{
	(void)f;
	(void)e;
	return OK;
}

static int memory_truncate(struct disk_file *f, uint64_t size, struct err *e)
{
	(void)e;
	CHECK(size <= bytes_of(f)->len);
	bytes_of(f)->len = size;
	return OK;
}

static int memory_reserve(struct disk_file *f, uint64_t off, uint64_t n, struct err *e)
{
	(void)f;
	(void)off;
	(void)n;
	(void)e;
	return OK;
}

static int memory_size(struct disk_file *f, uint64_t *ret_size, struct err *e)
{
	(void)e;
	*ret_size = bytes_of(f)->len;
	return OK;
}

static const struct disk_ops memory_ops = {
	.pread = memory_pread,
	.pwrite = memory_pwrite,
	.pwrite_dsync = memory_pwrite,
	.fdatasync = memory_sync,
	.ftruncate = memory_truncate,
	.reserve = memory_reserve,
	.size = memory_size,
};

/* Jobs run at once. */
static void run_now(struct exec *x, struct job *j)
{
	(void)x;
	j->work(j);
	j->done(j);
}

static struct exec pool = { run_now };

static void loaded(struct load_req *r)
{
	uint8_t sum = 0;

	CHECK(r->rc == OK || r->rc == ERR_NOKEY || (r->rc == ERR_CORRUPT && r->err.text[0]));
	for (size_t i = 0; r->rc == OK && i < r->data.len; i++)
		sum ^= r->data.data[i]; /* can be read */
	r->none |= sum == 1 && r->rc != OK;
}

static void history_done(struct history_req *r)
{
	CHECK(r->rc == OK || r->rc == ERR_NOKEY || r->rc == ERR_CORRUPT);
}

static void ask(struct storage *s, uint64_t oid)
{
	struct arena arena = ARENA_INIT(0);
	struct load_req r = { .exec = &pool, .done = loaded, .oid = oid, .applied = TID_MAX };
	struct history_req h = { .exec = &pool,
		.done = history_done,
		.oid = oid,
		.applied = TID_MAX,
		.size = 100,
		.arena = &arena };

	r.kind = LOAD_BEFORE;
	r.tid = TID_MAX;
	s->ops->load(s, &r);
	r.tid = pubchain_last_tid(s->pubs);
	s->ops->load(s, &r);
	r.kind = LOAD_SERIAL;
	s->ops->load(s, &r);
	r.kind = LOAD_TID;
	s->ops->load(s, &r);
	s->ops->history(s, &h);
	arena_free(&arena);
}

static void ask_all(struct storage *s)
{
	struct index_iter *it = index_iter_open(atomic_load(&fs_of(s)->data)->index);
	uint64_t oid, off;

	CHECK(it);
	while (index_iter_next(it, &oid, &off))
		ask(s, oid);
	index_iter_close(it);
}

static void voted(struct vote_req *v)
{
	(void)v;
}

static void finished(struct txn *t, int rc, const struct err *e)
{
	(void)t;
	(void)e;
	CHECK(rc == OK);
}

/* An empty transaction; a tid can still be given out when the last one is not the largest of all. */
static uint64_t commit(struct storage *s)
{
	struct txn *t = txn_new();
	struct vote_req v = { .exec = &pool, .done = voted, .txn = t };
	uint64_t tid;

	CHECK(t);
	s->ops->vote(s, &v);
	CHECK(v.rc == OK);
	t->done = finished;
	t->state = TXN_FINISHING;
	s->ops->finish(s, t);
	while (filestorage_step(s))
		;
	tid = t->tid;
	txn_free(t);
	return tid;
}

static struct storage *open_memory(struct memory_file *f, struct err *e)
{
	struct filestorage_options o = { .recent_txns = 5, .clock = &clock_system };
	struct storage *s = NULL;

	return filestorage_core_open(&f->base, &o, &s, e) == OK ? s : NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct memory_file f = { { &memory_ops }, BUF_INIT(0) };
	struct err e = ERR_INIT;
	struct storage *s;
	uint64_t tid;

	buf_put(&f.bytes, data, n);
	s = open_memory(&f, &e);
	if (!s) {
		CHECK((e.code == ERR_FORMAT || e.code == ERR_CORRUPT) && e.text[0]);
	} else {
		ask_all(s);
		if (pubchain_last_tid(s->pubs) != TID_MAX) {
			tid = commit(s);
			filestorage_core_drop(s);
			s = open_memory(&f, &e);
			CHECK(s && pubchain_last_tid(s->pubs) == tid);
		}
		filestorage_core_drop(s);
	}
	buf_free(&f.bytes);
	return 0;
}
