#include "storage_util.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>

#include "base/os.h"
#include "storage/blob/blob_dir.h"
#include "storage/blob/blob_removals.h"
#include "storage/blob/blob_txn.h"

enum { OID = 0x012a };

static const uint64_t TID = UINT64_C(0x03d1c2b7f0a3e244);

static struct blob_dir *open_dir(const struct test_dir *d, struct err *e)
{
	char path[100];
	struct blob_dir_options o = { .path = path };
	struct blob_dir *b = NULL;

	snprintf(path, sizeof(path), "%s/blobs/", d->path);
	return blob_dir_open(&o, &b, e) == OK ? b : NULL;
}

static struct blob_dir *must_open(const struct test_dir *d)
{
	struct err e = ERR_INIT;
	struct blob_dir *b = open_dir(d, &e);

	if (!b)
		fail_msg("%s", e.text);
	return b;
}

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void assert_text(const char *path, const char *expected)
{
	char text[100] = "";
	FILE *f = fopen(path, "r");

	if (!f)
		fail_msg("there is no '%s'", path);
	assert_true(fread(text, 1, sizeof(text) - 1, f) == strlen(expected));
	fclose(f);
	assert_string_equal(text, expected);
}

static size_t count_tmp(const struct blob_dir *b)
{
	char path[PATH_MAX];
	DIR *dir;
	size_t n = 0;

	snprintf(path, sizeof(path), "%s/tmp", blob_dir_path(b));
	dir = opendir(path);
	assert_non_null(dir);
	for (const struct dirent *en; (en = readdir(dir));)
		n += en->d_name[0] != '.';
	closedir(dir);
	return n;
}

static void set_layout(const struct test_dir *d, const char *layout)
{
	char path[100];

	snprintf(path, sizeof(path), "%s/blobs", d->path);
	assert_int_equal(mkdir(path, 0777), 0);
	snprintf(path, sizeof(path), "%s/blobs/.layout", d->path);
	write_file(path, layout);
}

static void assert_path(struct blob_dir *b, uint64_t oid, uint64_t tid, const char *expected)
{
	struct err e = ERR_INIT;
	char path[PATH_MAX];
	const char *below = path + strlen(blob_dir_path(b)) + 1;
	uint64_t found = 0;

	assert_int_equal(blob_dir_file_path(b, oid, tid, path, sizeof(path), &e), OK);
	assert_string_equal(below, expected);
	assert_true(blob_dir_parse_file(strrchr(path, '/') + 1, &found));
	assert_true(found == tid);
	*strrchr(path, '/') = 0;
	assert_true(blob_dir_parse_oid(b, below, &found));
	assert_true(found == oid);
}

static void test_bushy(void **state)
{
	struct blob_dir *b = must_open(*state);
	char path[PATH_MAX];
	uint64_t n;

	assert_path(b, OID, TID, "0x00/0x00/0x00/0x00/0x00/0x00/0x01/0x2a/0x03d1c2b7f0a3e244.blob");
	assert_path(b, UINT64_MAX, 0, "0xff/0xff/0xff/0xff/0xff/0xff/0xff/0xff/0x00.blob");
	assert_false(blob_dir_parse_oid(b, "0x00/0x01", &n));
	assert_false(blob_dir_parse_oid(b, "0x00/0x00/0x00/0x00/0x00/0x00/0x01/0x2a/0x00", &n));
	assert_false(blob_dir_parse_oid(b, "0x00/0x00/0x00/0x00/0x00/0x00/0x01/0x2g", &n));
	assert_false(blob_dir_parse_file("0x3d.blob-", &n));
	assert_false(blob_dir_parse_file("0x3.blob", &n));
	assert_false(blob_dir_parse_file(".blob", &n));
	snprintf(path, sizeof(path), "%s/.layout", blob_dir_path(b));
	assert_text(path, "bushy");
	blob_dir_close(b);
}

static void test_lawn(void **state)
{
	struct blob_dir *b;

	set_layout(*state, "lawn\n");
	b = must_open(*state);
	assert_path(b, OID, TID, "0x012a/0x03d1c2b7f0a3e244.blob");
	assert_path(b, 0, 0x100, "0x00/0x0100.blob");
	blob_dir_close(b);
}

