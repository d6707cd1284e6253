#include "zookeeper/live_core.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum {
	PAUSE_US = 1000000, /* after a request that failed, and before a lost node is looked for */
	GIVE_UP_MIN_US = 1000000, /* without a connection for so long: a new handle (T70) */
	GIVE_UP_MAX_US = 4000000,
	REOPENS_LONGER = 3, /* so often the time doubles */
	HURRY_US = 500000,  /* for an answer or a connection, when somebody waits for it */
	HURRY_FOR_US = 3000000,
};

static uint64_t doubled(uint64_t us, unsigned times)
{
	return us << (times < REOPENS_LONGER ? times : REOPENS_LONGER);
}

/* A third of the session's life leaves time to come back within it (T71); later handles get longer,
 * so that the library can try all servers of its list. */
uint64_t live_core_patience_us(uint64_t timeout_us, unsigned reopens)
{
	uint64_t us = timeout_us / 3;

	if (us < GIVE_UP_MIN_US)
		us = GIVE_UP_MIN_US;
	if (us > GIVE_UP_MAX_US)
		us = GIVE_UP_MAX_US;
	return doubled(us, reopens);
}

static uint64_t patience_us(const struct live_core *c, uint64_t now_us)
{
	if (now_us < c->hurry_us)
		return doubled(HURRY_US, c->reopens);
	return live_core_patience_us(c->timeout_us, c->reopens);
}

static void tell_connection(struct live_core *c, struct live_watch *w)
{
	bool connected = c->state == LIVE_CONNECTED;

	if (w->failed || w->told_connected == connected)
		return;
	w->told_connected = connected;
	c->ops->connection(c, w, connected);
}

static void tell_connection_to_all(struct live_core *c)
{
	for (struct live_watch *w = c->watches; w; w = w->next)
		tell_connection(c, w);
}

static void reopen(struct live_core *c, uint64_t now_us)
{
	struct err e = ERR_INIT;

	c->state = LIVE_CONNECTING;
	c->failure.code = OK;
	c->give_up_us = now_us + patience_us(c, now_us);
	/* ephemeral nodes of a session that may be alive stay (T71) */
	if (c->ops->open(c, c->session.id ? &c->session : NULL, &e))
		c->failure = e;
	tell_connection_to_all(c);
}

void live_core_start(struct live_core *c, uint64_t now_us)
{
	reopen(c, now_us);
}

static void pause(struct live_watch *w, uint64_t now_us)
{
	w->pause_us = now_us + PAUSE_US;
}

static void find_again(struct live_watch *w)
{
	w->state = WATCH_FIND;
	w->walking = false;
}

/* A read could not be made, or led nowhere. */
static void fail(struct live_core *c, struct live_watch *w, const struct err *why, uint64_t now_us)
{
	find_again(w);
	pause(w, now_us);
	if (w->opened)
		return;
	w->failed = true;
	c->ops->failed(c, w, why);
}

static void lost_node(
	struct live_core *c, struct live_watch *w, const struct err *why, uint64_t now_us)
{
	bool tell = w->opened && !w->gone;

	fail(c, w, why, now_us);
	if (!tell)
		return;
	w->gone = true;
	c->ops->deleted(c, w);
}

