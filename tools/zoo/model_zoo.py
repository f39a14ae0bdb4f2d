"""Unit test of a bundle for the MONAI Model Zoo, which its contribution guide asks for in `ci/unit_tests`."""

from __future__ import annotations

from pathlib import Path
from string import Template

from common.io.atomic import atomic_path
from common.phantoms.sets import SETS
from tools.zoo.layout import read_json

_TEST = Template('''# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

import json
import os
import sys
import tempfile
import unittest

from monai.bundle import ConfigWorkflow

BUNDLE_ROOT = os.path.join("models", "$name")
CONFIGS = os.path.join(BUNDLE_ROOT, "configs")


def write_synthetic_data(folder):
    """Write a few small files, drawn by a program, into the folders train, valid and test."""
    $data


class Test$title(unittest.TestCase):
    def setUp(self):
        sys.path.insert(0, BUNDLE_ROOT)
        self.scratch = tempfile.TemporaryDirectory()
        self.data = os.path.join(self.scratch.name, "data")
        write_synthetic_data(self.data)

    def tearDown(self):
        self.scratch.cleanup()

    def run_workflow(self, kind, config, dataset_dir):
        path = os.path.join(CONFIGS, config)
        with open(path) as file:
            known = json.load(file)
        with open(os.path.join(CONFIGS, "smoke.json")) as file:
            small = json.load(file)
        override = {key: value for key, value in small.items() if key.split("#")[0] in known}
        workflow = ConfigWorkflow(
            workflow_type=kind,
            config_file=path,
            logging_file=os.path.join(CONFIGS, "logging.conf"),
            meta_file=os.path.join(CONFIGS, "metadata.json"),
            bundle_root=BUNDLE_ROOT,
            dataset_dir=dataset_dir,
            output_dir=os.path.join(self.scratch.name, "eval"),
            ckpt_dir=os.path.join(self.scratch.name, "models"),
            **override,
        )
        workflow.initialize()
        check_result = workflow.check_properties()
        self.assertFalse(check_result, f"check properties for {config} failed: {check_result}")
        workflow.run()
        workflow.finalize()

    def test_train_and_infer_config(self):
        self.run_workflow("train", "train.json", self.data)
        self.run_workflow("infer", "inference.json", os.path.join(self.data, "test"))
        self.assertTrue(os.listdir(os.path.join(self.scratch.name, "eval")))


if __name__ == "__main__":
    unittest.main()
''')


def write_unit_test(bundle: Path, out: Path) -> Path:
    """Write `test_<bundle>.py`, which trains a shrunken network on synthetic files and infers with it.

    Args:
        bundle: folder of the bundle; its configs/smoke.json names the synthetic set and how the network is shrunken.
        out: folder for the test.

    Returns:
        The path of the test.

    Raises:
        ValueError: smoke.json names no synthetic set that the test can make.
    """
    path = bundle / "configs" / "smoke.json"
    name = read_json(path).get("synthetic_data")
    if name not in SETS:
        raise ValueError(f"{path}: expected `synthetic_data` of {', '.join(SETS)}, got {name!r}")
    data = f'from common.phantoms.sets import make_tiny_set\n\n    make_tiny_set("{name}", folder)'
    target = out / f"test_{bundle.name}.py"
    title = "".join(word.capitalize() for word in bundle.name.split("_"))
    with atomic_path(target) as temporary:
        temporary.write_text(_TEST.substitute(name=bundle.name, title=title, data=data), encoding="utf-8")
    return target