/* A folder with files and no marker is from before there were markers. */
static void test_no_marker(void **state)
{
	const struct test_dir *d = *state;
	struct blob_dir *b;
	char path[100];

	set_layout(d, "");
	snprintf(path, sizeof(path), "%s/blobs/.layout", d->path);
	unlink(path);
	snprintf(path, sizeof(path), "%s/blobs/0x01", d->path);
	assert_int_equal(mkdir(path, 0777), 0);
	b = must_open(d);
	assert_path(b, 1, 2, "0x01/0x02.blob");
	blob_dir_close(b);
}

static void expect_error(const struct test_dir *d, int code, const char *text)
{
	struct err e = ERR_INIT;

	assert_null(open_dir(d, &e));
	assert_int_equal(e.code, code);
	if (!strstr(e.text, text))
		fail_msg("'%s' is not in '%s'", text, e.text);
}

static void test_refused(void **state)
{
	const struct test_dir *d = *state;
	struct blob_dir *b;
	char path[100];

	set_layout(d, "zeocache");
	expect_error(d, ERR_FORMAT, "its layout is 'zeocache'");
	snprintf(path, sizeof(path), "%s/blobs/.layout", d->path);
	write_file(path, "bushy");
	b = must_open(d);
	expect_error(d, ERR_BUSY, "another storage uses it");
	blob_dir_close(b);
	snprintf(path, sizeof(path), "%s/blobs/tmp", d->path);
	assert_int_equal(rmdir(path), 0);
	write_file(path, "");
	expect_error(d, ERR_IO, "/tmp'"); /* T25 */
}

static void test_shared_names(void **state)
{
	static const char *const bad[] = { "", "x", ".tm", "0x01.blob", "../0x01.tmp", "/x.tmp",
		"a/b.tmp", "x.tmp--", "x.tmp/" };
	struct blob_dir *b = must_open(*state);
	struct err e = ERR_INIT;
	char path[PATH_MAX];

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(
			blob_dir_shared_path(b, OID, slice_str(bad[i]), path, sizeof(path), &e),
			ERR_INVAL);
	assert_int_equal(blob_dir_shared_path(b, OID, slice_of((const uint8_t *)"a\0b.tmp", 7),
				 path, sizeof(path), &e),
		ERR_INVAL);
	assert_int_equal(
		blob_dir_shared_path(b, OID, slice_str("0x01a.tmp-"), path, sizeof(path), &e), OK);
	assert_string_equal(path + strlen(blob_dir_path(b)),
		"/0x00/0x00/0x00/0x00/0x00/0x00/0x01/0x2a/0x01a.tmp-");
	blob_dir_close(b);
}

/* --- transactions --- */

static struct txn *voted(struct blob_dir *b, uint64_t oid, const char *const *texts, size_t n)
{
	struct txn_rec rec = { .oid = oid, .op = TXN_STORE, .has_data = true };
	struct txn *t = txn_new();
	struct err e = ERR_INIT;
	char path[PATH_MAX];

	for (size_t i = 0; i < n; i++) {
		assert_int_equal(blob_dir_new_name(b, path, sizeof(path), &e), OK);
		write_file(path, texts[i]);
		assert_int_equal(txn_add_blob(t, &rec, slice_str("d"), path, &e), OK);
	}
	if (blob_txn_vote(b, t, &e) != OK)
		fail_msg("%s", e.text);
	t->tid = TID;
	return t;
}

static void assert_file(struct blob_dir *b, uint64_t oid, const char *text)
{
	struct err e = ERR_INIT;
	char path[PATH_MAX];
	struct stat st;

	assert_int_equal(blob_dir_file_path(b, oid, TID, path, sizeof(path), &e), OK);
	assert_text(path, text);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0222, 0);
}

