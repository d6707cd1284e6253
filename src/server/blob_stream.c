#include "server/blob_stream.h"

#include <string.h>

#include "base/bigendian.h"
#include "base/mem.h"
#include "base/os.h"
#include "server/dispatch.h"
#include "server/hub.h"
#include "server/server.h"
#include "zeo/frame.h"

struct blob_stream {
	struct stream stream;
	struct blob_req req;
	struct job job; /* reads ahead */
	struct request request;
	struct shared_file *file; /* NULL: not open */
	struct buf scratch;       /* a message of a chunk without the chunk */
	uint64_t off;             /* of the next chunk */
	bool reading;             /* the job is under way */
};

static void end_stream(struct blob_stream *b)
{
	struct session *s = b->request.session;

	session_stream_remove(s, &b->stream);
	shared_file_unref(b->file);
	buf_free(&b->scratch);
	mem_free(b);
	session_load_ended(s);
}

/* --- messages --- */

static void put_ids(struct enc *en, const struct blob_stream *b, uint32_t n)
{
	enc_tuple(en, n);
	enc_id(en, b->req.oid);
	enc_id(en, b->req.serial);
}

/* receiveBlobStart, receiveBlobStop */
static void call(struct blob_stream *b, const char *name)
{
	struct session *s = b->request.session;
	struct message_writer w;
	size_t mark;
	struct buf *out = session_out(s, &mark);

	if (!out)
		return;
	message_call(&w, out, s->encoding, name);
	put_ids(&w.enc, b, 2);
	enc_end(&w.enc);
	message_end(&w);
	session_out_done(s, out, mark);
}

static void put_bytes(struct session *s, struct slice bytes)
{
	size_t mark;
	struct buf *out = session_out(s, &mark);

	if (!out)
		return;
	buf_put_slice(out, bytes);
	session_out_done(s, out, mark);
}

/* Head, the file's bytes, tail; the frame's length is that of all three. */
static void send_chunk(struct blob_stream *b, uint32_t len)
{
	struct session *s = b->request.session;
	struct message_writer w;
	size_t head;

	buf_reset(&b->scratch);
	message_call(&w, &b->scratch, s->encoding, "receiveBlobChunk");
	put_ids(&w.enc, b, 3);
	enc_bytes_head(&w.enc, len);
	head = b->scratch.len;
	enc_end(&w.enc);
	message_end(&w);
	if (!buf_ok(&b->scratch)) {
		session_fail(s, "no memory for a chunk of a blob");
		return;
	}
	put_be32(b->scratch.data, (uint32_t)(b->scratch.len - FRAME_HEADER_LEN + len));
	put_bytes(s, slice_of(b->scratch.data, head));
	session_out_file(s, b->file, b->off, len);
	put_bytes(s, slice_of(b->scratch.data + head, b->scratch.len - head));
	b->off += len;
}

/* --- what is read ahead --- */

static uint64_t window(const struct blob_stream *b)
{
	uint64_t rest = b->req.size_bytes - b->off;
	uint64_t n = (uint64_t)BLOB_STREAM_CHUNK * BLOB_STREAM_CHUNKS;

	return rest < n ? rest : n;
}

/* The last byte of each chunk stands for those before it: what is read ahead is read as a whole. */
static bool is_cached(struct blob_stream *b)
{
	uint64_t end = b->off + window(b);
	struct err e = ERR_INIT;
	uint8_t byte;
	size_t n;
	int rc = OK;

	for (uint64_t at = b->off; rc == OK && at < end; at += BLOB_STREAM_CHUNK) {
		uint64_t last = at + BLOB_STREAM_CHUNK < end ? at + BLOB_STREAM_CHUNK : end;

		rc = os_pread_nowait(b->file->fd, &byte, 1, at, &n, &e);
		if (rc == OK)
			rc = os_pread_nowait(b->file->fd, &byte, 1, last - 1, &n, &e);
	}
	return rc != ERR_AGAIN;
}

static void read_work(struct job *j)
{
	struct blob_stream *b = CONTAINER_OF(j, struct blob_stream, job);
	size_t len = (size_t)window(b);
	uint8_t *p = mem_alloc(len);
	struct err e = ERR_INIT;
	size_t n;
	int rc = p ? os_pread(b->file->fd, p, len, b->off, &n, &e) : ERR_NOMEM;

	(void)rc; /* it is found again when the bytes are sent */
	mem_free(p);
}

/* --- the stream --- */

static void send_window(struct blob_stream *b)
{
	uint64_t left = window(b);

	while (left) {
		uint32_t n = left < BLOB_STREAM_CHUNK ? (uint32_t)left : BLOB_STREAM_CHUNK;

		send_chunk(b, n);
		left -= n;
	}
	if (b->off < b->req.size_bytes)
		return;
	call(b, "receiveBlobStop");
	reply_none(&b->request);
	end_stream(b);
}

static void read_done(struct job *j)
{
	struct blob_stream *b = CONTAINER_OF(j, struct blob_stream, job);

	b->reading = false;
	if (session_alive(b->request.session))
		send_window(b);
	else
		end_stream(b);
}

static void more(struct stream *st)
{
	struct blob_stream *b = CONTAINER_OF(st, struct blob_stream, stream);
	struct session *s = b->request.session;

	if (b->reading)
		return; /* its end sees that the session is gone */
	if (!session_alive(s)) {
		end_stream(b);
	} else if (is_cached(b)) {
		send_window(b);
	} else {
		b->reading = true;
		b->job.work = read_work;
		b->job.done = read_done;
		s->hub->exec->submit(s->hub->exec, &b->job);
	}
}

static void opened(struct blob_req *r)
{
	struct blob_stream *b = CONTAINER_OF(r, struct blob_stream, req);
	struct session *s = b->request.session;

	if (r->rc == OK)
		b->file = shared_file_new(r->fd);
	if (!session_alive(s)) {
		end_stream(b);
		return;
	}
	if (r->rc == OK && !b->file)
		r->rc = err_set(&r->err, ERR_NOMEM, "no memory for a blob");
	if (r->rc != OK) {
		reply_failed(&b->request, r->rc, &r->err, r->oid, r->raised);
		end_stream(b);
		return;
	}
	b->stream.more = more;
	session_stream_add(s, &b->stream);
	call(b, "receiveBlobStart");
	more(&b->stream);
}

void blob_stream_start(const struct request *r, uint64_t oid, uint64_t serial)
{
	struct session *s = r->session;
	struct storage *st = s->hs->ss->storage;
	struct blob_stream *b = mem_zalloc(1, sizeof(*b));

	if (!b) {
		session_fail(s, "no memory for a request");
		return;
	}
	b->request = *r;
	b->req.exec = s->hub->exec;
	b->req.done = opened;
	b->req.oid = oid;
	b->req.serial = serial;
	session_load_started(s);
	st->ops->open_blob(st, &b->req);
}
