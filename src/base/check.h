/* CHECK() guards against our own bugs and stays on in release builds.
 * Input from a network, a disk or a configuration never asserts: it is an error. */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H

#include "base/compiler.h"

NORETURN void check_failed(const char *file, int line, const char *cond);

#define CHECK(cond) ((cond) ? (void)0 : check_failed(__FILE__, __LINE__, #cond))

#endif
