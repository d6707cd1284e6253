#include "server/hub.h"

#include <sched.h>

#include "base/check.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/commit.h"
#include "server/load_op.h"
#include "server/outq.h"
#include "server/server.h"
#include "server/session.h"
#include "zeo/message.h"

enum { ARENA_MAX = 512 << 20 }; /* decoded values of one request */

static void on_publish(struct pub_cursor *cur)
{
	struct hub_storage *hs = CONTAINER_OF(cur, struct hub_storage, cursor);

	hs->hub->io->wake(hs->hub->io);
}

int hub_init(struct hub *h, struct server *s, struct exec *exec, struct hub_io *io, struct err *e)
{
	*h = (struct hub){
		.server = s,
		.exec = exec,
		.clock = s->clock,
		.io = io,
		.wake_us = UINT64_MAX,
		.arena = ARENA_INIT(ARENA_MAX),
	};
	h->inbox_end = &h->inbox;
	h->storages = mem_zalloc(s->n_storages, sizeof(h->storages[0]));
	if (!h->storages)
		return err_set(e, ERR_NOMEM, "no memory for an event loop's view of the storages");
	pthread_mutex_init(&h->inbox_lock, NULL);
	for (size_t i = 0; i < s->n_storages; i++) {
		struct hub_storage *hs = &h->storages[i];

		hs->hub = h;
		hs->ss = &s->storages[i];
		hs->cursor.wake = on_publish;
		pub_cursor_attach(hs->ss->storage->pubs, &hs->cursor);
		pub_cursor_listen(hs->ss->storage->pubs, &hs->cursor, false);
		hs->applied = atomic_load(&hs->cursor.at)->tid;
	}
	return OK;
}

/* A loop without a session of a storage is not woken for its commits: it catches up here (I4 of publication.h). */
void hub_add_session(struct hub_storage *hs, struct session *s)
{
	if (!hs->sessions) {
		pub_cursor_listen(hs->ss->storage->pubs, &hs->cursor, true);
		hub_catch_up(hs->hub);
	}
	s->storage_next = hs->sessions;
	if (hs->sessions)
		hs->sessions->storage_prev = s;
	hs->sessions = s;
}

void hub_remove_session(struct hub_storage *hs, struct session *s)
{
	if (s->storage_prev)
		s->storage_prev->storage_next = s->storage_next;
	else
		hs->sessions = s->storage_next;
	if (s->storage_next)
		s->storage_next->storage_prev = s->storage_prev;
	if (!hs->sessions)
		pub_cursor_listen(hs->ss->storage->pubs, &hs->cursor, false);
}

void hub_fini(struct hub *h)
{
	if (!h->storages)
		return;
	CHECK(!h->n_open && !h->finishing);
	while (atomic_load(&h->n_posting)) /* a wake that is no longer needed: microseconds */
		sched_yield();
	for (size_t i = 0; i < h->server->n_storages; i++)
		pub_cursor_detach(h->server->storages[i].storage->pubs, &h->storages[i].cursor);
	load_op_free_all(h);
	outq_spares_free(&h->spares);
	arena_free(&h->arena);
	pthread_mutex_destroy(&h->inbox_lock);
	mem_free(h->storages);
	h->storages = NULL;
}

void hub_post(struct hub *h, struct hub_msg *m)
{
	bool was_empty;

	m->next = NULL;
	atomic_fetch_add(&h->n_posting, 1);
	pthread_mutex_lock(&h->inbox_lock);
	was_empty = !h->inbox;
	*h->inbox_end = m;
	h->inbox_end = &m->next;
	pthread_mutex_unlock(&h->inbox_lock);
	if (was_empty) /* without the lock, which is the first thing that who is woken wants */
		h->io->wake(h->io);
	atomic_fetch_sub(&h->n_posting, 1); /* afterwards the hub may be gone */
}

static struct hub_msg *take_inbox(struct hub *h)
{
	struct hub_msg *m;

	pthread_mutex_lock(&h->inbox_lock);
	m = h->inbox;
	h->inbox = NULL;
	h->inbox_end = &h->inbox;
	pthread_mutex_unlock(&h->inbox_lock);
	return m;
}

void hub_turn(struct hub *h)
{
	struct hub_msg *m = take_inbox(h);

	/* What a message tells of was published before: take that first (I3). */
	hub_catch_up(h);
	while (m) {
		struct hub_msg *next = m->next;

		m->run(h, m);
		m = next;
	}
}

