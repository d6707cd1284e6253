/* The limit: a single-threaded epoll program that speaks just enough of ZEO to be loaded by
 * zeoload. It answers every load with a constant, and writes and syncs a transaction's bytes
 * without looking at them. It is no storage server: nothing is ever read back. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>

#include "message.h"
#include "wire.h"

enum { EVENTS = 256, TID = 8 };

enum sync_mode {
	SYNC_EACH,      /* one fdatasync per transaction */
	SYNC_BATCH,     /* one per batch of what is waiting */
	SYNC_TWO_STEPS, /* per batch: append and sync, then one status byte and sync */
};

struct client {
	struct stream stream;
	enum encoding enc;     /* the client's handshake says which */
	struct bytes txn;      /* what was stored in the open transaction */
	uint8_t finish_id[16]; /* the tpc_finish that waits for its batch */
	size_t finish_id_n;
	struct client *next; /* in the batch, or in this turn's list of writers */
	struct client *next_out;
	bool in_out;
};

struct responder {
	int epoll;
	int listener;
	int log;
	off_t log_end;
	enum sync_mode mode;
	size_t object_bytes;
	uint64_t tid;
	const char *announced;
	struct bytes load_result[2]; /* of every load, for each encoding */
	struct bytes batch_bytes;
	struct client *batch; /* waiting tpc_finish calls, last first */
	struct client *out;   /* clients with something to write */
};

static void tid_pack(uint64_t tid, uint8_t *ret)
{
	for (int i = 0; i < TID; i++)
		ret[i] = (uint8_t)(tid >> (56 - 8 * i));
}

static void want_flush(struct responder *r, struct client *c)
{
	if (c->in_out)
		return;
	c->in_out = true;
	c->next_out = r->out;
	r->out = c;
}

static size_t reply_begin(struct responder *r, struct client *c, const uint8_t *id, size_t id_n)
{
	size_t mark = stream_begin(&c->stream);

	put_reply(&c->stream.out, c->enc, id, id_n);
	want_flush(r, c);
	return mark;
}

static void reply_end(struct client *c, size_t mark)
{
	put_reply_end(&c->stream.out, c->enc);
	stream_end(&c->stream, mark);
}

static void reply_tid(struct responder *r, struct client *c, const uint8_t *id, size_t id_n)
{
	uint8_t tid[TID];
	size_t mark = reply_begin(r, c, id, id_n);

	tid_pack(r->tid, tid);
	put_bytes(&c->stream.out, c->enc, tid, TID);
	reply_end(c, mark);
}

static void reply_load(struct responder *r, struct client *c, const struct message *m)
{
	const struct bytes *result = &r->load_result[c->enc];
	size_t mark = reply_begin(r, c, m->id, m->id_n);

	bytes_append(&c->stream.out, result->p, result->end);
	reply_end(c, mark);
}

static void reply_vote(struct responder *r, struct client *c, const struct message *m)
{
	size_t mark = reply_begin(r, c, m->id, m->id_n);

	put_empty_list(&c->stream.out, c->enc);
	reply_end(c, mark);
}

static void reply_none(struct responder *r, struct client *c, const struct message *m)
{
	size_t mark = reply_begin(r, c, m->id, m->id_n);

	put_none(&c->stream.out, c->enc);
	reply_end(c, mark);
}

static void log_append(struct responder *r)
{
	struct bytes *b = &r->batch_bytes;

	while (b->start < b->end) {
		ssize_t n = pwrite(r->log, b->p + b->start, b->end - b->start, r->log_end);
		if (n < 0)
			die("write: %s", strerror(errno));
		b->start += (size_t)n;
		r->log_end += n;
	}
	if (fdatasync(r->log) != 0)
		die("fdatasync: %s", strerror(errno));
}

static void batch_write(struct responder *r)
{
	off_t start = r->log_end;
	char done = ' ';
	struct iovec status = { &done, 1 };
	struct client *c;

	if (!r->batch)
		return;
	log_append(r);
	if (r->mode == SYNC_TWO_STEPS && pwritev2(r->log, &status, 1, start + 16, RWF_DSYNC) != 1)
		die("write of the status: %s", strerror(errno));
	while ((c = r->batch)) {
		r->batch = c->next;
		r->tid++;
		reply_tid(r, c, c->finish_id, c->finish_id_n);
	}
}

static void finish(struct responder *r, struct client *c, const struct message *m)
{
	uint8_t header[23 + 8] = { 0 }; /* a transaction's header and its length at the end */

	if (m->id_n > sizeof(c->finish_id))
		die("the id of a tpc_finish is too long");
	memcpy(c->finish_id, m->id, m->id_n);
	c->finish_id_n = m->id_n;
	bytes_append(&r->batch_bytes, header, sizeof(header));
	bytes_append(&r->batch_bytes, c->txn.p + c->txn.start, c->txn.end - c->txn.start);
	c->txn.start = c->txn.end;
	c->next = r->batch;
	r->batch = c;
	if (r->mode == SYNC_EACH) {
		batch_write(r);
		stream_flush(&c->stream);
	}
}

static void message_received(struct responder *r, struct client *c, const uint8_t *p, size_t n)
{
	struct message m;

	if (n == 2) { /* the handshake: Z5 or M5 */
		c->enc = encoding_of(p[0]);
		return;
	}
	message_parse(c->enc, p, n, &m);
	if (message_is(&m, "loadBefore"))
		reply_load(r, c, &m);
	else if (message_is(&m, "storea"))
		bytes_append(&c->txn, m.args, (size_t)(m.end - m.args));
	else if (message_is(&m, "tpc_finish"))
		finish(r, c, &m);
	else if (message_is(&m, "vote"))
		reply_vote(r, c, &m);
	else if (message_is(&m, "register") || message_is(&m, "lastTransaction"))
		reply_tid(r, c, m.id, m.id_n);
	else if (m.flag == 0)
		reply_none(r, c, &m);
}

