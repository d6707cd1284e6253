/* What waits to be sent: own bytes and shared frames, sent in pieces of any size. */
#include "cmocka_all.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "server/outq.h"

static void put(struct outq *q, const void *data, size_t n)
{
	struct buf *b = outq_buf(q);
	size_t before = b->len;

	buf_put(b, data, n);
	outq_appended(q, b, before);
}

/* Take all out in pieces of at most @piece bytes. */
static size_t drain(struct outq *q, size_t piece, uint8_t *out)
{
	struct iovec iov[3];
	size_t got = 0;

	while (!outq_empty(q)) {
		int n = outq_iov(q, iov, 3);
		size_t take = iov[0].iov_len < piece ? iov[0].iov_len : piece;

		assert_true(n > 0);
		memcpy(out + got, iov[0].iov_base, take);
		outq_sent(q, take);
		got += take;
	}
	return got;
}

/* What one queue has sent serves the next one, and no shared frame takes it away. */
static void test_spares(void **state)
{
	static uint8_t data[60000];
	struct outq_spares spares = { 0 };
	struct outq a = { .spares = &spares };
	struct outq b = { .spares = &spares };
	struct shared_frame *f = shared_frame_new();
	const uint8_t *memory;

	buf_put_str(&f->bytes, "shared");
	put(&a, data, sizeof(data));
	memory = outq_buf(&a)->data;
	outq_sent(&a, sizeof(data));
	assert_int_equal(spares.n, 1);
	outq_share(&b, f);
	assert_int_equal(spares.n, 1);
	assert_ptr_equal(outq_buf(&b)->data, memory);
	assert_int_equal(spares.n, 0);
	outq_free(&b);
	for (int i = 0; i < 200; i++) { /* and not without limit */
		put(&a, data, sizeof(data));
		put(&a, data, sizeof(data));
	}
	outq_sent(&a, a.bytes);
	assert_in_range(spares.n, 1, 100);
	shared_frame_unref(f);
	outq_free(&a);
	outq_spares_free(&spares);
	assert_int_equal(spares.n, 0);
}

static void test_order_and_pieces(void **state)
{
	uint8_t out[200000];
	uint8_t want[200000];

	for (size_t piece = 1; piece < 100000; piece = piece * 7 + 1) {
		struct shared_frame *f = shared_frame_new();
		struct outq q = { 0 };
		size_t n = 0;

		buf_put_str(&f->bytes, "shared");
		for (int i = 0; i < 50; i++) {
			char text[5000];
			size_t len = (size_t)(i * 97 % 5000);

			memset(text, 'a' + i % 26, sizeof(text));
			put(&q, text, len);
			memcpy(want + n, text, len);
			n += len;
			if (i % 5 == 0) {
				outq_share(&q, f);
				memcpy(want + n, "shared", 6);
				n += 6;
			}
		}
		assert_int_equal(q.bytes, n);
		assert_int_equal(drain(&q, piece, out), n);
		assert_memory_equal(out, want, n);
		assert_int_equal(atomic_load(&f->refs), 1);
		shared_frame_unref(f);
		outq_free(&q);
	}
}

static void test_freed_with_content(void **state)
{
	struct shared_frame *f = shared_frame_new();
	struct outq q = { 0 };

	buf_put_str(&f->bytes, "x");
	outq_share(&q, f);
	put(&q, "abc", 3);
	outq_free(&q);
	assert_int_equal(atomic_load(&f->refs), 1);
	shared_frame_unref(f);
}

/* Only what others get, too, counts against the limit of invalidations (R9). */
static void test_shared_bytes(void **state)
{
	struct shared_frame *f = shared_frame_new();
	struct outq q = { 0 };
	uint8_t out[64];

	buf_put_str(&f->bytes, "shared");
	put(&q, "own", 3);
	outq_share(&q, f);
	outq_share(&q, f);
	assert_int_equal(q.shared_bytes, 12);
	outq_sent(&q, 4); /* a frame that is under way counts until it has left */
	assert_int_equal(q.shared_bytes, 12);
	drain(&q, 64, out);
	assert_int_equal(q.shared_bytes, 0);
	outq_free(&q);
	shared_frame_unref(f);
}

/* Without memory for a message nothing of it is sent. */
static void test_failed_append(void **state)
{
	struct outq q = { 0 };
	struct iovec iov[2];
	struct buf *b;
	size_t before;

	put(&q, "whole", 5);
	b = outq_buf(&q);
	before = b->len;
	buf_put(b, "ha", 2);
	b->failed = true; /* as when the rest found no memory */
	outq_appended(&q, b, before);
	assert_true(q.failed);
	assert_int_equal(outq_iov(&q, iov, 2), 1);
	assert_int_equal(iov[0].iov_len, q.bytes);
	outq_sent(&q, 5);
	assert_true(outq_empty(&q));
	outq_free(&q);
}

