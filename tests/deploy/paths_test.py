# SPDX-License-Identifier: Apache-2.0
"""Every path's page has the same headings, and its values are what the chart's schema allows. usage: paths_test.py"""
import copy
import json
import pathlib
import re
import unittest

import jsonschema
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATHS = ROOT / "deploy/paths"
CHART = ROOT / "deploy/charts/braid"
HEADINGS = ["What it gives", "When to use it", "Hardware", "Deploy", "Check", "Measure", "Tune", "Clean up", "What can go wrong"]
CHARTED = ["autoscaling", "flow-control", "gateway", "inference-scheduling", "pd-disaggregation", "precise-prefix-cache", "simulated", "wide-ep-lws"]


def merged(below, above):
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return {**below, **{key: merged(below.get(key), value) for key, value in above.items()}}


def values_of(path):
    return yaml.safe_load((PATHS / path / "values.yaml").read_text())


class Paths(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.defaults = yaml.safe_load((CHART / "values.yaml").read_text())
        cls.validator = jsonschema.Draft7Validator(json.loads((CHART / "values.schema.json").read_text()))

    def errors(self, values):
        return [error.message for error in self.validator.iter_errors(merged(copy.deepcopy(self.defaults), values))]

    def test_every_page_has_the_same_headings(self):
        for path in ["local", *CHARTED]:
            page = (PATHS / path / "README.md").read_text()
            self.assertEqual(re.findall(r"^## (.*)$", page, re.M), HEADINGS, path)
            self.assertIn("How far this was tested:", page, path)

    def test_every_path_s_values_are_allowed(self):
        for path in CHARTED:
            self.assertEqual(self.errors(values_of(path)), [], path)

    def test_wrong_values_are_found(self):
        for planted in ({"engines": {}}, {"engines": {"serve": {"replica": 2}}}, {"engines": {"serve": {"role": "both"}}},
                        {"engines": {"Serve": {}}}, {"engines": {"serve": {}}, "router": {"config": {"kind": "EndpointPickerConfig"}}}):
            self.assertTrue(self.errors(planted), planted)

    def test_the_readme_names_every_path(self):
        page = (ROOT / "README.md").read_text()
        for path in ["local", *CHARTED]:
            self.assertIn(f"(deploy/paths/{path})", page)


if __name__ == "__main__":
    unittest.main(verbosity=2)
