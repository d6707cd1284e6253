/* The connection to the server: what it says becomes publications (F1, F3), and what may pass through it (F5). */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/log.h"
#include "codec/tid.h"
#include "fanout/core.h"

enum {
	AGAIN_MS = 1000, /* until the next probe when the one before said nothing */
	LOOK_MS = 200,   /* between questions whether to stop waiting */
};

void fan_log(struct fanout *f, int level, const char *fmt, ...)
{
	char text[600];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	f->log(f->log_ctx, level, "ZEO.StorageServer", text);
}

/* Until @until_us, monotonic, or a signal of f->changed. L */
static void wait_until(struct fanout *f, uint64_t until_us)
{
	uint64_t now_us = clock_mono_us(f->clock);
	struct timespec ts;

	if (until_us == UINT64_MAX) {
		pthread_cond_wait(&f->changed, &f->lock);
		return;
	}
	if (until_us <= now_us)
		return;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_sec += (time_t)((until_us - now_us) / 1000000);
	ts.tv_nsec += (long)((until_us - now_us) % 1000000) * 1000;
	if (ts.tv_nsec >= 1000000000) {
		ts.tv_sec++;
		ts.tv_nsec -= 1000000000;
	}
	pthread_cond_timedwait(&f->changed, &f->lock, &ts);
}

/* --- publications. Under publish_lock --- */

/* What comes behind a later transaction (Python's servers mix the order now and then, T45) cannot be told at its place
 * any more: it is told as what changed some time before now. */
static void publish(struct fanout *f, struct publication *p)
{
	uint64_t last = pubchain_last_tid(&f->pubs);

	f->real_last = p->tid > f->real_last ? p->tid : f->real_last;
	if (p->tid <= last) {
		p->tid = last + 1;
		p->kind = PUBLICATION_CATCH_UP;
	}
	p->size_bytes = atomic_load(&f->size);
	p->length = atomic_load(&f->length);
	if (f->gap)
		p->kind = PUBLICATION_GAP;
	f->gap = false;
	pubchain_publish(&f->pubs, p);
}

void link_publish(struct fanout *f, struct publication *p)
{
	pthread_mutex_lock(&f->publish_lock);
	publish(f, p);
	pthread_mutex_unlock(&f->publish_lock);
}

/* A server that is behind what was shown is not followed (T56). */
static bool is_behind(const struct fanout *f)
{
	return client_last_tid(f->client) < f->real_last;
}

static void on_invalidate(void *arg, uint64_t tid, const uint64_t *oids, size_t n)
{
	struct fanout *f = arg;
	struct publication *p = publication_new((uint32_t)n);

	pthread_mutex_lock(&f->publish_lock);
	if (is_behind(f)) {
		publication_free(p);
	} else if (p) {
		p->tid = tid;
		p->kind = client_is_connected(f->client) ? PUBLICATION_TXN : PUBLICATION_CATCH_UP;
		memcpy(p->oids, oids, n * sizeof(oids[0]));
		publish(f, p);
	} else {
		f->gap = true; /* the next one says so */
	}
	pthread_mutex_unlock(&f->publish_lock);
}

static void on_invalidate_all(void *arg)
{
	struct fanout *f = arg;

	pthread_mutex_lock(&f->publish_lock);
	f->gap = true;
	pthread_mutex_unlock(&f->publish_lock);
}

/* The tid of the connection may be one that nothing was told of. False: the server is behind what was shown (T56). */
static bool catch_up(struct fanout *f, uint64_t tid)
{
	struct publication *p = NULL;
	uint64_t last;

	pthread_mutex_lock(&f->publish_lock);
	last = f->real_last;
	if (tid > last)
		p = publication_new(0);
	if (p) {
		p->tid = tid;
		p->kind = PUBLICATION_GAP;
		publish(f, p);
	}
	f->gap = tid > last && !p;
	pthread_mutex_unlock(&f->publish_lock);
	return tid >= last;
}

static void on_info(void *arg)
{
	struct fanout *f = arg;
	struct publication *p;

	info_update(f);
	p = atomic_load(&f->in_finish)
		    ? NULL
		    : publication_new(0); /* of a finish only its client is told */
	if (!p)
		return;
	pthread_mutex_lock(&f->publish_lock);
	p->kind = PUBLICATION_INFO;
	p->tid = pubchain_last_tid(&f->pubs);
	p->size_bytes = atomic_load(&f->size);
	p->length = atomic_load(&f->length);
	pubchain_publish(&f->pubs, p);
	pthread_mutex_unlock(&f->publish_lock);
}

/* --- the connection --- */

