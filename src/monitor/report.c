#include "monitor/report.h"

#include <stdlib.h>

#include <stdbool.h>

void report_write_json(const json_t *report, struct buf *out)
{
	char *text = json_dumps(report, JSON_COMPACT | JSON_ENCODE_ANY);

	if (text)
		buf_put_str(out, text);
	buf_put_u8(out, '\n');
	free(text);
}

static bool is_scalar(const json_t *v)
{
	return !json_is_object(v) && !json_is_array(v);
}

static void put_scalar(const json_t *v, struct buf *out)
{
	char *text;

	if (json_is_string(v)) {
		buf_put(out, json_string_value(v), json_string_length(v));
		return;
	}
	text = json_is_null(v) ? NULL : json_dumps(v, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
	buf_put_str(out, text ? text : "none");
	free(text);
}

static void put_value(const json_t *v, unsigned indent, struct buf *out);

static void put_object(const json_t *object, unsigned indent, bool in_list, struct buf *out)
{
	void *it = json_object_iter((json_t *)object);

	for (; it; it = json_object_iter_next((json_t *)object, it)) {
		buf_printf(out, "%*s%s%s:", (int)(in_list ? indent - 2 : indent), "",
			in_list ? "- " : "", json_object_iter_key(it));
		put_value(json_object_iter_value(it), indent, out);
		in_list = false;
	}
}

static bool all_scalars(const json_t *array)
{
	for (size_t i = 0; i < json_array_size(array); i++)
		if (!is_scalar(json_array_get(array, i)))
			return false;
	return true;
}

static void put_row(const json_t *array, struct buf *out)
{
	for (size_t i = 0; i < json_array_size(array); i++) {
		buf_put_str(out, i ? ", " : " ");
		put_scalar(json_array_get(array, i), out);
	}
	buf_put_str(out, json_array_size(array) ? "\n" : " none\n");
}

static void put_list(const json_t *array, unsigned indent, struct buf *out)
{
	for (size_t i = 0; i < json_array_size(array); i++) {
		const json_t *v = json_array_get(array, i);

		if (json_is_object(v)) {
			put_object(v, indent + 2, true, out);
			continue;
		}
		buf_printf(out, "%*s-", (int)indent, "");
		put_value(v, indent, out);
	}
}

/* The rest of a line that has a name already, and the lines below it. */
static void put_value(const json_t *v, unsigned indent, struct buf *out)
{
	if (json_is_object(v)) {
		buf_put_u8(out, '\n');
		put_object(v, indent + 2, false, out);
	} else if (json_is_array(v) && all_scalars(v)) {
		put_row(v, out);
	} else if (json_is_array(v)) {
		buf_put_u8(out, '\n');
		put_list(v, indent + 2, out);
	} else {
		buf_put_u8(out, ' ');
		put_scalar(v, out);
		buf_put_u8(out, '\n');
	}
}

void report_write_text(const json_t *report, struct buf *out)
{
	if (!is_scalar(report) && !json_object_size(report) && !json_array_size(report)) {
		buf_put_str(out, "none\n");
	} else if (json_is_object(report)) {
		put_object(report, 0, false, out);
	} else if (json_is_array(report)) {
		put_list(report, 0, out);
	} else {
		put_scalar(report, out);
		buf_put_u8(out, '\n');
	}
}