static struct shared_file *file_of(const char *text)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	return shared_file_new(fd);
}

/* Take all out, memory and pieces of files, @piece bytes at a time at most. */
static size_t drain_all(struct outq *q, size_t piece, uint8_t *out)
{
	size_t got = 0;

	while (!outq_empty(q)) {
		struct iovec iov[3];
		uint64_t off;
		size_t len;
		int fd;
		ssize_t take;

		if (outq_file_next(q, &fd, &off, &len)) {
			assert_int_equal(outq_iov(q, iov, 3), 0);
			take = pread(fd, out + got, len < piece ? len : piece, (off_t)off);
			assert_true(take > 0);
		} else {
			assert_true(outq_iov(q, iov, 3) > 0);
			take = (ssize_t)(iov[0].iov_len < piece ? iov[0].iov_len : piece);
			memcpy(out + got, iov[0].iov_base, (size_t)take);
		}
		outq_sent(q, (size_t)take);
		got += (size_t)take;
	}
	return got;
}

static void test_pieces_of_files(void **state)
{
	static const char want[] = "[3456]shared[0123456789]89.";

	for (size_t piece = 1; piece < 30; piece++) {
		struct shared_file *f = file_of("0123456789");
		struct shared_frame *frame = shared_frame_new();
		struct outq q = { 0 };
		uint8_t out[64];

		buf_put_str(&frame->bytes, "shared");
		put(&q, "[", 1);
		outq_file(&q, f, 3, 4);
		put(&q, "]", 1);
		outq_share(&q, frame);
		put(&q, "[", 1);
		outq_file(&q, f, 0, 10);
		put(&q, "]", 1);
		outq_file(&q, f, 8, 2);
		outq_file(&q, f, 5, 0); /* nothing */
		put(&q, ".", 1);
		assert_int_equal(q.bytes, strlen(want));
		assert_int_equal(q.n_files, 3);
		assert_int_equal(drain_all(&q, piece, out), strlen(want));
		assert_memory_equal(out, want, strlen(want));
		assert_int_equal(q.n_files, 0);
		assert_int_equal(atomic_load(&f->refs), 1);
		outq_free(&q);
		shared_file_unref(f);
		shared_frame_unref(frame);
	}
}

/* A writer gets memory up to the first piece of a file and nothing behind it. */
static void test_iov_ends_at_a_file(void **state)
{
	struct shared_file *f = file_of("file");
	struct outq q = { 0 };
	struct iovec iov[8];
	uint64_t off;
	size_t len;
	int fd;

	put(&q, "a", 1);
	outq_file(&q, f, 0, 4);
	put(&q, "b", 1);
	assert_int_equal(outq_iov(&q, iov, 8), 1);
	assert_int_equal(iov[0].iov_len, 1);
	assert_false(outq_file_next(&q, &fd, &off, &len));
	outq_sent(&q, 1);
	assert_int_equal(outq_iov(&q, iov, 8), 0);
	assert_true(outq_file_next(&q, &fd, &off, &len));
	assert_int_equal(fd, f->fd);
	outq_sent(&q, 3);
	assert_true(outq_file_next(&q, &fd, &off, &len));
	assert_int_equal(off, 3);
	assert_int_equal(len, 1);
	outq_sent(&q, 1);
	assert_int_equal(outq_iov(&q, iov, 8), 1);
	outq_free(&q);
	shared_file_unref(f);
}

/* A message that found no memory leaves an empty chunk: the file behind it is seen. */
static void test_a_file_behind_nothing(void **state)
{
	struct shared_file *f = file_of("file");
	struct outq q = { 0 };
	struct iovec iov[2];
	uint64_t off;
	size_t len;
	int fd;

	outq_buf(&q);
	outq_file(&q, f, 1, 3);
	assert_int_equal(outq_iov(&q, iov, 2), 0);
	assert_true(outq_file_next(&q, &fd, &off, &len));
	assert_int_equal(off, 1);
	assert_int_equal(len, 3);
	outq_sent(&q, 3);
	assert_true(outq_empty(&q));
	outq_free(&q);
	shared_file_unref(f);
}

static void test_the_last_reference_closes(void **state)
{
	struct shared_file *f = file_of("file");
	struct outq q = { 0 };
	int fd = f->fd;

	outq_file(&q, f, 0, 4);
	shared_file_unref(f);
	assert_true(fcntl(fd, F_GETFD) >= 0);
	outq_free(&q);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_spares),
		cmocka_unit_test(test_order_and_pieces),
		cmocka_unit_test(test_freed_with_content),
		cmocka_unit_test(test_shared_bytes),
		cmocka_unit_test(test_failed_append),
		cmocka_unit_test(test_pieces_of_files),
		cmocka_unit_test(test_iov_ends_at_a_file),
		cmocka_unit_test(test_a_file_behind_nothing),
		cmocka_unit_test(test_the_last_reference_closes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