static void test_commit(void **state)
{
	static const char *const texts[] = { "one", "two" };
	struct blob_dir *b = must_open(*state);
	struct txn *t = voted(b, OID, texts, 2);
	struct err e = ERR_INIT;

	assert_false(blob_dir_has_file(b, OID, TID));
	assert_int_equal(t->prepare(t, &e), OK);
	assert_file(b, OID, "two"); /* the last record of the object */
	assert_int_equal(count_tmp(b), 2);
	t->settled(t, OK);
	txn_free(t);
	assert_file(b, OID, "two");
	assert_int_equal(count_tmp(b), 0);
	blob_dir_close(b);
}

static void test_failed(void **state)
{
	static const char *const texts[] = { "one" };
	struct blob_dir *b = must_open(*state);
	struct txn *t = voted(b, OID, texts, 1);
	struct err e = ERR_INIT;

	assert_int_equal(t->prepare(t, &e), OK);
	t->settled(t, ERR_IO);
	assert_false(blob_dir_has_file(b, OID, TID));
	txn_free(t);
	assert_int_equal(count_tmp(b), 0);
	blob_dir_close(b);
}

/* What another transaction has under the name is not ours to remove. */
static void test_failed_before_it_was_prepared(void **state)
{
	static const char *const texts[] = { "one", "two" };
	struct blob_dir *b = must_open(*state);
	struct txn *other = voted(b, OID, texts, 1);
	struct txn *t = voted(b, OID, texts + 1, 1);
	struct err e = ERR_INIT;

	assert_int_equal(other->prepare(other, &e), OK);
	t->settled(t, ERR_IO);
	assert_file(b, OID, "one");
	other->settled(other, OK);
	txn_free(other);
	txn_free(t);
	blob_dir_close(b);
}

static int fail_sync(const char *call)
{
	return strcmp(call, "fsync") == 0 ? EIO : 0;
}

static int no_links(const char *call)
{
	return strcmp(call, "link") == 0 ? EPERM : 0;
}

static void test_vote_fails(void **state)
{
	struct txn_rec rec = { .oid = OID, .op = TXN_STORE, .has_data = true };
	struct blob_dir *b = must_open(*state);
	struct txn *t = txn_new();
	struct err e = ERR_INIT;
	char path[PATH_MAX];

	assert_int_equal(blob_dir_new_name(b, path, sizeof(path), &e), OK);
	write_file(path, "x");
	assert_int_equal(txn_add_blob(t, &rec, slice_str("d"), path, &e), OK);
	os_fault_hook = fail_sync;
	assert_int_equal(blob_txn_vote(b, t, &e), ERR_IO);
	os_fault_hook = NULL;
	assert_null(t->prepare);
	txn_free(t);
	assert_int_equal(count_tmp(b), 0);
	blob_dir_close(b);
}

static void test_vote_of_a_symbolic_link(void **state)
{
	struct txn_rec rec = { .oid = OID, .op = TXN_STORE, .has_data = true };
	struct blob_dir *b = must_open(*state);
	struct txn *t = txn_new();
	struct err e = ERR_INIT;
	char path[PATH_MAX];

	assert_int_equal(blob_dir_new_name(b, path, sizeof(path), &e), OK);
	assert_int_equal(symlink("/etc/passwd", path), 0);
	assert_int_equal(txn_add_blob(t, &rec, slice_str("d"), path, &e), OK);
	assert_int_not_equal(blob_txn_vote(b, t, &e), OK);
	txn_free(t);
	blob_dir_close(b);
}

static void test_without_hard_links(void **state)
{
	static const char *const texts[] = { "one" };
	struct blob_dir *b = must_open(*state);
	struct txn *t = voted(b, OID, texts, 1);
	struct err e = ERR_INIT;
	char path[PATH_MAX];

	os_fault_hook = no_links;
	assert_int_equal(t->prepare(t, &e), OK);
	t->settled(t, OK);
	assert_int_equal(blob_dir_copy(b, OID, TID, path, sizeof(path), &e), OK);
	os_fault_hook = NULL;
	assert_text(path, "one");
	txn_free(t);
	assert_file(b, OID, "one");
	blob_dir_close(b);
}