/* L */
static void refuse(struct fanout *f, const char *fmt, ...) PRINTF(2, 3);
static void refuse(struct fanout *f, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(f->refused, sizeof(f->refused), fmt, ap);
	va_end(ap);
	f->state = FAN_REFUSED;
	f->leave = true;
	op_resume_all(f); /* they fail */
	pthread_cond_broadcast(&f->changed);
}

static void on_connected(void *arg)
{
	struct fanout *f = arg;
	uint64_t tid = client_last_tid(f->client);
	char shown[17];
	char its[17];
	bool ahead;

	info_update(f);
	atomic_store(&f->storage.read_only, client_is_read_only(f->client));
	ahead = catch_up(f, tid);
	pthread_mutex_lock(&f->lock);
	f->leave = false;
	if (ahead) {
		f->state = FAN_PROBING;
		f->probe_at_us = 0;
		op_resume_all(f); /* the probes of others among them */
	} else {
		refuse(f,
			"the storage's server is behind what was shown of it: its last "
			"transaction is 0x%s, 0x%s was seen. When this is meant to be, restart "
			"this server",
			tid_hex(tid, its), tid_hex(f->real_last, shown));
	}
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
	if (!ahead)
		fan_log(f, LOG_CRITICAL, "%s: %s", f->name, f->refused);
}

static void on_disconnected(void *arg)
{
	struct fanout *f = arg;

	pthread_mutex_lock(&f->lock);
	f->state = FAN_AWAY;
	f->leave = false;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
}

static void on_log(void *arg, int level, const char *logger, const char *text)
{
	struct fanout *f = arg;

	f->log(f->log_ctx, level, logger, text);
}

void link_events(struct fanout *f, struct client_events *ret)
{
	*ret = (struct client_events){
		.arg = f,
		.invalidate = on_invalidate,
		.invalidate_all = on_invalidate_all,
		.info = on_info,
		.connected = on_connected,
		.disconnected = on_disconnected,
		.log = on_log,
	};
}

/* --- the probe (F5) --- */

static uint64_t random_probe(void)
{
	uint64_t n = 0;

	while (getrandom(&n, sizeof(n), 0) != sizeof(n))
		;
	return FAN_PROBE_OIDS | n >> 16;
}

static void on_probe(struct call *k)
{
	struct fanout *f = k->arg;

	pthread_mutex_lock(&f->lock);
	f->probe_answered = true;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
}

static int send_probe(struct fanout *f, uint64_t oid)
{
	struct fan_id ids[2];
	struct val args[2] = { id_val(oid, &ids[0]), id_val(FAN_TID_MAX, &ids[1]) };
	struct err e = ERR_INIT;

	f->probe_call = (struct call){ .done = on_probe, .arg = f };
	return client_call(f->client, &f->probe_call, "loadBefore", args, 2, 0, &e);
}

/* L. Is a probe to be sent now? */
static bool wants_probe(const struct fanout *f, uint64_t now_us)
{
	return f->state == FAN_PROBING && !f->stopping && !f->probing && now_us >= f->probe_at_us;
}

/* L; given up meanwhile. The answer is not waited for: requests have their time limits. */
static void begin_probe(struct fanout *f)
{
	uint64_t oid = random_probe();
	struct err e = ERR_INIT;
	int rc;

	f->probing = true;
	pthread_mutex_unlock(&f->lock);
	rc = client_wait(f->client, LOOK_MS, &e); /* it was just about to let calls through */
	f->probe_generation = client_generation(f->client);
	atomic_store(&f->probe_came, false);
	atomic_store(&f->probe, oid);
	if (rc == OK)
		rc = send_probe(f, oid);
	pthread_mutex_lock(&f->lock);
	if (rc == OK)
		return;
	f->probing = false;
	atomic_store(&f->probe, OID_NONE);
	if (rc != ERR_TIMEOUT && f->probe_generation == client_generation(f->client))
		f->probe_at_us = clock_mono_us(f->clock) + AGAIN_MS * 1000;
}

/* L; given up meanwhile */
static void say_refused(struct fanout *f)
{
	char why[sizeof(f->refused)];

	memcpy(why, f->refused, sizeof(why));
	pthread_mutex_unlock(&f->lock);
	fan_log(f, LOG_CRITICAL, "%s: %s", f->name, why);
	pthread_mutex_lock(&f->lock);
}

