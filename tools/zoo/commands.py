"""`python -m tools zoo`: package, verify, export, index, serve and push bundles."""

from __future__ import annotations

from tools.zoo.export import export
from tools.zoo.index import index
from tools.zoo.package import package
from tools.zoo.push import push
from tools.zoo.serve import serve
from tools.zoo.verify import verify

COMMANDS = {"package": package, "verify": verify, "export": export, "index": index, "serve": serve, "push": push}