/* T52: after everything else, the last one first. */
static void test_order(void **state)
{
	struct txn_rec rec = { .op = TXN_STORE, .has_data = true };
	struct txn *t = txn_new();
	struct err e = ERR_INIT;

	for (rec.oid = 1; rec.oid <= 3; rec.oid++) {
		assert_int_equal(txn_add(t, &rec, slice_str("a"), &e), OK);
		assert_int_equal(txn_add_blob(t, &rec, slice_str("b"), "/nonexistent", &e), OK);
	}
	for (int i = 0; i < 2; i++) { /* a second vote changes nothing */
		static const uint64_t oids[] = { 1, 2, 3, 3, 2, 1 };

		assert_int_equal(blob_txn_order(t, &e), OK);
		for (size_t k = 0; k < 6; k++) {
			assert_int_equal(t->recs[k].oid, oids[k]);
			assert_int_equal(t->recs[k].blob != 0, k >= 3);
		}
	}
	txn_free(t);
}

/* --- what a kill leaves --- */

static bool has_none(void *ctx, uint64_t oid, uint64_t tid)
{
	return false;
}

static bool has_all(void *ctx, uint64_t oid, uint64_t tid)
{
	return true;
}

/* Killed between the second name and the end: the storage knows whether it happened. */
static void check_recover(struct test_dir *d, blob_has_fn *has, bool kept)
{
	static const char *const texts[] = { "one" };
	struct blob_dir *b = must_open(d);
	struct txn *t = voted(b, OID, texts, 1);
	struct txn *only_voted = voted(b, OID + 1, texts, 1);
	struct err e = ERR_INIT;
	char path[PATH_MAX];

	assert_int_equal(t->prepare(t, &e), OK);
	assert_int_equal(blob_dir_new_name(b, path, sizeof(path), &e), OK);
	write_file(path, "half");
	snprintf(path, sizeof(path), "%s/tmp/BUC-of-a-client", blob_dir_path(b));
	write_file(path, "theirs");
	mem_free(t->blobs[0].path);
	mem_free(only_voted->blobs[0].path);
	t->blobs[0].path = only_voted->blobs[0].path = NULL;
	txn_free(t);
	txn_free(only_voted);
	blob_dir_close(b);

	b = must_open(d);
	assert_int_equal(count_tmp(b), 4);
	assert_int_equal(blob_dir_recover(b, has, NULL, &e), OK);
	assert_int_equal(count_tmp(b), 1);
	assert_text(path, "theirs");
	assert_int_equal(blob_dir_has_file(b, OID, TID), kept);
	assert_false(blob_dir_has_file(b, OID + 1, TID));
	blob_dir_close(b);
}

static void test_recover_lost(void **state)
{
	check_recover(*state, has_none, false);
}

static void test_recover_durable(void **state)
{
	check_recover(*state, has_all, true);
}

/* --- pack --- */

static void put(struct blob_dir *b, uint64_t oid, uint64_t tid, const char *text)
{
	struct txn *t = voted(b, oid, &text, 1);
	struct err e = ERR_INIT;

	t->tid = tid;
	assert_int_equal(t->prepare(t, &e), OK);
	t->settled(t, OK);
	txn_free(t);
}

static bool has_newest(void *ctx, uint64_t oid, uint64_t tid)
{
	return oid == 1 && tid == 3;
}

static void fill(struct blob_dir *b)
{
	put(b, 1, 1, "1.1");
	put(b, 1, 2, "1.2");
	put(b, 1, 3, "1.3");
	put(b, 2, 1, "2.1");
}

static struct blob_removals *list_all(struct blob_dir *b)
{
	struct blob_removals *r = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(blob_removals_open(b, &r, &e), OK);
	assert_int_equal(blob_removals_add(r, 1, 1, &e), OK);
	assert_int_equal(blob_removals_add(r, 1, 2, &e), OK);
	assert_int_equal(
		blob_removals_add(r, 1, 3, &e), OK); /* T52: the other one of two records */
	assert_int_equal(blob_removals_add(r, 2, 1, &e), OK);
	assert_int_equal(blob_removals_add(r, 9, 9, &e), OK);
	assert_int_equal(blob_removals_sync(r, &e), OK);
	return r;
}

