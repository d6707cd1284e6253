# The front door; meson.build describes the build itself.

BUILD ?= build
PREFIX ?= /usr/local
PARTS ?= run features beside scale client

all:
	@scripts/setup build
	@scripts/build $(BUILD)

demo:
	@scripts/setup
	@scripts/build $(BUILD)
	@scripts/demo $(BUILD)

# The build is a part of the run: a tree that does not compile is a failed test.
test:
	@scripts/setup
	@scripts/run-tests --build $(BUILD)

bench:
	@scripts/setup
	@scripts/build build-bench --buildtype=release
	@set -e; for part in $(PARTS); do case $$part in \
	    run) options='$(BENCH)';; features) options='$(FEATURES)';; \
	    beside) options='$(BESIDE)';; scale) options='$(SCALE)';; client) options='$(CLIENT)';; \
	    *) echo "PARTS are run, features, beside, scale and client" >&2; exit 2;; \
	esac; .venv/bin/python bench/$$part.py --build build-bench $$options; done

install: all
	@meson configure $(BUILD) --prefix='$(abspath $(PREFIX))'
	@meson install -C $(BUILD)

asan:
	@scripts/setup
	@scripts/run-tests --build build-asan --patience 4 --setup=-Db_sanitize=address,undefined

tsan:
	@scripts/setup
	@scripts/run-tests --build build-tsan --patience 8 --setup=-Db_sanitize=thread

fmt:
	@scripts/setup
	@git ls-files -z '*.c' '*.h' | xargs -0 clang-format -i

clean:
	rm -rf build build-asan build-tsan build-bench

.PHONY: all demo test bench install asan tsan fmt clean
