/* An answer of the monitor, made once as JSON and shown in one of two ways. */
#ifndef MONITOR_REPORT_H
#define MONITOR_REPORT_H

#include <jansson.h>

#include "base/buf.h"

/** One line of JSON. */
void report_write_json(const json_t *report, struct buf *out);

/** "name: value" lines in the report's order; what is inside is indented by two spaces, each
 * object of a list begins with "- ". */
void report_write_text(const json_t *report, struct buf *out);

#endif