static void assert_packed(struct blob_dir *b)
{
	char path[PATH_MAX];
	struct err e = ERR_INIT;
	struct stat st;

	assert_false(blob_dir_has_file(b, 1, 1));
	assert_false(blob_dir_has_file(b, 1, 2));
	assert_true(blob_dir_has_file(b, 1, 3));
	assert_false(blob_dir_has_file(b, 2, 1));
	assert_int_equal(blob_dir_oid_path(b, 2, path, sizeof(path), &e), OK);
	assert_int_equal(stat(path, &st), -1);
	snprintf(path, sizeof(path), "%s/.removed", blob_dir_path(b));
	assert_int_equal(stat(path, &st), -1);
}

static void test_removals(void **state)
{
	struct blob_dir *b = must_open(*state);
	struct err e = ERR_INIT;
	char path[PATH_MAX];
	struct stat st;

	fill(b);
	if (blob_removals_apply(list_all(b), has_newest, NULL, false, &e) != OK)
		fail_msg("%s", e.text);
	assert_packed(b);
	snprintf(path, sizeof(path), "%s.old", blob_dir_path(b));
	assert_int_equal(stat(path, &st), -1);
	blob_dir_close(b);
}

static void assert_old(const struct blob_dir *b, const char *below, const char *text)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s.old/%s", blob_dir_path(b), below);
	assert_text(path, text);
}

static void test_removals_are_kept(void **state)
{
	struct blob_dir *b = must_open(*state);
	struct err e = ERR_INIT;

	fill(b);
	for (int i = 0; i < 2; i++) { /* an .old of before goes */
		if (blob_removals_apply(list_all(b), has_newest, NULL, true, &e) != OK)
			fail_msg("%s", e.text);
		assert_packed(b);
		assert_old(b, ".layout", "bushy");
		assert_old(b, "0x00/0x00/0x00/0x00/0x00/0x00/0x00/0x01/0x03.blob", "1.3");
		if (i)
			continue;
		assert_old(b, "0x00/0x00/0x00/0x00/0x00/0x00/0x00/0x01/0x01.blob", "1.1");
		assert_old(b, "0x00/0x00/0x00/0x00/0x00/0x00/0x00/0x02/0x01.blob", "2.1");
	}
	blob_dir_close(b);
}

/* Killed after the swap, or before it: then everything is still there. */
static void test_removals_are_resumed(void **state)
{
	struct blob_dir *b = must_open(*state);
	struct err e = ERR_INIT;
	struct blob_removals *r;
	char path[PATH_MAX];

	fill(b);
	blob_removals_drop(list_all(b));
	snprintf(path, sizeof(path), "%s/.removed", blob_dir_path(b));
	write_file(path, "00000000000000010000000000000001\n0000000000000002\n");
	assert_int_equal(blob_removals_resume(b, has_all, NULL, &e), OK);
	assert_true(blob_dir_has_file(b, 1, 1));
	r = list_all(b);
	assert_int_equal(blob_removals_resume(b, has_newest, NULL, &e), OK);
	assert_packed(b);
	blob_removals_drop(r);
	write_file(path, "0000\n");
	assert_int_equal(blob_removals_resume(b, has_newest, NULL, &e), ERR_FORMAT);
	blob_dir_close(b);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, test_dir_setup, test_dir_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_bushy),
		TEST(test_lawn),
		TEST(test_no_marker),
		TEST(test_refused),
		TEST(test_shared_names),
		TEST(test_commit),
		TEST(test_failed),
		TEST(test_failed_before_it_was_prepared),
		TEST(test_vote_fails),
		TEST(test_vote_of_a_symbolic_link),
		TEST(test_without_hard_links),
		cmocka_unit_test(test_order),
		TEST(test_recover_lost),
		TEST(test_recover_durable),
		TEST(test_removals),
		TEST(test_removals_are_kept),
		TEST(test_removals_are_resumed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
