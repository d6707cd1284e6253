/* libzkzeo: everything. docs/library.md introduces it. */
#ifndef ZKZEO_ZKZEO_H
#define ZKZEO_ZKZEO_H

#include "zkzeo/blob.h"
#include "zkzeo/client.h"
#include "zkzeo/db.h"
#include "zkzeo/error.h"
#include "zkzeo/value.h"
#include "zkzeo/zookeeper.h"

#endif
