#include "server/outq.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/os.h"

enum {
	CHUNK_FULL = 64 << 10,  /* a chunk with more than this takes no further message */
	CHUNK_KEEP = 128 << 10, /* memory a sent chunk may keep for the next messages */
	SPARES_MAX = 32,        /* chunks kept by a loop */
};

struct outq_chunk {
	struct outq_chunk *next;
	struct shared_frame *shared; /* NULL: own, or of a file */
	struct shared_file *file;    /* NULL: own, or shared */
	uint64_t file_off;
	size_t file_len;
	struct buf own;
};

struct shared_frame *shared_frame_new(void)
{
	struct shared_frame *f = mem_zalloc(1, sizeof(*f));

	if (f)
		atomic_init(&f->refs, 1);
	return f;
}

struct shared_frame *shared_frame_ref(struct shared_frame *f)
{
	atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
	return f;
}

void shared_frame_unref(struct shared_frame *f)
{
	if (!f || atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) != 1)
		return;
	buf_free(&f->bytes);
	mem_free(f);
}

struct shared_file *shared_file_new(int fd)
{
	struct shared_file *f = mem_zalloc(1, sizeof(*f));

	if (!f) {
		os_close(fd);
		return NULL;
	}
	atomic_init(&f->refs, 1);
	f->fd = fd;
	return f;
}

struct shared_file *shared_file_ref(struct shared_file *f)
{
	atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
	return f;
}

void shared_file_unref(struct shared_file *f)
{
	if (!f || atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) != 1)
		return;
	os_close(f->fd);
	mem_free(f);
}

static const struct buf *bytes_of(const struct outq_chunk *c)
{
	return c->shared ? &c->shared->bytes : &c->own;
}

static size_t len_of(const struct outq_chunk *c)
{
	return c->file ? c->file_len : bytes_of(c)->len;
}

static void chunk_free(struct outq_chunk *c)
{
	if (!c)
		return;
	shared_frame_unref(c->shared);
	shared_file_unref(c->file);
	buf_free(&c->own);
	mem_free(c);
}

/* The memory of own chunks serves the next messages. */
static void chunk_retire(struct outq *q, struct outq_chunk *c)
{
	struct outq_spares *s = q->spares;

	if (!s || s->n == SPARES_MAX || c->shared || c->file || c->own.room > CHUNK_KEEP) {
		chunk_free(c);
		return;
	}
	buf_reset(&c->own);
	c->next = s->first;
	s->first = c;
	s->n++;
}

static struct outq_chunk *take_spare(struct outq *q)
{
	struct outq_spares *s = q->spares;
	struct outq_chunk *c = s ? s->first : NULL;

	if (!c)
		return NULL;
	s->first = c->next;
	s->n--;
	c->next = NULL;
	return c;
}

void outq_spares_free(struct outq_spares *s)
{
	while (s->first) {
		struct outq_chunk *next = s->first->next;

		chunk_free(s->first);
		s->first = next;
	}
	s->n = 0;
}

void outq_free(struct outq *q)
{
	while (q->head) {
		struct outq_chunk *next = q->head->next;

		chunk_free(q->head);
		q->head = next;
	}
	*q = (struct outq){ .spares = q->spares };
}

/* @own: bytes will be written into it, for which a spare one has memory. */
static struct outq_chunk *append_chunk(struct outq *q, bool own)
{
	struct outq_chunk *c = own ? take_spare(q) : NULL;

	if (!c)
		c = mem_zalloc(1, sizeof(*c));
	if (!c) {
		q->failed = true;
		return NULL;
	}
	if (q->tail)
		q->tail->next = c;
	else
		q->head = c;
	q->tail = c;
	return c;
}

struct buf *outq_buf(struct outq *q)
{
	struct outq_chunk *c = q->tail;

	if (!c || c->shared || c->file || c->own.len > CHUNK_FULL)
		c = append_chunk(q, true);
	return c ? &c->own : NULL;
}

void outq_appended(struct outq *q, struct buf *b, size_t len_before)
{
	if (buf_ok(b)) {
		q->bytes += b->len - len_before;
		return;
	}
	b->len = len_before; /* half a message is not sent */
	q->failed = true;
}

void outq_share(struct outq *q, struct shared_frame *f)
{
	struct outq_chunk *c = append_chunk(q, false);

	if (!c)
		return;
	c->shared = shared_frame_ref(f);
	q->bytes += f->bytes.len;
	q->shared_bytes += f->bytes.len;
}

void outq_file(struct outq *q, struct shared_file *f, uint64_t off, size_t len)
{
	struct outq_chunk *c = len ? append_chunk(q, false) : NULL;

	if (!c)
		return;
	c->file = shared_file_ref(f);
	c->file_off = off;
	c->file_len = len;
	q->bytes += len;
	q->n_files++;
}

int outq_iov(const struct outq *q, struct iovec *iov, int n)
{
	const struct outq_chunk *c;
	size_t skip = q->head_sent;
	int used = 0;

	for (c = q->head; c && !c->file && used < n; c = c->next) {
		const struct buf *b = bytes_of(c);

		if (b->len > skip)
			iov[used++] = (struct iovec){ b->data + skip, b->len - skip };
		skip = 0;
	}
	return used;
}

bool outq_file_next(const struct outq *q, int *ret_fd, uint64_t *ret_off, size_t *ret_len)
{
	const struct outq_chunk *c = q->head;
	size_t sent = q->head_sent;

	while (c && len_of(c) == 0) { /* nothing was written into it */
		c = c->next;
		sent = 0;
	}
	if (!c || !c->file)
		return false;
	*ret_fd = c->file->fd;
	*ret_off = c->file_off + sent;
	*ret_len = c->file_len - sent;
	return true;
}

static void chunk_sent(struct outq *q, struct outq_chunk *c)
{
	if (c->shared)
		q->shared_bytes -= c->shared->bytes.len;
	if (c->file)
		q->n_files--;
	chunk_retire(q, c);
}

void outq_sent(struct outq *q, size_t n)
{
	CHECK(n <= q->bytes);
	q->bytes -= n;
	q->head_sent += n;
	while (q->head && q->head_sent >= len_of(q->head)) {
		struct outq_chunk *c = q->head;

		q->head_sent -= len_of(c);
		q->head = c->next;
		if (!q->head)
			q->tail = NULL;
		chunk_sent(q, c);
	}
}