static void client_new(struct responder *r)
{
	int fd = wire_accept(r->listener);
	struct client *c;
	struct epoll_event e = { .events = EPOLLIN };

	if (fd < 0)
		return;
	c = calloc(1, sizeof(*c));
	if (!c)
		die("out of memory");
	c->stream.fd = fd;
	e.data.ptr = c;
	if (epoll_ctl(r->epoll, EPOLL_CTL_ADD, fd, &e) != 0)
		die("epoll_ctl: %s", strerror(errno));
	bytes_append(&c->stream.out, "\0\0\0\2", 4);
	bytes_append(&c->stream.out, r->announced, 2);
	want_flush(r, c);
}

static void client_ready(struct responder *r, struct client *c)
{
	const uint8_t *p;
	size_t n;

	if (c->stream.closed)
		return;
	stream_read(&c->stream);
	while (stream_next(&c->stream, &p, &n))
		message_received(r, c, p, n);
	if (c->stream.closed)
		want_flush(r, c);
}

static void flush_all(struct responder *r)
{
	struct client *c;

	while ((c = r->out)) {
		struct epoll_event e = { .events = EPOLLIN, .data.ptr = c };

		r->out = c->next_out;
		c->in_out = false;
		if (!stream_flush(&c->stream))
			e.events |= EPOLLOUT;
		if (c->stream.closed) {
			/* closing the descriptor takes it out of the epoll set */
			stream_free(&c->stream);
			bytes_free(&c->txn);
			free(c);
			continue;
		}
		/* a socket that is full is rare here: the call is not kept off the fast path
		 * by more than this test */
		if (e.events & EPOLLOUT && epoll_ctl(r->epoll, EPOLL_CTL_MOD, c->stream.fd, &e))
			die("epoll_ctl: %s", strerror(errno));
	}
}

static void turn(struct responder *r)
{
	struct epoll_event events[EVENTS];
	int n = epoll_wait(r->epoll, events, EVENTS, -1);

	for (int i = 0; i < n; i++) {
		struct client *c = events[i].data.ptr;

		if (!c) {
			client_new(r);
			continue;
		}
		if (events[i].events & EPOLLOUT) {
			struct epoll_event e = { .events = EPOLLIN, .data.ptr = c };
			(void)epoll_ctl(r->epoll, EPOLL_CTL_MOD, c->stream.fd, &e);
			want_flush(r, c);
		}
		if (events[i].events & ~(uint32_t)EPOLLOUT)
			client_ready(r, c);
	}
	batch_write(r);
	flush_all(r);
}

/* (data, tid, None) */
static void prepare_load_result(struct responder *r, enum encoding enc, const void *data)
{
	struct bytes *b = &r->load_result[enc];
	uint8_t tid[TID];

	tid_pack(r->tid, tid);
	if (enc == ENCODING_MSGPACK)
		bytes_append(b, "\x93", 1);
	put_bytes(b, enc, data, r->object_bytes);
	put_bytes(b, enc, tid, TID);
	put_none(b, enc);
	if (enc == ENCODING_PICKLE)
		bytes_append(b, "\x87", 1);
}

static void prepare_load_results(struct responder *r)
{
	uint8_t *data = calloc(1, r->object_bytes);

	if (!data)
		die("out of memory");
	prepare_load_result(r, ENCODING_PICKLE, data);
	prepare_load_result(r, ENCODING_MSGPACK, data);
	free(data);
}

static _Noreturn void usage(void)
{
	die("usage: responder [-1|-g|-2] [-m] [-s OBJECT-BYTES] [-f FILE] HOST:PORT|PATH\n"
	    "  -1  one fdatasync per transaction (default)\n"
	    "  -g  one per batch of the transactions that wait\n"
	    "  -2  as -g, then one status byte and a second sync\n"
	    "  -m  announce M5 (msgpack) and not Z5; clients may choose either\n"
	    "  -f  where transactions are appended (default: responder.log)");
}

int main(int argc, char **argv)
{
	struct responder r = { .announced = "Z5", .object_bytes = 500, .tid = 0x03f0000000000000 };
	struct epoll_event e = { .events = EPOLLIN };
	const char *file = "responder.log";
	int c;

	while ((c = getopt(argc, argv, "1g2ms:f:")) != -1) {
		switch (c) {
		case '1':
			r.mode = SYNC_EACH;
			break;
		case 'g':
			r.mode = SYNC_BATCH;
			break;
		case '2':
			r.mode = SYNC_TWO_STEPS;
			break;
		case 'm':
			r.announced = "M5";
			break;
		case 's':
			r.object_bytes = strtoul(optarg, NULL, 10);
			break;
		case 'f':
			file = optarg;
			break;
		default:
			usage();
		}
	}
	if (optind != argc - 1)
		usage();
	r.log = open(file, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (r.log < 0)
		die("%s: %s", file, strerror(errno));
	prepare_load_results(&r);
	r.epoll = epoll_create1(EPOLL_CLOEXEC);
	r.listener = wire_listen(argv[optind]);
	if (r.epoll < 0 || epoll_ctl(r.epoll, EPOLL_CTL_ADD, r.listener, &e) != 0)
		die("epoll: %s", strerror(errno));
	for (;;)
		turn(&r);
}
