/* Checking UTF-8. */
#ifndef CODEC_UTF8_H
#define CODEC_UTF8_H

#include <stdbool.h>

#include "base/slice.h"

/** Well-formed, shortest form, up to U+10FFFF; @surrogates: lone surrogates pass, as Python's
 * "surrogatepass" writes them in pickles. */
bool utf8_ok(struct slice s, bool surrogates);

#endif