static void out_of_memory(struct live_core *c, struct live_watch *w, uint64_t now_us)
{
	struct err e = ERR_INIT;

	err_set(&e, ERR_NOMEM, "no memory for what is at '%s'", w->path);
	fail(c, w, &e, now_us);
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names in @data, sorted; freed with mem_free(). */
static char *sorted(struct slice data, size_t n)
{
	const char **names = mem_alloc(n * sizeof(*names));
	char *all = mem_alloc(data.len + 1);
	const char *p = (const char *)data.data;
	char *q = all;

	for (size_t i = 0; names && i < n; i++, p += strlen(p) + 1)
		names[i] = p;
	if (names && all) {
		qsort(names, n, sizeof(*names), compare);
		for (size_t i = 0; i < n; i++)
			q = stpcpy(q, names[i]) + 1;
		*q = 0;
	} else {
		mem_free(all);
		all = NULL;
	}
	mem_free(names);
	return all;
}

static char *content_of(const struct live_watch *w, struct slice data, size_t n)
{
	char *copy;

	if (w->kind == WATCH_CHILDREN)
		return sorted(data, n);
	copy = mem_alloc(data.len + 1);
	if (!copy)
		return NULL;
	if (data.len)
		memcpy(copy, data.data, data.len);
	copy[data.len] = 0;
	return copy;
}

static bool is_known(const struct live_watch *w, const char *content, size_t len)
{
	return w->content && !w->gone && w->content_len == len &&
	       memcmp(w->content, content, len) == 0;
}

static void node_is_there(
	struct live_core *c, struct live_watch *w, struct slice data, size_t n, uint64_t now_us)
{
	char *content = content_of(w, data, n);
	char *old = w->content;

	if (!content) {
		out_of_memory(c, w, now_us);
		return;
	}
	w->state = w->again ? WATCH_READ : WATCH_SET;
	w->again = false;
	if (is_known(w, content, data.len) && strcmp(w->told_path, w->walk.path) == 0) { /* W5 */
		mem_free(content);
		return;
	}
	w->content = content; /* first, then free the old: a child of a fork may look */
	w->content_len = data.len;
	w->content_n = n;
	mem_free(old);
	w->gone = false;
	w->opened = true;
	if (strcmp(w->told_path, w->walk.path) != 0) {
		strcpy(w->told_path, w->walk.path);
		c->ops->moved(c, w, w->told_path);
	}
	c->ops->changed(c, w, content, data.len, n);
}

static void walk_reply(
	struct live_core *c, struct live_watch *w, int rc, struct slice data, uint64_t now_us)
{
	struct err e = ERR_INIT;

	rc = link_walk_reply(&w->walk, rc, data, &e);
	if (rc == OK) {
		w->state = WATCH_READ;
		w->again = false;
	} else if (rc != ERR_AGAIN) {
		err_wrap(&e, "ZooKeeper at '%s'", c->connection);
		lost_node(c, w, &e, now_us);
	}
}

static void refused(struct live_core *c, struct live_watch *w, uint64_t now_us)
{
	struct err e = ERR_INIT;

	err_set(&e, ERR_IO, "ZooKeeper at '%s' refused to read '%s'", c->connection,
		w->state == WATCH_FIND ? w->walk.next : w->walk.path);
	fail(c, w, &e, now_us);
}

static void handle_reply(struct live_core *c, struct live_watch *w, int rc, struct slice data,
	size_t n, uint64_t now_us)
{
	if (rc == ERR_CLOSED)
		pause(w, now_us); /* a new connection ends the pause */
	else if (rc == ERR_IO || rc == ERR_READONLY)
		refused(c, w, now_us);
	else if (w->state == WATCH_FIND)
		walk_reply(c, w, rc, data, now_us);
	else if (rc == OK)
		node_is_there(c, w, data, n, now_us);
	else
		find_again(w); /* a link may lead on */
}

static void start_walk(struct live_core *c, struct live_watch *w, uint64_t now_us)
{
	struct err e = ERR_INIT;

	link_walk_end(&w->walk);
	if (link_walk_start(&w->walk, w->path, &e))
		fail(c, w, &e, now_us);
	else
		w->walking = true;
}

/* Ask for the next thing, when it is time to (W1). */
static void advance(struct live_core *c, struct live_watch *w, uint64_t now_us)
{
	if (c->state != LIVE_CONNECTED || w->tag || w->failed || w->state == WATCH_SET ||
		now_us < w->pause_us)
		return;
	if (w->state == WATCH_FIND && !w->walking)
		start_walk(c, w, now_us);
	if (w->state == WATCH_FIND && !w->walking)
		return;
	w->pause_us = 0;
	w->tag = ++c->last_tag;
	w->asked_us = now_us;
	if (w->state == WATCH_FIND)
		c->ops->get(c, w->walk.next, false, w->tag);
	else if (w->kind == WATCH_DATA)
		c->ops->get(c, w->walk.path, true, w->tag);
	else
		c->ops->children(c, w->walk.path, w->tag);
}

void live_core_reply(
	struct live_core *c, uint64_t tag, int rc, struct slice data, size_t n, uint64_t now_us)
{
	struct live_watch *w = c->watches;

	while (w && w->tag != tag)
		w = w->next;
	if (!w || !tag || c->state == LIVE_STOPPED)
		return;
	w->tag = 0;
	if (rc != ERR_CLOSED)
		c->in_vain = 0;
	handle_reply(c, w, rc, data, n, now_us);
	advance(c, w, now_us);
}

void live_core_connected(struct live_core *c, const struct session_id *id, uint64_t now_us)
{
	c->state = LIVE_CONNECTED;
	c->session = *id;
	c->reopens = 0;
	c->failure.code = OK;
	tell_connection_to_all(c);
	for (struct live_watch *w = c->watches; w; w = w->next) { /* W3 */
		w->tag = 0;
		w->pause_us = 0;
		w->again = false;
		if (w->state == WATCH_SET)
			w->state = WATCH_READ;
		advance(c, w, now_us);
	}
}

void live_core_disconnected(struct live_core *c, uint64_t now_us)
{
	if (c->state != LIVE_CONNECTED)
		return;
	c->state = LIVE_CONNECTING;
	c->give_up_us = now_us + patience_us(c, now_us);
	tell_connection_to_all(c);
}

void live_core_expired(struct live_core *c, uint64_t now_us)
{
	if (c->state == LIVE_STOPPED)
		return;
	memset(&c->session, 0, sizeof(c->session));
	reopen(c, now_us);
}

void live_core_watch(struct live_core *c, const char *path, uint64_t now_us)
{
	for (struct live_watch *w = c->watches; w; w = w->next) {
		if (w->state == WATCH_FIND || strcmp(w->walk.path, path) != 0)
			continue;
		if (w->tag)
			w->again = true; /* W2: what is read may be older */
		else
			w->state = WATCH_READ;
		advance(c, w, now_us);
	}
}

void live_core_hurry(struct live_core *c, uint64_t now_us)
{
	uint64_t give_up_us;

	c->hurry_us = now_us + HURRY_FOR_US;
	give_up_us = now_us + patience_us(c, now_us);
	if (c->state == LIVE_CONNECTING && c->give_up_us > give_up_us)
		c->give_up_us = give_up_us;
	if (c->state != LIVE_CONNECTED)
		return;
	for (struct live_watch *w = c->watches; w; w = w->next) {
		if (w->state == WATCH_SET)
			w->state = WATCH_READ;
		advance(c, w, now_us);
	}
}

/* No reply is as bad as no connection. */
static uint64_t reply_deadline(const struct live_core *c, const struct live_watch *w)
{
	uint64_t us = 2 * c->timeout_us;

	if (w->asked_us < c->hurry_us && doubled(HURRY_US, c->in_vain) < us)
		us = doubled(HURRY_US, c->in_vain);
	return w->asked_us + us;
}

/* The session may be alive, and only this connection dead: try another one. */
static void replace_connection(struct live_core *c, uint64_t now_us)
{
	if (now_us < c->hurry_us && c->ops->reconnect(c)) {
		c->in_vain++;
		live_core_disconnected(c, now_us);
		return;
	}
	c->reopens++;
	reopen(c, now_us);
}

void live_core_tick(struct live_core *c, uint64_t now_us)
{
	bool late = false;

	if (c->state == LIVE_CONNECTING && now_us >= c->give_up_us) {
		c->reopens++;
		reopen(c, now_us);
	}
	if (c->state != LIVE_CONNECTED)
		return;
	for (struct live_watch *w = c->watches; w; w = w->next) {
		advance(c, w, now_us);
		late |= w->tag && now_us >= reply_deadline(c, w);
	}
	if (late)
		replace_connection(c, now_us);
}

uint64_t live_core_deadline(const struct live_core *c)
{
	uint64_t first = UINT64_MAX;

	if (c->state == LIVE_CONNECTING)
		return c->give_up_us;
	if (c->state != LIVE_CONNECTED)
		return first;
	for (const struct live_watch *w = c->watches; w; w = w->next) {
		uint64_t us = w->tag                               ? reply_deadline(c, w)
			      : w->failed || w->state == WATCH_SET ? UINT64_MAX
								   : w->pause_us;

		first = us < first ? us : first;
	}
	return first;
}

void live_core_stop(struct live_core *c)
{
	c->state = LIVE_STOPPED;
}

void live_core_add(struct live_core *c, struct live_watch *w, uint64_t now_us)
{
	w->next = c->watches;
	c->watches = w;
	tell_connection(c, w);
	advance(c, w, now_us);
}

void live_core_remove(struct live_core *c, struct live_watch *w)
{
	struct live_watch **p = &c->watches;

	while (*p && *p != w)
		p = &(*p)->next;
	if (*p)
		*p = w->next;
	link_walk_end(&w->walk);
	mem_free(w->content);
	w->content = NULL;
}