void hub_free_frame(void *frame)
{
	shared_frame_unref(frame);
}

static struct shared_frame *encode_invalidation(const struct publication *p, enum encoding encoding)
{
	struct shared_frame *f = shared_frame_new();
	struct message_writer w;

	if (!f)
		return NULL;
	message_call(&w, &f->bytes, encoding, "invalidateTransaction");
	enc_tuple(&w.enc, 2);
	enc_id(&w.enc, p->tid);
	enc_list(&w.enc, p->n_oids);
	for (uint32_t i = 0; i < p->n_oids; i++)
		enc_id(&w.enc, p->oids[i]);
	enc_end(&w.enc);
	enc_end(&w.enc);
	message_end(&w);
	if (buf_ok(&f->bytes))
		return f;
	shared_frame_unref(f);
	return NULL;
}

/* The message of a publication, encoded once for all connections of an encoding. Two loops may
 * do it at the same time: the first one's stays. */
static struct shared_frame *frame_of(struct publication *p, enum encoding encoding)
{
	void *seen = atomic_load_explicit(&p->frame[encoding], memory_order_acquire);
	struct shared_frame *f;

	if (seen)
		return seen;
	f = encode_invalidation(p, encoding);
	if (!f)
		return NULL;
	if (atomic_compare_exchange_strong(&p->frame[encoding], &seen, f))
		return f;
	shared_frame_unref(f);
	return seen;
}

void hub_make_frame_pickle(struct publication *p)
{
	(void)frame_of(p, ENC_PICKLE);
}

void hub_make_frame_msgpack(struct publication *p)
{
	(void)frame_of(p, ENC_MSGPACK);
}

static void send_invalidation(struct session *s, struct publication *p)
{
	struct shared_frame *f = frame_of(p, s->encoding);

	if (f)
		session_share(s, f);
	else
		session_fail(s, "no memory for an invalidation");
}

/* He comes back, and verifies what he knows. What was answered to him before was as of then. */
static void send_away(struct session *s)
{
	log_emit(LOG_INFO, SERVER_LOGGER,
		"(%s) closing the connection: it has to verify what changed while the storage's "
		"server was away",
		s->label);
	session_close(s, true);
}

static void deliver(struct hub_storage *hs, struct publication *p)
{
	struct commit *c = p->origin ? commit_by_origin(hs->hub, p->origin) : NULL;
	struct session *s = hs->sessions;
	struct session *next;

	for (; s; s = next) {
		next = s->storage_next;
		if (p->kind == PUBLICATION_INFO)
			commit_send_info(s, p);
		else if (p->kind != PUBLICATION_TXN)
			send_away(s);
		else if (c && commit_session(c) == s)
			commit_published(c, p); /* I3 */
		else
			send_invalidation(s, p);
	}
}

void hub_catch_up(struct hub *h)
{
	for (size_t i = 0; i < h->server->n_storages; i++) {
		struct hub_storage *hs = &h->storages[i];
		struct publication *p;

		while ((p = pub_cursor_peek(&hs->cursor))) {
			deliver(hs, p);
			hs->applied = p->tid; /* I1 */
			pub_cursor_take(&hs->cursor, p);
		}
	}
}

bool hub_is_idle(struct hub *h)
{
	bool empty;

	pthread_mutex_lock(&h->inbox_lock);
	empty = !h->inbox;
	pthread_mutex_unlock(&h->inbox_lock);
	return empty && h->n_open == 0 && !h->finishing && !h->locked;
}

void hub_wake_at(struct hub *h, uint64_t when_us)
{
	if (when_us < h->wake_us)
		h->wake_us = when_us;
}

void hub_tick(struct hub *h)
{
	uint64_t now = clock_mono_us(h->clock);
	struct session *s = h->sessions;
	struct session *next;

	if (now < h->wake_us)
		return;
	h->wake_us = UINT64_MAX;
	for (; s; s = next) {
		next = s->next;
		hub_wake_at(h, session_tick(s, now));
	}
	commit_check_timeouts(h, now);
}

struct session *hub_next_dirty(struct hub *h)
{
	struct session *s = h->dirty;

	if (s) {
		h->dirty = s->dirty_next;
		s->dirty = false;
	}
	return s;
}
