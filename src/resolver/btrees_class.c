#include "resolver/btrees_class.h"

#include <string.h>

#include "base/compiler.h"

static const struct {
	char letters[3];
	enum btrees_type key, value;
} families[] = {
	{ "OO", BTREES_OBJECT, BTREES_OBJECT },
	{ "OI", BTREES_OBJECT, BTREES_INT32 },
	{ "OU", BTREES_OBJECT, BTREES_UINT32 },
	{ "OL", BTREES_OBJECT, BTREES_INT64 },
	{ "OQ", BTREES_OBJECT, BTREES_UINT64 },
	{ "IO", BTREES_INT32, BTREES_OBJECT },
	{ "II", BTREES_INT32, BTREES_INT32 },
	{ "IF", BTREES_INT32, BTREES_FLOAT },
	{ "IU", BTREES_INT32, BTREES_UINT32 },
	{ "UO", BTREES_UINT32, BTREES_OBJECT },
	{ "UU", BTREES_UINT32, BTREES_UINT32 },
	{ "UF", BTREES_UINT32, BTREES_FLOAT },
	{ "UI", BTREES_UINT32, BTREES_INT32 },
	{ "LO", BTREES_INT64, BTREES_OBJECT },
	{ "LL", BTREES_INT64, BTREES_INT64 },
	{ "LF", BTREES_INT64, BTREES_FLOAT },
	{ "LQ", BTREES_INT64, BTREES_UINT64 },
	{ "QO", BTREES_UINT64, BTREES_OBJECT },
	{ "QQ", BTREES_UINT64, BTREES_UINT64 },
	{ "QF", BTREES_UINT64, BTREES_FLOAT },
	{ "QL", BTREES_UINT64, BTREES_INT64 },
	{ "fs", BTREES_BYTES2, BTREES_BYTES6 },
};

static const struct {
	const char *name;
	enum btrees_kind kind;
} kinds[] = {
	{ "Bucket", BTREES_BUCKET },
	{ "Set", BTREES_SET },
	{ "BTree", BTREES_TREE },
	{ "TreeSet", BTREES_TREE_SET },
};

/* Take @text off the start of @s. */
static bool skip(struct slice *s, const char *text)
{
	size_t n = strlen(text);

	if (s->len < n || memcmp(s->data, text, n) != 0)
		return false;
	*s = slice_of(s->data + n, s->len - n);
	return true;
}

static bool skip_end(struct slice *s, const char *text)
{
	size_t n = strlen(text);

	if (s->len < n || memcmp(s->data + s->len - n, text, n) != 0)
		return false;
	s->len -= n;
	return true;
}

static bool take_family(struct slice *s, size_t *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(families); i++) {
		if (skip(s, families[i].letters)) {
			*ret = i;
			return true;
		}
	}
	return false;
}

bool btrees_class_parse(struct slice s, struct btrees_class *ret)
{
	bool extension; /* the module of the C classes only */
	bool python;
	size_t family;

	if (slice_is(s, "BTrees.Length\nLength")) {
		*ret = (struct btrees_class){ .kind = BTREES_LENGTH };
		return true;
	}
	if (!skip(&s, "BTrees."))
		return false;
	extension = skip(&s, "_");
	if (!take_family(&s, &family) || !skip(&s, "BTree\n"))
		return false;
	skip(&s, families[family].letters); /* "OOBTree" is also there as "BTree" */
	python = skip_end(&s, "Py");
	if (python && extension)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if (slice_is(s, kinds[i].name)) {
			*ret = (struct btrees_class){ .kind = kinds[i].kind,
				.key = families[family].key,
				.value = families[family].value,
				.python = python };
			return true;
		}
	}
	return false;
}

bool btrees_same_class(struct slice a, struct slice b)
{
	struct btrees_class x;
	struct btrees_class y;

	if (slice_eq(a, b))
		return true;
	return btrees_class_parse(a, &x) && btrees_class_parse(b, &y) && x.kind == y.kind &&
	       x.key == y.key && x.value == y.value && x.python == y.python;
}
