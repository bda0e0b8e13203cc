"""The image's health check: whether the process in this container does its work, by its own `/readyz`."""  # noqa: INP001

import os
import sys
from http import HTTPStatus
from http.client import HTTPConnection

try:
    connection = HTTPConnection("127.0.0.1", int(os.environ.get("AFTERCALL_ADMIN_PORT") or 9090), timeout=4)
    connection.request("GET", "/readyz")
    answer = connection.getresponse()
except OSError as error:
    sys.exit(f"no answer on the admin port: {error}")
sys.stdout.write(answer.read().decode())  # what of it is not so, for `docker inspect`
sys.exit(answer.status != HTTPStatus.OK)
