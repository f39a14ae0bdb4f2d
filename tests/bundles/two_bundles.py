"""Bundles in one process, for a test: each trains one epoch and infers, from a folder that is none of theirs."""

import json
import sys
from pathlib import Path

from monai.bundle import create_workflow, load

for request in json.loads(sys.argv[1]):
    root = Path(request["root"])
    for kind, options in request["workflows"].items():
        config = str(root / "configs" / f"{kind}.json")
        workflow = create_workflow(config_file=config, workflow_type=kind, **options)
        assert workflow.check_properties() == []
        workflow.run()
        workflow.finalize()
    load(root.name, bundle_dir=root.parent, workflow_type="inference", device="cpu")

import common  # noqa: E402

Path("common.txt").write_text(common.__file__, encoding="utf-8")
