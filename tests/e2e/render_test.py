# SPDX-License-Identifier: Apache-2.0
"""Golden renderings through `braid render`. usage: render_test.py BRAID FOLDER_OR_TEMPLATE CASES_JSON"""
import json
import subprocess
import sys

braid, template, path = sys.argv[1:4]
with open(path) as file:
    golden = json.load(file)
cases = [c for c in golden["cases"] if c.get("error", {}).get("kind") != "caller"]
lines = "\n".join(json.dumps({"messages": c.get("messages"), "tools": c.get("tools"), "documents": c.get("documents"),
                              "kwargs": c.get("kwargs", {}), "variables": golden["template_variables"], "now": golden["now"]}) for c in cases)
run = subprocess.run([braid, "render", template], input=lines, capture_output=True, text=True, timeout=60, check=True)
answers = [json.loads(line) for line in run.stdout.splitlines()]
wrong = [c["name"] for c, a in zip(cases, answers)
         if ("rendered" in c and a.get("rendered") != c["rendered"]) or ("error" in c and "error" not in a)]
print(f"{len(answers) - len(wrong)} of {len(cases)} equal", wrong)
sys.exit(bool(wrong) or len(answers) != len(cases) or not cases)