/* L. An answer that is none of ours says that the server answers for itself, or whoever it asks. */
static void end_probe(struct fanout *f)
{
	int rc = f->probe_call.rc;

	call_end(&f->probe_call);
	f->probing = f->probe_answered = false;
	atomic_store(&f->probe, OID_NONE);
	if (f->state != FAN_PROBING || f->probe_generation != client_generation(f->client))
		return;
	if (atomic_load(&f->probe_came)) {
		refuse(f, "the storage's server has it from this server: what is asked of "
			  "it comes back");
		say_refused(f);
	} else if (rc == OK || rc == ERR_NOKEY) {
		f->state = FAN_UP;
		f->up_generation = f->probe_generation;
		op_resume_all(f);
		pthread_cond_broadcast(&f->changed);
	} else {
		f->probe_at_us = clock_mono_us(f->clock) + AGAIN_MS * 1000;
	}
}

/* --- the threads --- */

/* L; given up meanwhile */
static void leave(struct fanout *f)
{
	char why[sizeof(f->refused)];

	memcpy(why, f->refused, sizeof(why));
	f->leave = false;
	pthread_mutex_unlock(&f->lock);
	client_drop(f->client, why);
	pthread_mutex_lock(&f->lock);
}

static void cut(struct fanout *f)
{
	f->stop_us = UINT64_MAX;
	pthread_mutex_unlock(&f->lock);
	client_drop(f->client, "the server is being stopped");
	pthread_mutex_lock(&f->lock);
}

/* L. When there is something to do without anybody's word. */
static uint64_t next_us(struct fanout *f, uint64_t now_us)
{
	uint64_t us = op_expire(f, now_us);

	if (f->stop_us < us)
		us = f->stop_us;
	if (f->state == FAN_PROBING && !f->stopping && !f->probing && f->probe_at_us < us)
		us = f->probe_at_us;
	return us;
}

static void *keep(void *arg)
{
	struct fanout *f = arg;

	pthread_mutex_lock(&f->lock);
	while (!f->ending) {
		uint64_t now_us = clock_mono_us(f->clock);

		if (f->probe_answered)
			end_probe(f);
		else if (f->leave)
			leave(f);
		else if (now_us >= f->stop_us)
			cut(f);
		else if (wants_probe(f, now_us))
			begin_probe(f);
		else
			wait_until(f, next_us(f, now_us));
	}
	pthread_mutex_unlock(&f->lock);
	return NULL;
}

static void *commit(void *arg)
{
	struct fanout *f = arg;

	pthread_mutex_lock(&f->lock);
	while (fan_commit_next(f) || !f->ending)
		if (!f->finishing && !f->aborting && !f->ending)
			pthread_cond_wait(&f->changed, &f->lock);
	pthread_mutex_unlock(&f->lock);
	return NULL;
}

int link_start(struct fanout *f, struct err *e)
{
	int errnum = pthread_create(&f->keeper, NULL, keep, f);

	f->n_threads += errnum == 0;
	if (errnum == 0)
		errnum = pthread_create(&f->committer, NULL, commit, f);
	f->n_threads += errnum == 0;
	return errnum ? err_sys(e, errnum, "cannot start a thread for a storage") : OK;
}

void link_stopping(struct fanout *f)
{
	pthread_mutex_lock(&f->lock);
	if (!f->stopping)
		f->stop_us = clock_mono_us(f->clock) + FAN_STOP_MS * 1000;
	f->stopping = true;
	op_resume_all(f);
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
}

void link_end(struct fanout *f)
{
	pthread_mutex_lock(&f->lock);
	f->stopping = true;
	f->ending = true;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
	if (f->n_threads > 1)
		pthread_join(f->committer, NULL);
	if (f->n_threads > 0)
		pthread_join(f->keeper, NULL);
	f->n_threads = 0;
	call_end(&f->probe_call); /* the client has ended it */
}

int link_wait(
	struct fanout *f, uint32_t timeout_ms, bool (*stop)(void *arg), void *arg, struct err *e)
{
	uint64_t end_us = clock_mono_us(f->clock) + (uint64_t)timeout_ms * 1000;
	int rc = ERR_AGAIN;

	pthread_mutex_lock(&f->lock);
	while (rc == ERR_AGAIN) {
		uint64_t now_us = clock_mono_us(f->clock);

		if (f->state == FAN_UP)
			rc = OK;
		else if (f->stopping || (stop && stop(arg)))
			rc = err_set(e, ERR_CLOSED, "stopped while it waited for a server");
		else if (f->state == FAN_REFUSED)
			rc = err_set(e, ERR_REMOTE, "%s", f->refused);
		else if (now_us >= end_us)
			rc = err_set(e, ERR_TIMEOUT, "timed out waiting for connection");
		else
			wait_until(f, now_us + LOOK_MS * 1000 < end_us ? now_us + LOOK_MS * 1000
								       : end_us);
	}
	pthread_mutex_unlock(&f->lock);
	return rc;
}
