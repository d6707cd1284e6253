"""The environment of a process that loads the extension, also from a build with a sanitizer."""

import json
import os

ENVIRONMENT = {**os.environ, **json.loads(os.environ.get('ZKZEO_SANITIZER', '{}'))}
