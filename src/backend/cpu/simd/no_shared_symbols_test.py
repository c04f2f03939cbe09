# SPDX-License-Identifier: Apache-2.0
"""no_shared_symbols_test.py NM ARCHIVE: objects compiled for one instruction set define no weak
symbol. The linker keeps one copy of those, perhaps one that an older processor can't run."""
import re
import subprocess
import sys

nm, archive = sys.argv[1:]
listing = subprocess.run([nm, "-C", archive], check=True, capture_output=True, text=True).stdout
member, members, offences = "", 0, []
for line in listing.splitlines():
    if line.endswith(".o:"):
        member = line[:-1]
        members += re.search(r"avx|amx", member) is not None
    elif re.search(r"avx|amx", member) and re.match(r"[0-9a-f]+ [WVu] ", line):
        offences.append(f"{member}: {line}")
print("\n".join(offences))
if members == 0:
    sys.exit("no object of an instruction set in " + archive)
sys.exit(1 if offences else 0)
