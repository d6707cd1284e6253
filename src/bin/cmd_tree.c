#include <stdio.h>

#include "bin/command.h"
#include "bin/zkzeo_connect.h"
#include "zookeeper/tree.h"

int cmd_tree(int argc, char **argv)
{
	char path[ZK_PATH_MAX];
	struct buf out = BUF_INIT(0);
	struct err e = ERR_INIT;
	struct reader *r = NULL;
	int rc;

	if (argc != 2)
		return EXIT_USAGE;
	rc = zkzeo_connect(argv[1], &r, path, &e);
	if (rc == OK)
		rc = tree_print(r, path, &out, &e);
	if (rc == OK)
		fwrite(out.data, 1, out.len, stdout);
	else
		fprintf(stderr, "zkzeo tree: %s\n", e.text);
	reader_close(r);
	buf_free(&out);
	return rc == OK ? EXIT_OK : EXIT_FAILED;
}
