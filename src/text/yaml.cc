// SPDX-License-Identifier: Apache-2.0
#include "text/yaml.h"

#include "text/core.h"

namespace braid::text {

Result<std::string> yaml_to_json(const std::string& yaml) {
  BraidBytes out{};
  const int failed = braid_yaml_to_json(as_text(yaml), &out);
  std::string text = take(out);
  if (failed) return invalid_argument("not valid YAML: " + text);
  return text;
}

}  // namespace braid::text
