/* What waits to be sent: own bytes and shared frames, sent in pieces of any size. */
#include "cmocka_all.h"

#include <stdlib.h>
#include <string.h>

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order_and_pieces),
		cmocka_unit_test(test_freed_with_content),
		cmocka_unit_test(test_shared_bytes),
		cmocka_unit_test(test_failed_append),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
